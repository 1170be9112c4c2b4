"""What the stations say, and what is made of it."""

from datetime import date
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from necrostack import Event

Station = Literal["EWR", "JFK", "LGA"]


class Measured(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    station: Station


class Reading(Measured):
    """One hour of one station, at its local time. What no instrument can have measured is no reading."""

    taken_at: AwareDatetime
    celsius: float = Field(ge=-90, le=60)
    knots: float = Field(ge=0, le=220)
    millimetres: float = Field(ge=0)


class ReadingTaken(Event):
    event_type: Literal["READING_TAKEN"] = "READING_TAKEN"
    payload: Reading


class Day(Measured):
    """A day of one station, from as many readings as there were."""

    day: date
    readings: int
    coldest: float
    warmest: float
    millimetres: float
    knots: float


class DayClosed(Event):
    """A day is over; or it was, and a late reading changes it."""

    event_type: Literal["DAY_CLOSED"] = "DAY_CLOSED"
    payload: Day


class Gale(Measured):
    taken_at: AwareDatetime
    knots: float


class GaleWarned(Event):
    event_type: Literal["GALE_WARNED"] = "GALE_WARNED"
    payload: Gale

"""What happens at the box office."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from necrostack import Event

Name = Annotated[str, Field(pattern=r"^[\w ,.'!?-]{1,100}$")]


class Wish(BaseModel, frozen=True):
    """So many seats for a show, as somebody asks for them."""

    show: Name
    seats: int = Field(ge=1, le=10)


class Booking(Wish, frozen=True):
    """The same, entered.

    Attributes:
        id: Made from what the client calls it, so that the same request makes the same booking.
    """

    id: str


class BookingMade(Event):
    """Somebody wants seats. It is stated in the transaction that enters the booking."""

    event_type: Literal["BOOKING_MADE"] = "BOOKING_MADE"
    payload: Booking


class SeatsTaken(Event):
    """The seats of a booking are theirs."""

    event_type: Literal["SEATS_TAKEN"] = "SEATS_TAKEN"
    payload: Booking


class SoldOut(Event):
    """There were not enough seats for a booking."""

    event_type: Literal["SOLD_OUT"] = "SOLD_OUT"
    payload: Booking


class Scan(BaseModel, frozen=True):
    """A ticket held before the reader at the door."""

    ticket: Name
    show: Name


class TicketScanned(Event):
    """Somebody came in. The event is all there is to say: nothing is entered with it."""

    event_type: Literal["TICKET_SCANNED"] = "TICKET_SCANNED"
    payload: Scan

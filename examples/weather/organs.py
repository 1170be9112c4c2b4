"""The Organs: two that read what the stations say, and two that tell the world."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid5

from examples.weather.almanac import Almanac
from examples.weather.readings import DayClosed, Gale, GaleWarned, ReadingTaken
from necrostack import Organ

GRACE: Final = 3
"""The hour of the next day at which a day is closed."""

STRONG: Final = 25.0
"""Knots from which on is warned."""

PAUSE: Final = timedelta(hours=6)
"""How long nobody is warned again."""

DISTANCE: Final = 0.02
"""Seconds that it takes to reach the archive."""


def at_the_station(moment: datetime) -> datetime:
    """A moment as the clock of the station shows it, which is how readings carry it."""
    return moment


@dataclass
class Days(Organ[ReadingTaken]):
    """Sums up each day of each station: when the next one is some hours old, and again for each late reading.

    Attributes:
        almanac: Where readings are kept until then.
        by_clock: The clock by which a day begins.
    """

    almanac: Almanac
    by_clock: Callable[[datetime], datetime] = at_the_station

    listens_to = [ReadingTaken]

    def handle(self, event: ReadingTaken) -> list[DayClosed]:
        reading, moment = event.payload, self.by_clock(event.payload.taken_at)
        today, yesterday = moment.date(), moment.date() - timedelta(days=1)
        self.almanac.enter(reading, today)
        ended = [today] if self.almanac.is_closed(reading.station, today) else []
        if moment.hour >= GRACE and self.almanac.close(reading.station, yesterday, event.id):
            ended.append(yesterday)
        return [
            DayClosed(id=uuid5(event.id, f"closed {day.day}"), timestamp=summed_at, payload=day)
            for summed_at, day in self.almanac.sum_up(reading.station, ended)
        ]


@dataclass
class Gales(Organ[ReadingTaken]):
    """Warns of strong wind, and then is silent for some hours. It needs the readings in their order: one worker."""

    almanac: Almanac

    listens_to = [ReadingTaken]

    def handle(self, event: ReadingTaken) -> GaleWarned | None:
        reading = event.payload
        if reading.knots < STRONG:
            return None
        gale = Gale(station=reading.station, taken_at=reading.taken_at, knots=reading.knots)
        if not self.almanac.may_warn(gale, event.id, PAUSE):
            return None
        return GaleWarned(id=uuid5(event.id, "warned"), payload=gale)


@dataclass
class Archive(Organ[DayClosed]):
    """Sends days to the archive, which is far away: other deliveries go on while one waits."""

    almanac: Almanac
    when_done: Callable[[], object] = lambda: None

    listens_to = [DayClosed]

    async def handle(self, event: DayClosed) -> None:
        await asyncio.sleep(DISTANCE)
        self.almanac.archive(event.payload, event.timestamp)

    async def shutdown(self) -> None:
        self.when_done()


@dataclass
class Siren(Organ[GaleWarned]):
    """Sounds, and notes it."""

    almanac: Almanac
    when_done: Callable[[], object] = lambda: None

    listens_to = [GaleWarned]

    def handle(self, event: GaleWarned) -> None:
        self.almanac.sound(event.payload)

    async def shutdown(self) -> None:
        self.when_done()

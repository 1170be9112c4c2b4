"""A chain of three steps that fans out, A → B → C, and how to count exactly what became of it.

Every event is named by its path: root 7 leads to 7.0, 7.1, 7.2, and 7.1 to 7.1.0 and 7.1.1. So the paths that there
must be are known before anything runs; one that is missing was lost, one that is there twice was emitted twice.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from necrostack import Backend, Event, Organ, RetryPolicy

FAN_OUT = (3, 2)
PER_ROOT = 1 + 3 + 3 * 2
"""How many events one root leads to, itself included."""


def roots(numbers: Iterable[int]) -> list[Event]:
    """Make the events that begin a chain each."""
    return [Event(event_type="A", payload={"path": str(number)}) for number in numbers]


def children(event: Event, event_type: str, count: int) -> list[Event]:
    """Make what an event leads to."""
    path = event.payload["path"]
    return [Event(event_type=event_type, payload={"path": f"{path}.{number}"}) for number in range(count)]


class Hiccup(Exception):
    """A handler fails now and then, so that retries are part of what must survive."""


def hiccup() -> None:
    """Fail now and then."""
    if random.random() < 0.02:
        raise Hiccup


class First(Organ):
    """Handles A at once."""

    listens_to = ["A"]

    def handle(self, event: Event) -> Sequence[Event]:
        hiccup()
        return children(event, "B", FAN_OUT[0])


class Second(Organ):
    """Handles B in a moment."""

    listens_to = ["B"]

    async def handle(self, event: Event) -> Sequence[Event]:
        await asyncio.sleep(random.uniform(0, 0.01))
        hiccup()
        return children(event, "C", FAN_OUT[1])


class Third(Organ):
    """Handles C, of which nothing comes."""

    listens_to = ["C"]

    async def handle(self, event: Event) -> None:
        await asyncio.sleep(random.uniform(0, 0.01))
        hiccup()


def chain() -> list[Organ]:
    """Make the chain's Organs."""
    return [First(), Second(), Third()]


def chain_of(_: object) -> list[Organ]:
    """Make them for a worker, whose journal they have no need of."""
    return chain()


CHAIN_RETRY = RetryPolicy(max_attempts=20, base_delay=0.01, max_delay=0.1)


@dataclass(frozen=True)
class Count:
    """What became of a number of roots.

    Attributes:
        events: How many different events are kept.
        lost: How many more there should be.
        doubled: How many are kept once too often.
        dead: How many became dead letters.
    """

    events: int
    lost: int
    doubled: int
    dead: int

    def __str__(self) -> str:
        return f"{self.events} events, {self.lost} lost, {self.doubled} doubled, {self.dead} dead"


def whole(number: int) -> Count:
    """Say what must become of so many roots."""
    return Count(events=number * PER_ROOT, lost=0, doubled=0, dead=0)


async def count_chain(backend: Backend, number: int) -> Count:
    """Count what became of the roots 0 to `number`, once all is handled."""
    kept = Counter([event.payload["path"] async for event in backend.admin.history()])
    wanted = set()
    for root in range(number):
        wanted |= {f"{root}"} | {f"{root}.{b}" for b in range(FAN_OUT[0])}
        wanted |= {f"{root}.{b}.{c}" for b in range(FAN_OUT[0]) for c in range(FAN_OUT[1])}
    assert kept.keys() <= wanted, f"there are events that nobody emitted: {kept.keys() - wanted}"
    dead = (await backend.admin.stats()).dead
    return Count(events=len(kept), lost=len(wanted) - len(kept), doubled=kept.total() - len(kept), dead=dead)

"""A flow that fans out, fails once for some, and gives up others, and how to tell what became of it.

Every order leads to three parts, and each part to one that is done. What there must be in the end is known before
anything runs, and so is what the log may say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from necrostack import Backend, Event, GiveUp, MaxStepsExceeded, Organ, RetryPolicy, RunReport, Spine

COUNT = 30
"""How many orders are enough for a fault to fall among them."""

FANOUT = 3
PER_ORDER = 1 + 2 * FANOUT
"""How many events one order leads to, itself included."""


class Splitter(Organ):
    """Makes several of one."""

    listens_to = ["ORDERED"]

    async def handle(self, event: Event) -> Sequence[Event]:
        n = event.payload["n"]
        return [Event(event_type="SPLIT", payload={"n": n, "part": part}) for part in range(FANOUT)]


class Shaky(Organ):
    """Fails the first time, for some."""

    listens_to = ["SPLIT"]
    retry = RetryPolicy(max_attempts=3, base_delay=0.01, jitter=False)

    def __init__(self) -> None:
        super().__init__()
        self.failed: set[object] = set()

    async def handle(self, event: Event) -> Event:
        if event.payload["n"] % 5 == 0 and event.id not in self.failed:
            self.failed.add(event.id)
            raise ConnectionError("for once")
        return Event(event_type="DONE", payload=event.payload)


class Picky(Organ):
    """Gives up some."""

    listens_to = ["DONE"]

    async def handle(self, event: Event) -> None:
        if event.payload["n"] % 7 == 0 and event.payload["part"] == 0:
            raise GiveUp("unwanted")


def chain(backend: Backend, **settings: Any) -> Spine:
    return Spine([Splitter(), Shaky(), Picky()], backend, **settings)


def orders(count: int) -> list[Event]:
    return [Event(event_type="ORDERED", payload={"n": n}) for n in range(count)]


async def kept(backend: Backend) -> Counter[tuple[object, ...]]:
    """Everything that was ever emitted, and how often."""
    return Counter([(event.event_type, *sorted(event.payload.items())) async for event in backend.admin.history()])


async def lost_and_doubled(backend: Backend, count: int) -> tuple[int, int]:
    """Compare what was kept with what ought to be: one ORDERED each, and three SPLIT and three DONE of it."""
    found = await kept(backend)
    wanted = {("ORDERED", ("n", n)) for n in range(count)} | {
        (kind, ("n", n), ("part", part)) for kind in ("SPLIT", "DONE") for n in range(count) for part in range(FANOUT)
    }
    assert found.keys() <= wanted
    return len(wanted - found.keys()), found.total() - len(found)


async def run_in_two(spine: Spine, count: int) -> Counter[str]:
    """Run until so many steps were taken, which leaves deliveries to be handed back, and then on to the end."""
    with pytest.raises(MaxStepsExceeded) as ended:
        await spine.with_settings(max_steps=count).run_until_idle(*orders(count))
    return numbers(ended.value.report) + numbers(await spine.run_until_idle())


def numbers(report: RunReport) -> Counter[str]:
    """A report as numbers that can be added up."""
    found = report.to_dict()
    del found["duration"]
    of_organs = found.pop("organs")
    return Counter(found) + Counter(
        {f"{name}.{kind}": number for name, organ in of_organs.items() for kind, number in organ.items()}
    )


def expected_dead(count: int) -> int:
    """What Picky gives up of so many orders."""
    return len(range(0, count, 7))


async def is_idle(backend: Backend) -> bool:
    return (await backend.admin.stats()).idle


def names(log: pytest.LogCaptureFixture) -> Counter[str]:
    return Counter(record.getMessage() for record in log.records)

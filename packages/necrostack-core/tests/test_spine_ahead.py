"""A Spine on a backend whose calls take a while: it pulls and settles while handlers run, and keeps every promise."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from necrostack import Delivery, Event, InMemoryBackend, MaxStepsExceeded, Organ, Settlement, Spine
from necrostack.errors import BackendError, BackendUnavailable
from necrostack.testing import VirtualClock
from necrostack.testing.contract import CONTRACT, Check, InMemoryFactory


class DistantBackend(InMemoryBackend):
    """In memory, but far away: every call takes some turns of the loop, and its hands are small."""

    is_remote = True
    batch_size = 4

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.under_way: Counter[str] = Counter()
        self.is_broken = False

    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        if self.is_broken:
            raise BackendError("it broke")
        async with self._travel("pull", turns=5):
            return await super().pull(limit=limit, timeout=timeout)

    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        async with self._travel("settle", turns=20):
            return await super().settle(*settlements)

    @asynccontextmanager
    async def _travel(self, what: str, turns: int) -> AsyncIterator[None]:
        self.under_way[what] += 1
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            yield
        finally:
            self.under_way[what] -= 1


class Counts(Organ):
    """Takes numbered events, and does something for each."""

    listens_to = ["NUMBER"]

    def __init__(self, function: Callable[[int], object] = lambda number: None) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self.function = function

    def handle(self, event: Event) -> None:
        self.numbers.append(event.payload["n"])
        self.function(event.payload["n"])


async def numbered(amount: int) -> DistantBackend:
    backend = DistantBackend()
    await backend.enqueue(*[Event(event_type="NUMBER", payload={"n": n}) for n in range(amount)])
    return backend


async def waiting(backend: InMemoryBackend) -> list[int]:
    return [delivery.event.payload["n"] for delivery in await backend.pull(limit=1000, timeout=0)]


@pytest.mark.parametrize("check", CONTRACT, ids=str)
async def test_a_backend_that_is_far_away_keeps_the_contract(check: Check) -> None:
    factory = InMemoryFactory(DistantBackend)
    if reason := check.not_applicable(factory):
        pytest.skip(reason)

    await check(factory)


async def test_all_is_handled_once_in_order_while_calls_are_under_way() -> None:
    backend, organ = await numbered(100), Counts()

    report = await Spine(organs=[organ], backend=backend).run_until_idle()

    assert organ.numbers == list(range(100))
    assert (report.handled, report.lost) == (100, 0)


async def test_the_next_deliveries_are_pulled_and_the_last_are_settled_while_handlers_run() -> None:
    backend, organ = await numbered(100), Counts()
    seen: Counter[str] = Counter()
    organ.function = lambda number: seen.update(what for what, calls in backend.under_way.items() if calls)

    await Spine(organs=[organ], backend=backend).run_until_idle()

    print(f"of 100 handlers, so many ran beside a call: {seen}")
    assert min(seen["pull"], seen["settle"]) > 50


@pytest.mark.parametrize("last", [5, 17, 42])
async def test_what_was_pulled_ahead_is_handed_back_in_order_when_the_spine_stops(last: int) -> None:
    backend, organ = await numbered(100), Counts()
    spine = Spine(organs=[organ], backend=backend)
    organ.function = lambda number: spine.stop() if number == last else None

    report = await spine.run()

    assert (report.handled, organ.numbers) == (last + 1, list(range(last + 1)))
    assert (await backend.admin.stats()).pending == 0
    assert await waiting(backend) == list(range(last + 1, 100))


@pytest.mark.parametrize("last", [5, 17, 42])
async def test_a_run_that_is_cancelled_loses_nothing_that_was_pulled_ahead(last: int) -> None:
    backend, organ = await numbered(100), Counts()
    running = asyncio.create_task(Spine(organs=[organ], backend=backend).run())
    organ.function = lambda number: running.cancel() if number == last else None

    with pytest.raises(asyncio.CancelledError):
        await running

    handled = organ.numbers
    assert handled[: last + 1] == list(range(last + 1))
    assert (await backend.admin.stats()).pending == 0
    assert await waiting(backend) == list(range(len(handled), 100))


async def test_max_steps_hands_back_what_was_pulled_ahead() -> None:
    backend, organ = await numbered(100), Counts()

    with pytest.raises(MaxStepsExceeded):
        await Spine(organs=[organ], backend=backend, max_steps=30).run()

    assert organ.numbers == list(range(30))
    assert await waiting(backend) == list(range(30, 100))


async def test_a_pull_ahead_that_fails_ends_the_run_with_its_error() -> None:
    backend, organ = await numbered(100), Counts()
    organ.function = lambda number: setattr(backend, "is_broken", number >= 20)

    with pytest.raises(BackendError, match="it broke"):
        await Spine(organs=[organ], backend=backend).run()

    backend.is_broken = False
    assert (await backend.admin.stats()).pending == 0
    assert await waiting(backend) == list(range(len(organ.numbers), 100))


@pytest.mark.parametrize("concurrency", [1, 3, 20])
@pytest.mark.parametrize("turns", range(12))
async def test_a_spine_that_is_stopped_does_not_begin_to_wait(concurrency: int, turns: int) -> None:
    backend, done = await numbered(20), asyncio.Event()
    organ = Counts(lambda number: done.set() if number == 19 else None)
    spine = Spine(organs=[organ], backend=backend, concurrency=concurrency)
    running = asyncio.create_task(spine.run())
    await done.wait()
    for _ in range(turns):  # in the middle of whatever it does next
        await asyncio.sleep(0)

    spine.stop()

    async with asyncio.timeout(3.0):  # a pull that waits takes five
        report = await running
    assert report.handled == 20


async def test_the_end_of_an_outage_is_known_at_once_where_there_is_nothing_to_pull(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OnceOutOfReach(DistantBackend):
        was_asked = False

        async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
            if not self.was_asked:
                self.was_asked = True
                raise BackendUnavailable("connection refused")
            return await super().pull(limit=limit, timeout=timeout)

    clock = VirtualClock()
    spine = Spine(organs=[Counts()], backend=OnceOutOfReach(clock=clock))
    clock.call_later(60.0, spine.stop)

    await clock.run(spine.run())

    outages = [vars(record)["outage"] for record in caplog.records if record.getMessage() == "backend_back"]
    assert len(outages) == 1
    assert outages[0] < 1.0  # a pull that waits takes five

"""The in-memory backend's own: its bounds, its window for repetitions, its clock, its settings.

What every backend must do is the contract suite's (`tests/testing/test_contract.py`).
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from necrostack import BackendFull, Event, InMemoryBackend, Settlement
from necrostack.delivery import Failure, Retry
from necrostack.errors import BackendClosed, ConfigurationError
from necrostack.seen import MAX_CALLS, REPEAT_WINDOW
from necrostack.testing import VirtualClock


def numbered(number: int) -> Event:
    return Event(event_type="memory.numbered", payload={"number": number})


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def backend(clock: VirtualClock) -> InMemoryBackend:
    return InMemoryBackend(clock=clock)


async def pulled(backend: InMemoryBackend) -> list[int]:
    return [delivery.event.payload["number"] for delivery in await backend.pull(limit=1_000, timeout=0)]


def remembered(backend: InMemoryBackend) -> int:
    """How many calls the backend remembers."""
    return len(backend._calls)


# --- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: InMemoryBackend(max_size=0), "max_size=0"),
        (lambda: InMemoryBackend(max_size=-1), "max_size=-1"),
        (lambda: InMemoryBackend(max_size=True), "max_size=True"),
        (lambda: InMemoryBackend(history=-1), "history=-1"),
        (lambda: InMemoryBackend(max_event_size=0), "max_event_size=0"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_with_its_value(make: Callable[[], InMemoryBackend], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{named} must be a whole number"):
        make()


@pytest.mark.parametrize("setting", ["max_size", "history", "max_event_size"])
def test_a_setting_that_no_machine_counts_to_is_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting} must be {sys.maxsize} at the most"):
        InMemoryBackend(**{setting: sys.maxsize + 1})  # type: ignore[arg-type] # all take a count


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "1"])
async def test_a_limit_that_is_no_count_is_refused(backend: InMemoryBackend, limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit="):
        await backend.pull(limit=limit)


async def test_a_trim_to_no_length_is_refused(backend: InMemoryBackend) -> None:
    with pytest.raises(ConfigurationError, match="max_length=-1"):
        await backend.admin.trim(max_length=-1)


# --- max_size --------------------------------------------------------------------------------------------


async def test_a_full_backend_says_how_many_it_takes() -> None:
    backend = InMemoryBackend(max_size=2)
    await backend.enqueue(numbered(0))

    with pytest.raises(BackendFull, match=r"max_size is 2.* room .*none was kept"):
        await backend.enqueue(numbered(1), numbered(2))


async def test_what_is_delayed_takes_room_and_what_is_pending_does_not(clock: VirtualClock) -> None:
    backend = InMemoryBackend(max_size=2, clock=clock)
    await backend.enqueue(numbered(0), delay=60.0)
    await backend.enqueue(numbered(1))
    with pytest.raises(BackendFull):
        await backend.enqueue(numbered(2))

    await backend.pull(timeout=0)
    await backend.enqueue(numbered(2))

    assert (await backend.admin.stats()).queued == 1


async def test_who_waits_for_what_another_gets_is_told_so_when_it_is_due(clock: VirtualClock) -> None:
    backend = InMemoryBackend(clock=clock)
    await backend.enqueue(numbered(0), delay=5.0)

    both = await clock.run(asyncio.gather(backend.pull(timeout=60.0), backend.pull(timeout=60.0)))

    assert sorted(map(len, both)) == [0, 1]
    assert clock.monotonic() == 5.0


async def test_a_call_that_is_larger_than_the_backend_is_refused_though_it_is_empty() -> None:
    backend = InMemoryBackend(max_size=3)

    with pytest.raises(BackendFull):
        await backend.enqueue(*map(numbered, range(4)))

    assert await pulled(backend) == []


async def test_enqueue_never_waits_for_room() -> None:
    backend = InMemoryBackend(max_size=1)
    await backend.enqueue(numbered(0))
    enqueueing = backend.enqueue(numbered(1))

    with pytest.raises(BackendFull):
        enqueueing.send(None)


async def test_retries_redrives_and_replays_go_over_the_bound(clock: VirtualClock) -> None:
    backend = InMemoryBackend(max_size=1, history=10, clock=clock)
    await backend.enqueue(numbered(0))
    (delivery,) = await backend.pull(timeout=0)
    await backend.enqueue(numbered(1))

    retries = [Retry(organ=str(number), delay=60.0) for number in range(3)]
    await backend.settle(Settlement(delivery, retries=retries, dead=[Failure(reason="given up")]))
    letters = [letter.id async for letter in backend.admin.dead_letters()]
    assert await backend.admin.redrive(*letters) == 1
    assert await backend.admin.replay() == 2

    stats = await backend.admin.stats()
    assert (stats.queued, stats.scheduled) == (4, 3)


# --- waiting for room ----------------------------------------------------------------------------------


async def test_who_waits_for_room_is_woken_by_a_pull_that_makes_it(clock: VirtualClock) -> None:
    backend = InMemoryBackend(max_size=2, clock=clock)
    await backend.enqueue(*map(numbered, range(2)))
    waiting = asyncio.create_task(backend.wait_for_room())
    await clock.advance(60.0)
    assert not waiting.done()

    await backend.pull(timeout=0)
    await clock.advance(0.0)

    assert waiting.done()
    await backend.enqueue(numbered(2))


async def test_who_waits_for_room_for_several_sleeps_on_until_there_is_enough(clock: VirtualClock) -> None:
    backend = InMemoryBackend(max_size=3, clock=clock)
    await backend.enqueue(*map(numbered, range(3)))
    waiting = asyncio.create_task(backend.wait_for_room(2))
    await clock.advance(0.0)

    await backend.pull(timeout=0)
    await clock.advance(0.0)
    assert not waiting.done()
    await backend.pull(timeout=0)
    await clock.advance(0.0)

    assert waiting.done()


async def test_a_count_over_max_size_waits_for_an_empty_backend(clock: VirtualClock) -> None:
    backend = InMemoryBackend(max_size=2, clock=clock)
    await backend.enqueue(*map(numbered, range(2)))
    waiting = asyncio.create_task(backend.wait_for_room(3))
    await backend.pull(timeout=0)
    await clock.advance(0.0)
    assert not waiting.done()

    await backend.pull(timeout=0)
    await clock.advance(0.0)

    assert waiting.done()


async def test_with_room_or_without_max_size_nobody_waits_for_room(backend: InMemoryBackend) -> None:
    await backend.enqueue(*map(numbered, range(3)))

    with pytest.raises(StopIteration):
        backend.wait_for_room(1_000_000).send(None)
    with pytest.raises(StopIteration):
        InMemoryBackend(max_size=2).wait_for_room(2).send(None)


async def test_closing_wakes_who_waits_for_room(clock: VirtualClock) -> None:
    backend = InMemoryBackend(max_size=1, clock=clock)
    await backend.enqueue(numbered(0))
    waiting = asyncio.create_task(backend.wait_for_room(2))
    await clock.advance(0.0)
    assert not waiting.done()

    await backend.aclose()
    await clock.advance(0.0)

    assert waiting.done()


# --- the window for repetitions ------------------------------------------------------------------------


async def test_an_identical_call_is_a_repetition_only_within_the_window(
    backend: InMemoryBackend, clock: VirtualClock
) -> None:
    event = numbered(0)
    await backend.enqueue(event)
    await clock.advance(REPEAT_WINDOW - 1)
    await backend.enqueue(event)
    assert await pulled(backend) == [0]

    await clock.advance(1)
    await backend.enqueue(event)

    assert await pulled(backend) == [0]


async def test_a_call_with_another_delay_or_other_headers_is_another_call(backend: InMemoryBackend) -> None:
    event = numbered(0)
    await backend.enqueue(event)

    await backend.enqueue(event, delay=60.0)
    await backend.enqueue(event.model_copy(update={"headers": {"a": "1", "b": "2"}}))
    await backend.enqueue(event.model_copy(update={"headers": {"b": "2", "a": "1"}}))

    stats = await backend.admin.stats()
    assert (stats.queued, stats.scheduled) == (2, 1)


async def test_each_content_of_the_same_ids_has_a_window_of_its_own(
    backend: InMemoryBackend, clock: VirtualClock
) -> None:
    event, other = numbered(0), numbered(2)
    corrected = event.model_copy(update={"payload": numbered(1).payload})
    await backend.enqueue(event)
    await backend.enqueue(other)
    await clock.advance(REPEAT_WINDOW - 1)
    await backend.enqueue(corrected)
    await clock.advance(1)
    assert await pulled(backend) == [0, 2, 1]

    await backend.enqueue(other)
    await backend.enqueue(corrected)
    await backend.enqueue(event)

    assert await pulled(backend) == [2, 0]


async def test_what_marks_repetitions_is_forgotten_after_the_window(
    backend: InMemoryBackend, clock: VirtualClock
) -> None:
    for number in range(100):
        await backend.enqueue(numbered(number))
    await clock.advance(REPEAT_WINDOW)

    await backend.enqueue(numbered(100))

    assert remembered(backend) == 1


async def test_of_very_many_calls_the_newest_are_remembered(backend: InMemoryBackend) -> None:
    events = [numbered(number) for number in range(MAX_CALLS + 1)]
    for event in events:
        await backend.enqueue(event)
    await backend.pull(limit=len(events), timeout=0)

    await backend.enqueue(events[1])
    await backend.enqueue(events[-1])
    assert await pulled(backend) == []
    await backend.enqueue(events[0])

    assert await pulled(backend) == [0]
    assert remembered(backend) == MAX_CALLS


async def test_calls_that_begin_with_the_same_event_count_one_by_one(backend: InMemoryBackend) -> None:
    event, other = numbered(0), numbered(1)
    for number in range(MAX_CALLS):
        await backend.enqueue(event.model_copy(update={"payload": {"number": number}}))
    await backend.enqueue(other)
    await backend.pull(limit=MAX_CALLS + 1, timeout=0)

    await backend.enqueue(event.model_copy(update={"payload": {"number": 1}}))
    assert await pulled(backend) == []
    await backend.enqueue(event)

    assert await pulled(backend) == [0]


async def test_of_very_many_redriven_letters_the_newest_stay_readable(
    backend: InMemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("necrostack.store.MAX_REDRIVEN", 2)
    await backend.enqueue(*[numbered(number) for number in range(3)])
    await backend.settle(*[Settlement(each, dead=[Failure(reason="no")]) for each in await backend.pull(limit=3)])
    ids = [letter.id async for letter in backend.admin.dead_letters()]

    assert await backend.admin.redrive(*ids) == 3

    assert [letter.id async for letter in backend.admin.dead_letters(redriven=True)] == ids[1:]
    assert await backend.admin.discard(*ids) == 2


async def test_what_handlers_emit_is_no_repetition(backend: InMemoryBackend) -> None:
    event = numbered(0)
    await backend.enqueue(numbered(1))
    (delivery,) = await backend.pull(timeout=0)

    await backend.settle(Settlement(delivery, emitted=[event]))
    await backend.enqueue(event)

    assert await pulled(backend) == [0, 0]


# --- history -------------------------------------------------------------------------------------------


async def test_history_keeps_the_newest() -> None:
    backend = InMemoryBackend(history=3)

    await backend.enqueue(*map(numbered, range(5)))

    assert [event.payload["number"] async for event in backend.admin.history()] == [2, 3, 4]
    assert (await backend.admin.stats()).history == 3


async def test_without_history_nothing_is_kept_for_replay(backend: InMemoryBackend) -> None:
    await backend.enqueue(numbered(0))

    assert [event async for event in backend.admin.history()] == []
    assert await backend.admin.replay() == 0
    assert await backend.admin.trim(max_length=0) == 0


async def test_without_history_an_event_is_let_go_when_it_is_settled(backend: InMemoryBackend) -> None:
    kept = []
    await backend.enqueue(numbered(0))
    (delivery,) = await backend.pull(timeout=0)
    kept.append(weakref.ref(delivery))

    await backend.ack(delivery)
    del delivery
    gc.collect()

    assert kept[0]() is None


# --- the clock -----------------------------------------------------------------------------------------


async def test_times_are_the_clocks(clock: VirtualClock) -> None:
    backend = InMemoryBackend(clock=clock)
    await clock.advance(60.0)
    await backend.enqueue(numbered(0))
    (delivery,) = await backend.pull(timeout=0)
    await clock.advance(30.0)

    (pending,) = [pending async for pending in backend.admin.pending()]
    assert pending.idle == 30.0
    assert (await backend.admin.stats()).oldest_pending == 30.0
    await backend.settle(Settlement(delivery, dead=[Failure(reason="given up")]))

    (letter,) = [letter async for letter in backend.admin.dead_letters()]
    assert letter.dead_at == clock.now()


async def test_a_pull_returns_at_the_end_of_its_timeout_exactly(backend: InMemoryBackend, clock: VirtualClock) -> None:
    assert await clock.run(backend.pull(timeout=2.5)) == []

    assert clock.monotonic() == 2.5


async def test_a_pull_that_waits_sees_a_delayed_event_when_it_is_due_exactly(
    backend: InMemoryBackend, clock: VirtualClock
) -> None:
    await backend.enqueue(numbered(0), delay=40.0)

    (delivery,) = await clock.run(backend.pull(timeout=60.0))

    assert delivery.event.payload["number"] == 0
    assert clock.monotonic() == 40.0


async def test_a_pull_that_waits_sees_what_is_delayed_less_than_what_it_waits_for(
    backend: InMemoryBackend, clock: VirtualClock
) -> None:
    await backend.enqueue(numbered(0), delay=40.0)
    pulling = asyncio.create_task(backend.pull(timeout=60.0))
    await clock.advance(1.0)

    await backend.enqueue(numbered(1), delay=5.0)
    (delivery,) = await clock.run(pulling)

    assert delivery.event.payload["number"] == 1
    assert clock.monotonic() == 6.0


async def test_a_pull_leaves_no_timer_behind(backend: InMemoryBackend, clock: VirtualClock) -> None:
    await clock.run(backend.pull(timeout=1.0))
    pulling = asyncio.create_task(backend.pull(timeout=100.0))
    await clock.advance(0.0)
    assert clock.timers == 1

    pulling.cancel()
    await asyncio.wait({pulling})

    assert clock.timers == 0


# --- closing, groups -------------------------------------------------------------------------------------


async def test_closing_discards_what_waits_and_leaves_dead_letters_and_history_readable(
    clock: VirtualClock,
) -> None:
    backend = InMemoryBackend(history=10, clock=clock)
    await backend.enqueue(*map(numbered, range(3)))
    await backend.enqueue(numbered(3), delay=60.0)
    (first, _) = await backend.pull(limit=2, timeout=0)
    await backend.settle(Settlement(first, dead=[Failure(reason="given up")]))

    await backend.aclose()

    stats = await backend.admin.stats()
    assert (stats.queued, stats.pending, stats.scheduled, stats.dead, stats.history) == (0, 0, 0, 1, 3)
    assert [letter.reason async for letter in backend.admin.dead_letters()] == ["given up"]


async def test_workers_of_another_topology_are_told(backend: InMemoryBackend) -> None:
    assert list(await backend.join("ours")) == []
    assert list(await backend.join("ours")) == []
    assert list(await backend.join("theirs")) == ["ours"]

    await backend.leave("ours")
    await backend.leave("ours")

    assert list(await backend.join("theirs")) == []


async def test_a_closed_backend_refuses_a_probe() -> None:
    backend = InMemoryBackend()
    await backend.probe()
    await backend.aclose()

    with pytest.raises(BackendClosed):
        await backend.probe()

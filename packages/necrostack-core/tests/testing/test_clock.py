"""The virtual clock: nothing passes by itself, and everything passes at once when asked to."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest

from necrostack.errors import ConfigurationError
from necrostack.testing.clock import MAX_TURNS, START, VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def loop_errors() -> AsyncIterator[list[dict[str, Any]]]:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    yield errors
    asyncio.get_running_loop().set_exception_handler(None)


def test_a_new_clock_stands_at_its_start(clock: VirtualClock) -> None:
    assert clock.now() == START
    assert clock.monotonic() == 0.0


def test_a_clock_shows_utc_whatever_it_was_started_with() -> None:
    start = datetime(2026, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    assert VirtualClock(start).now() == datetime(2026, 6, 1, 10, tzinfo=UTC)
    assert VirtualClock(start).now().tzinfo is UTC


def test_a_start_without_a_time_zone_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigurationError, match="write datetime"):
        VirtualClock(datetime(2026, 1, 1))  # noqa: DTZ001 -- what is refused


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
async def test_time_passes_forward_only(clock: VirtualClock, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="time passes forward"):
        await clock.advance(seconds)


async def test_advancing_moves_both_times(clock: VirtualClock) -> None:
    await clock.advance(90.5)

    assert clock.monotonic() == 90.5
    assert clock.now() == START + timedelta(seconds=90.5)


async def test_calls_are_made_when_due_in_order_and_each_at_its_time(clock: VirtualClock) -> None:
    made: list[tuple[str, float]] = []

    def note(name: str) -> None:
        made.append((name, clock.monotonic()))

    for name, delay in [("late", 30.0), ("first", 10.0), ("second", 10.0), ("after", 31.0)]:
        clock.call_later(delay, partial(note, name))

    await clock.advance(30.0)

    assert made == [("first", 10.0), ("second", 10.0), ("late", 30.0)]


async def test_a_cancelled_call_is_not_made(clock: VirtualClock) -> None:
    made: list[str] = []
    clock.call_later(1.0, lambda: made.append("kept"))
    clock.call_later(1.0, lambda: made.append("cancelled")).cancel()

    await clock.advance(2.0)

    assert made == ["kept"]


async def test_cancelling_a_call_that_was_made_is_harmless(clock: VirtualClock) -> None:
    made: list[float] = []
    timer = clock.call_later(1.0, lambda: made.append(clock.monotonic()))
    await clock.advance(1.0)

    timer.cancel()

    assert made == [1.0]


async def test_what_follows_from_a_call_happens_before_the_next_one(clock: VirtualClock) -> None:
    told: list[str] = []

    async def follow() -> None:
        await clock.sleep(1.0)
        for _ in range(50):
            await asyncio.sleep(0)
        told.append(f"followed at {clock.monotonic():g}")

    following = asyncio.create_task(follow())
    clock.call_later(2.0, lambda: told.append("next"))
    await clock.advance(5.0)

    assert told == ["followed at 1", "next"]
    await following


async def test_a_call_that_sets_another_one_is_followed_within_one_advance(clock: VirtualClock) -> None:
    at: list[float] = []
    clock.call_later(1.0, lambda: clock.call_later(1.0, lambda: at.append(clock.monotonic())))

    await clock.advance(5.0)

    assert at == [2.0]


async def test_an_error_in_a_call_goes_to_the_loop_as_with_a_real_timer(
    clock: VirtualClock, loop_errors: list[dict[str, Any]]
) -> None:
    clock.call_later(1.0, lambda: 1 / 0)

    await clock.advance(1.0)

    assert [type(context["exception"]) for context in loop_errors] == [ZeroDivisionError]
    assert clock.monotonic() == 1.0


async def test_running_jumps_from_timer_to_timer_and_returns_the_result(clock: VirtualClock) -> None:
    async def work() -> str:
        for _ in range(3):
            await clock.sleep(1_000.0)
        return "done"

    assert await clock.run(work()) == "done"
    assert clock.monotonic() == 3_000.0


async def test_running_raises_what_was_raised(clock: VirtualClock) -> None:
    async def fail() -> None:
        await clock.sleep(1.0)
        raise LookupError("no such organ")

    with pytest.raises(LookupError, match="no such organ"):
        await clock.run(fail())


async def test_running_stops_the_clock_when_the_awaitable_is_done(clock: VirtualClock) -> None:
    clock.call_later(100.0, gc.disable)

    await clock.run(clock.sleep(1.0))

    assert clock.monotonic() == 1.0
    assert gc.isenabled()


async def test_what_is_real_is_waited_for_when_no_timer_is_set(clock: VirtualClock) -> None:
    async def work() -> float:
        await asyncio.to_thread(gc.collect)
        await clock.sleep(5.0)
        await asyncio.to_thread(gc.collect)
        return clock.monotonic()

    assert await clock.run(work()) == 5.0


async def test_time_stands_while_anything_can_run(clock: VirtualClock) -> None:
    async def busy() -> float:
        for _ in range(1_000):
            await asyncio.sleep(0)
        return clock.monotonic()

    waiting = asyncio.create_task(clock.sleep(7.0))
    finished_at = await clock.run(busy())
    await clock.run(waiting)

    assert finished_at == 0.0


async def test_polling_without_end_does_not_stop_time_for_ever(clock: VirtualClock) -> None:
    turns = 0

    async def poll() -> int:
        nonlocal turns
        while clock.monotonic() < 1.0:
            turns += 1
            await asyncio.sleep(0)
        return turns

    timer = asyncio.create_task(clock.sleep(1.0))
    assert await clock.run(poll()) >= MAX_TURNS - 1
    await timer


async def test_two_that_drive_at_once_are_told_to_sleep_instead(clock: VirtualClock) -> None:
    async def slow_handler() -> None:
        await clock.advance(1.0)

    with pytest.raises(RuntimeError, match=r"await clock\.sleep\(seconds\)"):
        await clock.run(slow_handler())


async def test_cancelling_a_run_cancels_what_runs_and_gives_its_cleaning_up_time(clock: VirtualClock) -> None:
    told: list[str] = []

    async def cleaning() -> None:
        try:
            await never.wait()
        finally:
            await clock.sleep(3.0)
            told.append(f"cleaned up at {clock.monotonic():g}")

    never = asyncio.Event()
    driver = asyncio.create_task(clock.run(cleaning()))
    await asyncio.sleep(0.0)
    await asyncio.sleep(0.0)
    driver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driver

    assert told == ["cleaned up at 3"]


async def test_the_loop_is_left_as_it_was(clock: VirtualClock) -> None:
    loop = asyncio.get_running_loop()
    before = set(vars(loop))

    await clock.run(clock.sleep(1.0))

    assert set(vars(loop)) == before


async def test_the_same_program_takes_the_same_steps_in_every_run() -> None:
    async def trace() -> list[tuple[str, float]]:
        clock = VirtualClock()
        steps: list[tuple[str, float]] = []

        async def worker(name: str, pause: float) -> None:
            for _ in range(5):
                await clock.sleep(pause)
                steps.append((name, clock.monotonic()))

        workers = [worker(name, pause) for name, pause in [("a", 1.0), ("b", 1.5), ("c", 0.5)]]
        await clock.run(asyncio.gather(*workers))
        return steps

    first = await trace()

    assert len(first) == 15
    assert all([await trace() == first for _ in range(5)])

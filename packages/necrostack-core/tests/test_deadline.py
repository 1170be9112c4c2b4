"""The time limit that a worker has for its handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from necrostack.deadline import Deadline

SHORT, LONG = 0.01, 3600.0


async def stuck() -> None:
    await asyncio.Event().wait()


async def test_what_takes_longer_than_its_limit_is_a_timeout() -> None:
    deadline = Deadline()

    with pytest.raises(TimeoutError), deadline.within(SHORT):
        await stuck()

    assert deadline.expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_limit_that_is_kept_leaves_the_task_alone() -> None:
    deadline = Deadline()

    with deadline.within(SHORT):
        pass
    await asyncio.sleep(2 * SHORT)  # the timer of then fires, and finds nothing that it limits

    assert not deadline.expired


async def test_a_second_limit_lasts_as_long_as_it_says_when_the_timer_of_the_first_one_fires() -> None:
    deadline = Deadline()
    fired = asyncio.Event()
    with deadline.within(SHORT):
        asyncio.get_running_loop().call_later(2 * SHORT, fired.set)

    with deadline.within(LONG):
        await fired.wait()

    assert not deadline.expired
    deadline.close()


async def test_a_second_limit_is_kept_when_the_timer_of_the_first_one_fired_in_it() -> None:
    deadline = Deadline()
    with deadline.within(SHORT):
        pass

    with pytest.raises(TimeoutError), deadline.within(5 * SHORT):
        await stuck()


async def test_a_shorter_limit_does_not_wait_for_the_timer_of_a_longer_one() -> None:
    deadline = Deadline()
    with deadline.within(LONG):
        pass

    with pytest.raises(TimeoutError), deadline.within(SHORT):
        await stuck()


async def test_a_limit_holds_after_one_that_was_exceeded() -> None:
    deadline = Deadline()
    for _ in range(3):
        with pytest.raises(TimeoutError), deadline.within(SHORT):
            await stuck()

    with deadline.within(LONG):
        await asyncio.sleep(0)

    assert not deadline.expired
    deadline.close()


async def test_many_limits_share_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    made: list[float] = []
    call_at = loop.call_at

    def counted(when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        made.append(when)
        return call_at(when, callback)

    monkeypatch.setattr(loop, "call_at", counted)
    deadline = Deadline()

    for _ in range(100):
        with deadline.within(LONG):
            await asyncio.sleep(0)

    assert len(made) == 1
    deadline.close()


async def test_a_cancellation_by_somebody_else_is_no_timeout() -> None:
    async def work() -> None:
        with Deadline().within(LONG):
            await stuck()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_while_the_time_is_up_stays_a_cancellation() -> None:
    async def work() -> None:
        deadline = Deadline()
        with deadline.within(SHORT):
            try:
                await stuck()
            finally:
                assert deadline.expired
                task.cancel()

    task = asyncio.create_task(work())

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_swallows_the_cancellation_keeps_its_result() -> None:
    deadline = Deadline()

    async def stubborn() -> str:
        try:
            await stuck()
        except asyncio.CancelledError:
            return "done"
        return "never"

    with deadline.within(SHORT):
        result = await stubborn()

    assert (result, deadline.expired) == ("done", True)

"""A call that is cancelled ends, whatever it is doing."""

from __future__ import annotations

import asyncio

import pytest

from necrostack import Event
from necrostack_redis import RedisBackend


async def test_a_cancelled_call_ends_in_whichever_turn_of_the_loop_that_comes(redis_url: str, app: str) -> None:
    turns = 100

    async def enqueue_for_ever(backend: RedisBackend) -> None:
        while True:
            await backend.enqueue(Event(event_type="ORDERED", payload={}))

    ended = 0
    async with RedisBackend(redis_url, app=app) as backend:
        await backend.enqueue(Event(event_type="ORDERED", payload={}))
        for turn in range(turns):
            calls = asyncio.create_task(enqueue_for_ever(backend))
            for _ in range(turn):
                await asyncio.sleep(0)

            calls.cancel()

            done, _ = await asyncio.wait({calls}, timeout=0.5)
            ended += len(done)
            while not calls.done():
                calls.cancel()
                await asyncio.wait({calls}, timeout=0.1)
        await backend.enqueue(Event(event_type="ORDERED", payload={}))

    assert ended == turns


async def test_a_cancellation_that_comes_before_a_call_ends_it_and_what_cleans_up_goes_on(
    redis_url: str, app: str
) -> None:
    """It comes so by a signal, while the task computes."""
    left: list[int] = []

    async def call_once_cancelled(backend: RedisBackend) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await backend.admin.stats()
        finally:
            await backend.enqueue(Event(event_type="ORDERED", payload={}))
            left.append((await backend.admin.stats()).queued)

    async with RedisBackend(redis_url, app=app) as backend:
        await backend.admin.stats()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(call_once_cancelled(backend))

    assert left == [1]

"""A call that is cancelled ends, whatever it is doing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from redis_server import Server

from necrostack import Event
from necrostack.errors import BackendUnavailable
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


# --- what the system does not take at once ------------------------------------------------------------------


def large() -> Event:
    return Event(event_type="ORDERED", payload={"text": "." * 8_000_000})


async def test_what_a_server_does_not_read_is_given_up_in_time_and_kept_once_when_it_does(
    make_server: Callable[..., Server], app: str
) -> None:
    server, event = make_server(), large()
    async with RedisBackend(server.url, app=app, call_timeout=0.5, max_event_size=10_000_000) as backend:
        await backend.admin.stats()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(BackendUnavailable, match="Timeout writing to socket"):
                await backend.enqueue(event)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await backend.enqueue(event)
        await backend.enqueue(event)

        assert [kept.id async for kept in backend.admin.history()] == [event.id]


async def test_a_call_that_is_cancelled_while_a_server_reads_nothing_ends_and_breaks_no_other(
    make_server: Callable[..., Server], app: str
) -> None:
    server, event = make_server(), large()
    async with RedisBackend(server.url, app=app, max_event_size=10_000_000) as backend:
        await backend.admin.stats()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            call = asyncio.create_task(backend.enqueue(event))
            await asyncio.wait({call}, timeout=0.2)
            call.cancel()
            done, _ = await asyncio.wait({call}, timeout=2)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert done == {call}
        assert call.cancelled()
        await backend.enqueue(event)

        assert [kept.id async for kept in backend.admin.history()] == [event.id]

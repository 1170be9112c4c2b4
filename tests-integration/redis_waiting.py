"""Quick checks of how a worker waits: it hears of all that it may handle, and what comes while it waits is not lost.

They are of the kind of `redis_checks`; their mistakes are in `redis_waiting_mutants`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, TypeVar
from unittest.mock import patch

import redis
from patience import until
from redis_checks import PATIENCE, Stand, die, orders, port_of, pulled, until_answered
from redis_proxy import proxy_before

from necrostack import Delivery, Settlement
from necrostack.delivery import Failure, Retry
from necrostack_redis import RedisBackend
from necrostack_redis.reader import Reader

Pull = asyncio.Task[Sequence[Delivery]]

T = TypeVar("T")


def reader_of(worker: RedisBackend) -> Reader:
    assert worker._session is not None
    return worker._session.reader


def begin_to_pull(worker: RedisBackend, limit: int = 10) -> Pull:
    """Pull as a Spine does: wait for what is new, and read it on the same way."""
    return asyncio.create_task(worker.pull_sealed(limit=limit, timeout=30.0))


async def begin_to_wait(worker: RedisBackend, limit: int = 10) -> Pull:
    """Find nothing, and pull until that waits."""
    assert await pulled(worker) == []
    pull = begin_to_pull(worker, limit)
    await until(lambda: reader_of(worker)._is_waiting, "a read that waits")
    return pull


async def in_time(awaitable: Awaitable[T], what: str) -> T:
    try:
        async with asyncio.timeout(PATIENCE):
            return await awaitable
    except TimeoutError:
        raise AssertionError(what) from None


async def paths_of(pull: Awaitable[Sequence[Delivery]], what: str) -> list[Any]:
    return [delivery.event.payload["path"] for delivery in await in_time(pull, what)]


async def _silence() -> None:
    """A bell that is not heard in time."""


# --- waiting -----------------------------------------------------------------------------------------------


async def a_worker_that_waits_hears_of_all_that_it_may_handle(stand: Stand) -> None:
    ways = ("emitted", "delayed", "retried", "redriven", "handed back", "left by the dead")
    for number, how in enumerate(ways):
        part = stand.part(number)
        async with part.worker() as waits, part.worker(lease=0.5 if how == ways[-1] else 60.0) as other:
            held: Sequence[Delivery] = ()
            if number >= ways.index("retried"):
                await other.enqueue(*orders(1))
                held = await other.pull(timeout=0)
            pull = await begin_to_wait(waits)
            match how:
                case "emitted":
                    await other.enqueue(*orders(1))
                case "delayed":
                    await other.enqueue(*orders(1), delay=0.1)
                case "retried":
                    await other.settle(Settlement(held[0], retries=[Retry(organ="Organ", delay=0.1)]))
                case "redriven":
                    await other.settle(Settlement(held[0], dead=[Failure(reason="give_up")]))
                    await other.admin.redrive(*[letter.id async for letter in other.admin.dead_letters()])
                case "handed back":
                    await other.release(*held)
                case "left by the dead":
                    await die(other)
            assert await paths_of(pull, f"nobody hears of what is {how}") == ["0"]


async def what_came_before_it_began_to_wait_is_noticed(stand: Stand) -> None:
    async with stand.worker() as waits, stand.worker() as other:
        assert await pulled(waits) == []
        await other.enqueue(*orders(1))
        assert await paths_of(begin_to_pull(waits), "it waits for what comes next") == ["0"]


async def a_read_that_waits_may_lose_its_reply(stand: Stand) -> None:
    async with (
        proxy_before(port_of(stand.url)) as proxy,
        stand.worker(proxy.url) as waits,
        stand.worker() as other,
    ):
        assert await pulled(waits) == []
        numbers = count(1)
        proxy.cuts = lambda name: name == "XREADGROUP" and next(numbers) == 1
        found = asyncio.create_task(until_answered(lambda: waits.pull_sealed(limit=10, timeout=30.0)))
        await until(lambda: reader_of(waits)._is_waiting, "a read that waits")
        await other.enqueue(*orders(2))
        assert await paths_of(found, "what was handed over is not found") == ["0", "1"]
        assert proxy.cut["XREADGROUP"] == 1


# --- a pull that is cancelled ------------------------------------------------------------------------------


async def what_came_as_a_pull_was_cancelled_comes_first(stand: Stand) -> None:
    async with stand.worker() as waits, stand.worker() as other:
        pull = await begin_to_wait(waits, limit=1)
        with patch.object(reader_of(waits), "_ring", _silence):
            pull.cancel()
            await asyncio.wait({pull})
            again = begin_to_pull(waits)
            await asyncio.sleep(0)  # it takes its place behind the read that goes on
            await other.enqueue(*orders(3))
            found = await paths_of(again, "it is not read on")
        while len(found) < 3:
            found += await paths_of(begin_to_pull(waits), f"only {found} came")
        assert found == ["0", "1", "2"]


async def what_came_too_late_for_a_run_is_handed_back(stand: Stand) -> None:
    async with stand.worker() as waits, stand.worker() as other:
        pull = await begin_to_wait(waits)
        with patch.object(reader_of(waits), "_ring", _silence):
            pull.cancel()
            await asyncio.wait({pull})
            await other.enqueue(*orders(1))
            await until(lambda: not reader_of(waits)._is_waiting, "an end of the read")
        await waits.leave("topology")
        assert await pulled(other) == ["0"]


# --- a lease -----------------------------------------------------------------------------------------------


async def a_worker_that_hangs_is_taken_for_dead(stand: Stand) -> None:
    async with stand.worker(lease=0.3, max_stall=0.3) as hangs:
        await hangs.enqueue(*orders(1))
        assert await pulled(hangs) == ["0"]
        with redis.Redis.from_url(stand.url) as client:
            deadline = time.monotonic() + PATIENCE
            while not _has_ended(client, stand, hangs):
                assert time.monotonic() < deadline, "it hangs, and nobody may take over"
                time.sleep(0.02)  # the event loop hangs, as a handler may let it


def _has_ended(client: Any, stand: Stand, worker: RedisBackend) -> bool:
    seconds, microseconds = client.time()
    return bool(client.zscore(stand.keys.leases, worker._consumer) < seconds * 1000 + microseconds // 1000)


CHECKS: tuple[Callable[[Stand], Awaitable[None]], ...] = (
    a_worker_that_waits_hears_of_all_that_it_may_handle,
    what_came_before_it_began_to_wait_is_noticed,
    a_read_that_waits_may_lose_its_reply,
    what_came_as_a_pull_was_cancelled_comes_first,
    what_came_too_late_for_a_run_is_handed_back,
    a_worker_that_hangs_is_taken_for_dead,
)

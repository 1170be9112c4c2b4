"""A worker without work: it asks for little, and is there at once when something comes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from patience import until
from redis.asyncio import Redis
from redis_server import Server

from necrostack import Delivery, Event, Organ, Settlement, Spine
from necrostack.delivery import Failure, Retry
from necrostack.errors import BackendClosed
from necrostack_redis import RedisBackend


class Counting(Organ):
    listens_to = ["NUMBERED"]

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    async def handle(self, event: Event) -> None:
        self.found.append(event.payload["number"])


def numbered(number: int) -> Event:
    return Event(event_type="NUMBERED", payload={"number": number})


@asynccontextmanager
async def idle(backend: RedisBackend, organ: Counting) -> AsyncIterator[None]:
    """Run a worker that has handled one event and waits for more."""
    spine = Spine(organs=[organ], backend=backend)
    await backend.enqueue(numbered(-1))
    running = asyncio.create_task(spine.run())
    await until(lambda: organ.found == [-1], "the first event")
    await asyncio.sleep(0.3)  # it comes to rest: nothing tells when
    yield
    spine.stop()
    await running


async def executed(client: Any) -> int:
    told = await client.info("commandstats")
    return sum(facts["calls"] for name, facts in told.items() if name != "cmdstat_info")


async def test_an_idle_worker_asks_for_next_to_nothing(make_server: Callable[..., Server], app: str) -> None:
    server, organ = make_server(), Counting()
    async with (
        RedisBackend(server.url, app=app) as backend,
        Redis.from_url(server.url) as client,
        idle(backend, organ),
    ):
        before, begun = await executed(client), time.monotonic()
        await asyncio.sleep(3.0)
        commands, seconds = await executed(client) - before, time.monotonic() - begun
        print(f"{commands} commands in {seconds:.1f} s")
        # One wait has ended in that time, or none. A single look at everything would be thirty.
        assert commands <= 5


@pytest.mark.parametrize("how", ["enqueue", "delayed", "retry", "redrive", "released"])
async def test_an_idle_worker_hears_of_all_that_it_can_handle(how: str, redis_url: str, app: str) -> None:
    organ = Counting()
    async with RedisBackend(redis_url, app=app) as backend, RedisBackend(redis_url, app=app) as other:
        held: list[Delivery] = []
        if how in ("retry", "redrive", "released"):
            await other.enqueue(numbered(1))
            held += await other.pull(timeout=30)
        async with idle(backend, organ):
            begun = time.monotonic()
            match how:
                case "enqueue":
                    await other.enqueue(numbered(1))
                case "delayed":
                    await other.enqueue(numbered(1), delay=0.2)
                case "retry":
                    await other.settle(Settlement(held[0], retries=[Retry(organ="Counting", delay=0.2)]))
                case "redrive":
                    await other.settle(Settlement(held[0], dead=[Failure(reason="given up", organ="Counting")]))
                    await backend.admin.redrive(*[letter.id async for letter in backend.admin.dead_letters()])
                case "released":
                    await other.release(*held)
            await until(lambda: organ.found == [-1, 1], "what came")
            print(f"{how}: {time.monotonic() - begun:.3f} s")


# --- a Spine waits with a read that takes what comes ---------------------------------------------------------


async def waiting(backend: RedisBackend) -> asyncio.Task[Any]:
    """Begin a pull as a Spine's, and let it come to the point at which it waits."""
    await backend.pull(timeout=0)
    pull: asyncio.Task[Any] = asyncio.ensure_future(backend.pull_sealed(limit=10, timeout=30.0))
    assert backend._session is not None
    reader = backend._session.reader
    await until(lambda: reader._is_waiting, "a read that waits")
    return pull


async def test_a_read_that_waits_takes_what_comes_in_the_same_breath(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app) as backend, RedisBackend(redis_url, app=app) as other:
        pull = await waiting(backend)
        looks = backend._session.reader._last_look if backend._session else 0.0

        await other.enqueue(numbered(1), numbered(2))
        found = [delivery.event.payload["number"] for delivery in await pull]
        again = asyncio.ensure_future(backend.pull_sealed(limit=10, timeout=30.0))
        await other.enqueue(numbered(3))
        found += [delivery.event.payload["number"] for delivery in await again]

        assert found == [1, 2, 3]
        assert backend._session is not None
        assert backend._session.reader._last_look == looks, "it stays quiet in between"


async def test_others_need_not_wait_for_a_read_that_waits(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app) as backend:
        pull = await waiting(backend)
        begun = time.monotonic()

        assert await backend.pull(timeout=0) == []

        assert time.monotonic() - begun < 2.0
        await backend.enqueue(numbered(1))
        assert [delivery.event.payload["number"] for delivery in await pull] == [1]


async def test_a_pull_that_was_cancelled_while_it_waited_takes_nothing_from_others(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app) as backend, RedisBackend(redis_url, app=app) as other:
        pull = await waiting(backend)
        pull.cancel()
        await asyncio.wait({pull})
        assert backend._session is not None
        reader = backend._session.reader
        await until(lambda: not reader._is_waiting, "an end of the wait")

        await other.enqueue(numbered(1))
        (delivery,) = await other.pull(timeout=30.0)

        assert await other.ack(delivery)
        assert (await backend.admin.stats()).idle


async def test_closing_does_not_wait_for_a_read_that_waits(redis_url: str, app: str) -> None:
    backend = RedisBackend(redis_url, app=app)
    pull = await waiting(backend)
    begun = time.monotonic()

    await backend.aclose()
    await asyncio.wait({pull})

    assert time.monotonic() - begun < 2.0
    assert isinstance(pull.exception(), BackendClosed)


async def test_a_stopped_server_does_not_hold_up_closing_for_long(make_server: Callable[..., Server], app: str) -> None:
    server = make_server()
    backend = RedisBackend(server.url, app=app, call_timeout=1.0)
    pull = await waiting(backend)
    os.kill(server.pid, signal.SIGSTOP)
    begun = time.monotonic()

    await backend.aclose()

    print(f"closed after {time.monotonic() - begun:.1f} s")
    assert time.monotonic() - begun < 10.0
    os.kill(server.pid, signal.SIGCONT)
    pull.cancel()
    await asyncio.wait({pull})


@pytest.mark.parametrize("concurrency", [1, 20])
async def test_a_run_that_is_stopped_at_any_moment_ends_at_once(concurrency: int, redis_url: str, app: str) -> None:
    rounds, luck, longest, organ = 40, random.Random(concurrency), 0.0, Counting()

    async with RedisBackend(redis_url, app=app) as backend, RedisBackend(redis_url, app=app) as other:
        for number in range(rounds):
            spine = Spine(organs=[organ], backend=backend, concurrency=concurrency)
            running = asyncio.create_task(spine.run())
            await other.enqueue(*[numbered(100 * number + each) for each in range(luck.choice([1, 5, 100]))])
            await asyncio.sleep(luck.uniform(0, 0.03))
            begun = time.monotonic()
            spine.stop()
            report = await running
            longest = max(longest, time.monotonic() - begun)
            assert (report.lost, report.failed) == (0, 0)
        rest = await Spine(organs=[organ], backend=backend).run_until_idle()
        kept = [kept.event.payload["number"] async for kept in backend.admin.kept()]

    print(f"{rounds} runs stopped, the longest took {longest:.3f} s; {rest.handled} of {len(kept)} were left")
    assert sorted(organ.found) == sorted(kept)
    assert longest < 3.0


@pytest.mark.parametrize("seed", range(4))
async def test_what_came_as_a_pull_was_cancelled_comes_before_what_is_newer(
    seed: int, redis_url: str, app: str
) -> None:
    luck, found, cancelled = random.Random(seed), list[int](), 0

    async with RedisBackend(redis_url, app=app) as backend, RedisBackend(redis_url, app=app) as other:

        async def produce() -> None:
            for number in range(400):
                await other.enqueue(numbered(number))

        producing = asyncio.create_task(produce())
        while len(found) < 400:
            pull = asyncio.ensure_future(backend.pull_sealed(limit=2, timeout=30.0))
            for _ in range(luck.randrange(60)):
                await asyncio.sleep(0)
                if pull.done():
                    break
            pull.cancel()
            await asyncio.wait({pull})
            if pull.cancelled():
                cancelled += 1
            else:
                found += [delivery.event.payload["number"] for delivery in pull.result()]
        await producing

    print(f"{cancelled} pulls cancelled")
    assert found == list(range(400))

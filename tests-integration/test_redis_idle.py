"""A worker without work: it asks for little, and is there at once when something comes."""

from __future__ import annotations

import asyncio
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

"""Emitters that emit at the same time: they share the way to the server, and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis
from redis_proxy import proxy_before
from redis_server import Server

from necrostack import BackendFull, Event
from necrostack.errors import BackendError, BackendUnavailable
from necrostack_redis import RedisBackend
from necrostack_redis.keys import Keys


@pytest.fixture
async def backend(redis_url: str, app: str) -> AsyncIterator[RedisBackend]:
    async with RedisBackend(redis_url, app=app) as backend:
        await backend.pull(timeout=0)
        yield backend


def numbered(number: int) -> Event:
    return Event(event_type="NUMBERED", payload={"number": number})


async def kept(backend: RedisBackend) -> list[int]:
    return [kept.event.payload["number"] async for kept in backend.admin.kept()]


async def test_emitters_at_the_same_time_share_the_way(make_server: Callable[..., Server], app: str) -> None:
    server = make_server()
    async with RedisBackend(server.url, app=app) as backend, Redis.from_url(server.url) as client:
        await backend.enqueue(numbered(-1))
        before = await client.info("stats")

        await asyncio.gather(*[backend.enqueue(numbered(number)) for number in range(500)])

        after = await client.info("stats")
        reads = after["total_reads_processed"] - before["total_reads_processed"] - 1
        print(f"500 calls in {reads} reads of the server")
        assert reads < 100
        assert await kept(backend) == list(range(-1, 500))


async def test_each_emitter_keeps_its_own_order(backend: RedisBackend) -> None:
    async def emit(start: int) -> None:
        for number in range(start, start + 20):
            await backend.enqueue(numbered(number))

    await asyncio.gather(*[emit(start) for start in range(0, 1_000, 20)])

    found = await kept(backend)
    assert sorted(found) == list(range(1_000))
    for start in range(0, 1_000, 20):
        assert [number for number in found if start <= number < start + 20] == list(range(start, start + 20))


async def test_each_call_gets_its_own_refusal(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app, max_size=10) as backend:
        await backend.pull(timeout=0)

        answers = await asyncio.gather(
            *[backend.enqueue(numbered(number)) for number in range(30)], return_exceptions=True
        )

        refused = [answer for answer in answers if isinstance(answer, BackendFull)]
        assert (len(refused), [*answers].count(None)) == (20, 10)
        assert len(await kept(backend)) == 10


async def test_a_server_that_forgot_the_script_is_told_it_again(backend: RedisBackend, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        await backend.enqueue(numbered(-1))
        first = asyncio.create_task(backend.enqueue(numbered(0)))
        rest = [asyncio.create_task(backend.enqueue(numbered(number))) for number in range(1, 50)]
        await client.script_flush()
        await asyncio.gather(first, *rest)

    assert sorted(await kept(backend)) == list(range(-1, 50))


async def test_what_is_wrong_on_the_server_is_told_to_everybody(
    backend: RedisBackend, redis_url: str, app: str
) -> None:
    async with Redis.from_url(redis_url) as client:
        await client.delete(Keys(app, "default").events)
        await client.set(Keys(app, "default").events, "somebody else's")

    answers = await asyncio.gather(*[backend.enqueue(numbered(number)) for number in range(9)], return_exceptions=True)

    assert all(isinstance(answer, BackendError) and "WRONGTYPE" in str(answer) for answer in answers)


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_cancelled_takes_nobody_along(turns: int, backend: RedisBackend) -> None:
    calls = [asyncio.create_task(backend.enqueue(numbered(number))) for number in range(60)]
    for _ in range(turns):
        await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()

    answers = await asyncio.gather(*calls, return_exceptions=True)

    found = Counter(await kept(backend))
    assert all(answer is None for number, answer in enumerate(answers) if number % 3)
    assert {number for number in range(60) if number % 3} <= found.keys()
    assert set(found.values()) == {1}


async def test_lost_replies_lose_and_double_nothing(redis_url: str, app: str) -> None:
    luck, port = random.Random(7), int(redis_url.rpartition(":")[2].partition("/")[0])

    async def emit(place: RedisBackend, number: int) -> None:
        event = numbered(number)
        while True:
            try:
                await place.enqueue(event)
                return
            except BackendUnavailable:
                await asyncio.sleep(0)

    async with proxy_before(port) as proxy, RedisBackend(proxy.url, app=app) as place:
        proxy.cuts = lambda name: name == "enqueue" and luck.random() < 0.02
        await asyncio.gather(*[emit(place, number) for number in range(300)])
        proxy.cuts = lambda name: False
        found = Counter(await kept(place))

    lost, doubled = set(range(300)) - found.keys(), [number for number, times in found.items() if times > 1]
    print(f"{proxy.cut['enqueue']} of {proxy.seen['enqueue']} replies lost; {len(lost)} lost, {len(doubled)} doubled")
    assert proxy.cut["enqueue"]
    assert (lost, doubled) == (set(), [])

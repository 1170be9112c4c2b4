"""What is delayed, what goes again, and what operators repair, in amounts that matter."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Literal

import pytest
import redis.asyncio
from patience import until
from pydantic import BaseModel
from redis_server import Server

from necrostack import Delivery, Event, Settlement
from necrostack.delivery import Failure, Retry
from necrostack.errors import EventError
from necrostack_redis import RedisBackend
from necrostack_redis.keys import Keys


class Transfer(BaseModel, frozen=True):
    amount: int


class Transferred(Event):
    event_type: Literal["repair.transferred"] = "repair.transferred"
    payload: Transfer


@pytest.fixture
async def backend(redis_url: str, app: str) -> AsyncIterator[RedisBackend]:
    async with RedisBackend(redis_url, app=app) as backend:
        yield backend


def numbers(amount: int, event_type: str = "NUMBERED") -> list[Event]:
    return [Event(event_type=event_type, payload={"n": number}) for number in range(amount)]


async def pulled(backend: RedisBackend, count: int, *, limit: int = 100) -> list[Delivery]:
    found: list[Delivery] = []
    while len(found) < count:
        more = await backend.pull(limit=min(limit, count - len(found)), timeout=30)
        assert more, f"only {len(found)} of {count} came"
        found += more
    return found


async def handle(backend: RedisBackend, count: int) -> list[int]:
    taken = await pulled(backend, count)
    await backend.settle(*map(Settlement, taken))
    return [delivery.event.payload["n"] for delivery in taken]


async def buried(backend: RedisBackend, amount: int) -> list[str]:
    """Let events be given up; the ids of their letters."""
    failure = Failure(reason="given up", organ="Organ", error_type="LookupError", error="no such thing")
    await backend.enqueue(*numbers(amount))
    await backend.settle(*(Settlement(each, dead=[failure]) for each in await pulled(backend, amount)))
    return [letter.id async for letter in backend.admin.dead_letters()]


async def is_queued(backend: RedisBackend, least: int) -> bool:
    return (await backend.admin.stats()).queued >= least


# --- later ---------------------------------------------------------------------------------------------------


async def test_ten_thousand_that_are_due_at_once_come_in_order_and_never_early(
    make_server: Callable[..., Server], app: str
) -> None:
    amount, delay = 10_000, 1.0
    url = make_server("--slowlog-log-slower-than", "0", "--slowlog-max-len", "100000").url
    async with RedisBackend(url, app=app) as backend, redis.asyncio.Redis.from_url(url) as client:
        events = numbers(amount)
        dues: list[int] = []
        for start in range(0, amount, 1_000):
            seconds, microseconds = await client.time()
            await backend.enqueue(*events[start : start + 1_000], delay=delay)
            dues += [seconds * 1000 + microseconds // 1000 + int(delay * 1000)] * 1_000
        await client.slowlog_reset()

        assert await handle(backend, amount) == list(range(amount))

        longest = max(call["duration"] for call in await client.slowlog_get(100_000))
        print(f"{amount} were due at once; no call held up the server for longer than {longest / 1000:.1f} ms")
        entries: Any = await client.xrange(Keys(app, "default").events)
        kept_at = [int(entry_id.split(b"-")[0]) for entry_id, _ in entries]
        early = sum(at < due for at, due in zip(kept_at, dues, strict=True))
        assert early == 0
        assert (await backend.admin.stats()).idle


async def test_what_is_due_in_ages_waits(backend: RedisBackend) -> None:
    (now, *later) = numbers(4)
    for event, delay in zip(later, (86_400.0 * 366 * 100, 1e12, 1e300), strict=True):
        await backend.enqueue(event, delay=delay)
    await backend.enqueue(now)

    (delivery,) = await backend.pull(limit=10, timeout=30)
    await backend.settle(Settlement(delivery, retries=[Retry(organ="Organ", delay=86_400.0 * 3650)]))

    assert delivery.event == now
    assert await backend.pull(limit=10, timeout=0.05) == []
    stats = await backend.admin.stats()
    assert (stats.queued, stats.scheduled) == (0, 4)


async def test_many_workers_promote_what_is_due_once(redis_url: str, app: str) -> None:
    amount, backends = 1_000, [RedisBackend(redis_url, app=app) for _ in range(4)]
    handled: Counter[int] = Counter()

    async def work(backend: RedisBackend) -> None:
        while sum(handled.values()) < amount:
            taken = await backend.pull(limit=7, timeout=0.2)
            handled.update(delivery.event.payload["n"] for delivery in taken)
            await backend.settle(*map(Settlement, taken))

    try:
        await backends[0].enqueue(*numbers(amount), delay=0.3)
        await asyncio.gather(*map(work, backends))
        assert handled == Counter(range(amount))
        assert (await backends[0].admin.stats()).idle
    finally:
        for backend in backends:
            await backend.aclose()


# --- dead letters --------------------------------------------------------------------------------------------


async def test_of_operators_who_redrive_and_discard_the_same_letters_one_wins_each(redis_url: str, app: str) -> None:
    amount, chance = 2_000, random.Random(7)
    async with RedisBackend(redis_url, app=app) as backend:
        ids = await buried(backend, amount)
        operators = [RedisBackend(redis_url, app=app) for _ in range(3)]
        try:
            first, second, discarded = await asyncio.gather(
                operators[0].admin.redrive(*chance.sample(ids, amount)),
                operators[1].admin.redrive(*chance.sample(ids, amount)),
                operators[2].admin.discard(*chance.sample(ids, amount)[: amount // 10]),
            )
        finally:
            for operator in operators:
                await operator.aclose()

        went = await handle(backend, first + second)
        left = [letter.id async for letter in backend.admin.dead_letters(redriven=True)]

        print(f"{amount} letters: {first} + {second} redriven, {discarded} discarded, {len(left)} of the redriven left")
        assert len(went) == len(set(went)) == first + second
        assert discarded == amount // 10
        assert len(left) == amount - discarded <= first + second <= amount
        assert (await backend.admin.stats()).idle
        assert [letter async for letter in backend.admin.dead_letters()] == []


async def test_thousands_of_letters_are_listed_a_page_at_a_time(backend: RedisBackend) -> None:
    amount = 3_000
    ids = await buried(backend, amount)
    assert len(ids) == len(set(ids)) == amount

    letters = backend.admin.dead_letters(error="no such")
    seen = [(await anext(letters)).id for _ in range(150)]
    await backend.admin.discard(*ids[140:2_990])
    seen += [letter.id async for letter in letters]

    # What a page had brought is shown, what was discarded before its page came is not.
    assert seen == ids[:225] + ids[2_990:]


async def test_an_edited_letter_is_checked_and_its_original_stays_readable(backend: RedisBackend) -> None:
    event = Transferred(payload=Transfer(amount=-1))
    await backend.enqueue(event)
    (delivery,) = await backend.pull(timeout=30)
    await backend.settle(Settlement(delivery, dead=[Failure(reason="given up", organ="Bank")]))
    (letter,) = [letter async for letter in backend.admin.dead_letters()]

    with pytest.raises(EventError):
        await backend.admin.redrive(letter.id, payload={"amount": "much"})
    assert await backend.admin.redrive(letter.id, payload={"amount": 5}) == 1
    assert await backend.admin.redrive(letter.id, payload={"amount": 6}) == 0

    (again,) = await backend.pull(timeout=30)
    assert (again.event.id, again.event.payload) == (event.id, Transfer(amount=5))
    (kept,) = [letter async for letter in backend.admin.dead_letters(redriven=True)]
    assert (kept.event, kept.redriven_at is not None) == (event, True)


# --- replay --------------------------------------------------------------------------------------------------


async def test_a_replay_keeps_to_its_rate_and_takes_nothing_that_comes_meanwhile(backend: RedisBackend) -> None:
    amount, rate = 100, 200.0
    await backend.enqueue(*numbers(amount))
    await handle(backend, amount)

    begun = time.monotonic()
    replaying = asyncio.create_task(backend.admin.replay(rate=rate))
    await until(partial(is_queued, backend, 1), "it has begun")
    while not replaying.done():
        await backend.enqueue(Event(event_type="MEANWHILE", payload={"n": -1}))
        await asyncio.sleep(0.01)
    took = time.monotonic() - begun

    print(f"{amount} events at {rate:g} a second took {took:.2f} s, {(amount - 1) / rate:.2f} s at the least")
    assert await replaying == amount
    assert took >= (amount - 1) / rate - 0.1
    again = await pulled(backend, (await backend.admin.stats()).queued)
    assert [each.event.payload["n"] for each in again if each.origin == "replay"] == list(range(amount))


async def test_a_replay_that_is_cancelled_stops_where_it_is(backend: RedisBackend) -> None:
    await backend.enqueue(*numbers(1_000))
    await handle(backend, 1_000)
    replaying = asyncio.create_task(backend.admin.replay(rate=50.0))
    await until(partial(is_queued, backend, 3), "some were replayed")
    replaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replaying

    went = (await backend.admin.stats()).queued
    assert 3 <= went < 1_000
    assert await handle(backend, went) == list(range(went))
    assert (await backend.admin.stats()).idle

"""What somebody else wrote where events are kept becomes a dead letter, and does not stop what is behind it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from patience import until

from necrostack import Event, Organ, Spine
from necrostack.delivery import DeadLetter, Retry, Settlement
from necrostack_redis import RedisBackend
from necrostack_redis.keys import Keys

MANY = [part for number in range(5_000) for part in (b"field %d" % number, b"value")]

GARBAGE: list[list[bytes]] = [
    [b"hello", b"world"],
    [b"", b""],
    [b"\xff\x00\xfe", os.urandom(64)],
    MANY,
    [b"v", b"2", b"id", b"x", b"type", b"x", b"time", b"x", b"lineage", b"", b"headers", b"", b"payload", b"{}"],
    [b"v", b"1", b"id", b"x", b"type", b"\xff", b"time", b"x", b"lineage", b"", b"headers", b"", b"payload", b"{}"],
    [b"v", b"1", b"id", b"x", b"type", b"x", b"time", b"x", b"lineage", b"", b"headers", b"", b"payload", b"{"],
    [b"letter", b"{}", b"dead_at", b"x", b"delivery", b"{}"],
]


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def backend(redis_url: str, app: str) -> AsyncIterator[RedisBackend]:
    async with RedisBackend(redis_url, app=app, lease=1.0, max_recoveries=1, max_event_size=10_000) as backend:
        yield backend


def numbered(number: int, **more: str) -> Event:
    return Event(event_type="NUMBERED", payload={"number": number, **more})


async def handled(backend: RedisBackend, count: int) -> list[Any]:
    """Handle events until so many came."""
    found: list[Any] = []
    while len(found) < count:
        for delivery in await backend.pull(limit=10, timeout=30):
            found.append(delivery.event.payload["number"])
            await backend.ack(delivery)
    return found


async def letters(backend: RedisBackend) -> list[DeadLetter]:
    return [letter async for letter in backend.admin.dead_letters()]


@pytest.mark.parametrize("stream", ["events", "inbox"])
async def test_garbage_in_a_stream_becomes_dead_letters_with_its_bytes(
    stream: str, backend: RedisBackend, client: Any, app: str
) -> None:
    key = getattr(Keys(app, "default"), stream)
    await backend.enqueue(numbered(1))
    for parts in GARBAGE:
        await client.execute_command("XADD", key, "*", *parts)
    await backend.enqueue(numbered(2))

    assert await handled(backend, 2) == [1, 2]

    assert (await backend.admin.stats()).idle
    found = await letters(backend)
    print(f"{len(found)} dead letters of {len(GARBAGE)} garbage entries in {stream}")
    assert {letter.reason for letter in found} == {"undecodable"}
    assert all(letter.error and letter.event is None for letter in found)
    raw = [dict(zip(parts[::2], parts[1::2], strict=True)) for parts in GARBAGE[:-1]]
    assert [letter.raw for letter in found[:-1]] == raw
    assert await backend.admin.redrive(*(letter.id for letter in found)) == 0
    assert await backend.admin.discard(*(letter.id for letter in found)) == len(GARBAGE)


@pytest.mark.parametrize("schedule", ["schedule", "retries"])
async def test_garbage_in_a_schedule_does_not_stop_what_is_due_after_it(
    schedule: str, backend: RedisBackend, client: Any, app: str
) -> None:
    garbage = [
        b"",
        b"hello",
        os.urandom(40),
        b"0" * 16 + b"\x92\xa1a\x01",
        b"0" * 16 + b"\x91\xa1a",
        b"0" * 16 + b"\xc1",
    ]
    await backend.enqueue(numbered(1))
    (delivery,) = await backend.pull(timeout=30)
    await backend.settle(Settlement(delivery, retries=[Retry(organ="Billing", delay=0.05)]))
    await backend.enqueue(numbered(2), delay=0.05)
    for due, member in enumerate(garbage):
        await client.zadd(getattr(Keys(app, "default"), schedule), {member: due})

    assert sorted(await handled(backend, 2)) == [1, 2]

    assert (await backend.admin.stats()).idle
    assert [letter.raw for letter in await letters(backend)] == [{b"member": member} for member in garbage]


async def test_an_event_that_is_too_large_for_its_reader_is_kept_whole(
    backend: RedisBackend, redis_url: str, app: str
) -> None:
    async with RedisBackend(redis_url, app=app, group="other") as generous:
        await generous.enqueue(numbered(1, text="x" * 50_000), numbered(2))

    assert await handled(backend, 1) == [2]

    (letter,) = await letters(backend)
    assert (letter.reason, letter.error_type) == ("undecodable", "EventTooLarge")
    assert letter.event is not None
    assert len(letter.event.payload["text"]) == 50_000


async def test_garbage_that_dead_workers_held_does_not_stop_those_who_take_over(
    backend: RedisBackend, client: Any, app: str
) -> None:
    keys = Keys(app, "default")
    await backend.enqueue(numbered(1))
    await backend.pull(timeout=30)
    await client.execute_command("XADD", keys.events, "*", *MANY)
    await client.execute_command("XADD", keys.events, "*", "hello", "world")
    await client.execute_command("XREADGROUP", "GROUP", "default", "dead", "STREAMS", keys.events, ">")
    for _ in range(3):  # as if one after the other had died of it
        for pending in await client.xpending_range(keys.events, "default", "-", "+", 9, "dead"):
            await client.execute_command("XCLAIM", keys.events, "default", "dead", 0, pending["message_id"])
    await client.zadd(keys.leases, {"dead": 1})

    await backend.enqueue(numbered(2))
    assert await handled(backend, 1) == [2]

    async def are_buried() -> bool:
        assert await backend.pull(timeout=0.05) == []
        return len(await letters(backend)) == 2

    await until(are_buried, "what the dead worker held is taken over")
    assert sorted(len(letter.raw or ()) for letter in await letters(backend)) == [1, 5_000]


async def test_a_run_counts_what_it_cannot_read_and_goes_on(
    backend: RedisBackend, client: Any, app: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Reader(Organ):
        listens_to = ["NUMBERED"]

        def __init__(self) -> None:
            super().__init__()
            self.found: list[int] = []

        def handle(self, event: Event) -> None:
            self.found.append(event.payload["number"])

    keys, reader = Keys(app, "default"), Reader()
    await backend.enqueue(numbered(1))
    for key in (keys.events, keys.inbox):
        for parts in GARBAGE:
            await client.execute_command("XADD", key, "*", *parts)
    await backend.enqueue(numbered(2))

    report = await Spine(organs=[reader], backend=backend, deduplicate=True).run_until_idle()

    assert reader.found == [1, 2]
    assert (report.handled, report.failed, report.dead_lettered) == (2, 0, 2 * len(GARBAGE))
    found = await letters(backend)
    assert {(letter.reason, letter.event, letter.organ) for letter in found} == {("undecodable", None, None)}
    assert sum(letter.raw == {b"hello": b"world"} for letter in found) == 2
    told = [record for record in caplog.records if record.message == "dead_lettered" and hasattr(record, "receipt")]
    assert len(told) == 2 * len(GARBAGE)

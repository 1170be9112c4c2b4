"""What workers say of themselves, on a real server: each for itself, bounded, and gone when the worker is."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis.asyncio
from patience import until
from redis_victim import LEASE, Gated, Journal, StartWorker, numbered, numbers

from necrostack import Event, Organ, Spine
from necrostack.backend import Consumer
from necrostack.cli import main
from necrostack.fleet import MOST_BYTES, Announcement
from necrostack.topology import OrganNode, Topology
from necrostack_redis import RedisBackend

SAID = Announcement(
    host="elsewhere",
    pid=1,
    version="0.0.1",
    python="3.12.0",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    at=datetime(2026, 1, 1, tzinfo=UTC),
    topology=Topology((OrganNode(name="Billing", listens_to=("ORDERED",), emits=None, is_async=True),)),
)


class Counting(Organ):
    listens_to = ["NUMBERED"]

    async def handle(self, event: Event) -> None: ...


@pytest.fixture
async def backend(redis_url: str, app: str) -> AsyncIterator[RedisBackend]:
    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:
        yield backend


async def abouts(backend: RedisBackend) -> dict[int, Announcement]:
    """What the living say of themselves, by process."""
    workers = await backend.admin.consumers()
    return {worker.about.pid: worker.about for worker in workers if worker.about is not None}


async def kept(backend: RedisBackend) -> set[str]:
    """The fields that are kept for workers."""
    fields = await backend._open().link.call("HKEYS", backend._keys.topologies)
    return {field.decode() for field in fields}


async def test_a_worker_that_is_killed_is_gone_with_its_lease(
    backend: RedisBackend, redis_url: str, journal: Journal, start_worker: StartWorker
) -> None:
    worker = start_worker(redis_url, numbered, concurrency=3)
    await backend.enqueue(*numbers("GATED", 2))

    async def holds_two() -> bool:
        about = (await abouts(backend)).get(worker.pid)
        return about is not None and about.in_work == 2

    await until(holds_two, "the worker says that it has two in work")
    about = (await abouts(backend))[worker.pid]
    assert (about.concurrency, about.report.handled) == (3, 0)
    assert about.topology is not None
    assert Gated.__name__ in [organ.name for organ in about.topology.organs]
    worker.kill()

    async def is_silent() -> bool:
        return worker.pid not in await abouts(backend)

    await until(is_silent, "nothing is said for the dead")
    # Nobody has cleaned up yet; whoever pulls next does.
    (name,) = [field.removeprefix("said:") for field in await kept(backend) if field.startswith("said:")]
    await until(lambda: _is_forgotten(backend, name), "what the dead one said is removed")


async def _is_forgotten(backend: RedisBackend, name: str) -> bool:
    await backend.pull(limit=10, timeout=0.1)
    return not {name, f"said:{name}", f"graph:{name}"} & await kept(backend)


async def test_a_run_leaves_nothing_behind(backend: RedisBackend) -> None:
    spine = Spine([Counting()], backend)
    running = asyncio.create_task(spine.run())

    async def speaks() -> bool:
        return os.getpid() in await abouts(backend)

    await until(speaks, "the worker says something")
    assert len(await kept(backend)) == 3
    spine.stop()
    await running

    assert await kept(backend) == set()
    assert await abouts(backend) == {}


async def test_workers_of_different_versions_and_topologies_are_pointed_out(
    backend: RedisBackend, redis_url: str, app: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{redis_url}?app={app}"
    spine = Spine([Counting()], backend)
    running = asyncio.create_task(spine.run())
    async with RedisBackend(redis_url, app=app) as other:
        await other.announce(replace(SAID, at=datetime.now(UTC)))

        async def both_speak() -> bool:
            return len(await abouts(other)) == 2

        await until(both_speak, "both workers say something")
        code = await asyncio.to_thread(main, ["top", "--backend", url, "--once", "--json"])
        found = json.loads(capsys.readouterr().out)
        spine.stop()
        await running

    assert code == 0
    assert len(found["workers"]) == len(found["topologies"]) == 2
    assert [organ["name"] for organ in found["organs"]].count("Billing") == 1
    versions, organs = found["remarks"]
    assert versions.startswith("the workers run different versions of necrostack: 0.0.1 (1 worker); ")
    assert "Billing (on ORDERED) in 1 of 2" in organs
    assert "Counting (on NUMBERED) in 1 of 2" in organs


async def test_a_worker_was_heard_of_when_it_was_whatever_lease_whoever_looks_has(
    backend: RedisBackend, redis_url: str, app: str
) -> None:
    await backend.announce(SAID)

    async with RedisBackend(redis_url, app=app, lease=600.0) as looking:
        (worker,) = await looking.admin.consumers()

    assert worker.idle < LEASE


async def test_workers_that_run_the_same_share_its_topology(backend: RedisBackend, redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app, lease=LEASE) as other:
        for pid, worker in enumerate((backend, other), 1):
            await worker.announce(replace(SAID, pid=pid))

        told = await abouts(backend)

    assert told[1].topology is told[2].topology
    assert told[1].topology == SAID.topology


@pytest.mark.parametrize(
    "word",
    [b"", b"\xff", b"9" * 5000, b"1000", b"1000 {}", b"x {}", b"-5 []", b"1000 " + b"x" * MOST_BYTES],
    ids=lambda word: repr(word[:20]),
)
async def test_what_somebody_else_wrote_is_passed_over(word: bytes, backend: RedisBackend, redis_url: str) -> None:
    await backend.announce(SAID)
    me, keys = backend._consumer, backend._keys
    async with redis.asyncio.Redis.from_url(redis_url) as somebody:
        await somebody.hset(keys.topologies, mapping={keys.said(me): word, keys.graph(me): word})

    (worker,) = await backend.admin.consumers()

    assert worker == Consumer(name=me, pending=0, idle=worker.idle)
    assert 0 <= worker.idle < 60


async def test_a_worker_whose_group_was_lost_tells_all_again(backend: RedisBackend) -> None:
    await backend.announce(SAID)
    keys = backend._keys
    await backend._open().link.call("DEL", keys.events, keys.topologies, keys.leases)

    async def joins() -> bool:
        await backend.pull(timeout=0.1)
        return bool(await backend.admin.consumers())

    await until(joins, "the group is made anew")
    await backend.announce(SAID)

    assert list((await abouts(backend)).values()) == [SAID]


async def test_a_worker_that_was_taken_for_dead_tells_all_again_also_when_it_has_nothing_to_do(
    backend: RedisBackend,
) -> None:
    spine = Spine([Counting()], backend)
    running = asyncio.create_task(spine.run())

    async def speaks() -> bool:
        return any(about.topology is not None for about in (await abouts(backend)).values())

    await until(speaks, "the worker says something")
    keys, me = backend._keys, backend._consumer
    await backend._open().link.call("ZREM", keys.leases, me)
    await backend._open().link.call("HDEL", keys.topologies, me, keys.said(me), keys.graph(me))

    await until(speaks, "the worker says all of it again")
    spine.stop()
    await running


async def test_a_worker_that_was_taken_for_dead_knows_it_also_when_it_pulls_before_its_lease_is_renewed(
    backend: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    await backend.announce(SAID)
    assert await backend.pull(timeout=0) == []
    assert "lease_lapsed" not in caplog.messages
    keys, me = backend._keys, backend._consumer
    await backend._open().link.call("ZREM", keys.leases, me)
    await backend._open().link.call("HDEL", keys.topologies, me, keys.said(me), keys.graph(me))

    assert await backend.pull(timeout=0) == []

    assert "lease_lapsed" in caplog.messages
    await until(lambda: not backend.is_announced(), "what was told counts as lost")
    await backend.announce(SAID)
    assert list((await abouts(backend)).values()) == [SAID]

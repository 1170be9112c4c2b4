"""A server that is full, its memory or its disk: it refuses what is new, and what it has is handled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from figures import Recorder
from patience import until
from redis_disks import DiskServer, LimitedServer, SmallDiskServer
from redis_orders import COUNT, PER_ORDER, chain, expected_dead, kept, lost_and_doubled, names, orders
from redis_server import Server
from redis_server import command as redis_command
from redis_victim import is_idle

from necrostack import BackendFull, Event
from necrostack.errors import BackendUnavailable
from necrostack_redis import RedisBackend


async def test_a_full_server_refuses_what_is_new_and_drains_what_it_has(
    make_server: Callable[..., Server], app: str, caplog: pytest.LogCaptureFixture, figures: Recorder
) -> None:
    server = make_server("--maxmemory-policy", "noeviction")
    async with chain(RedisBackend(server.url, app=app, lease=1.5, batch_size=10)) as spine:
        await spine.emit(*orders(COUNT))
        assert b"+OK" in redis_command(server.port, "CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(
            BackendFull, match=r"the memory of redis://127\.0\.0\.1:.* is full, and nothing new was kept"
        ):
            await spine.emit(Event(event_type="ORDERED", payload={"n": 0}))
        with pytest.raises(BackendFull):
            await spine.backend.enqueue(Event(event_type="ORDERED", payload={"n": 0}), delay=0.01)
        await spine.backend.release(*await spine.backend.pull(limit=3))

        report = await spine.run_until_idle()

        redis_command(server.port, "CONFIG", "SET", "maxmemory", 0)
        await spine.run_until_idle(orders(COUNT + 1)[-1])
        lost, doubled = await lost_and_doubled(spine.backend, COUNT + 1)
        letters = [letter async for letter in spine.backend.admin.dead_letters()]

    events = (COUNT + 1) * PER_ORDER
    figures(
        "Memory full, and again not",
        times=1,
        events=events,
        lost=lost,
        doubled=doubled,
        handled=report.handled,
        refused=2,
    )
    assert (lost, doubled) == (0, 0)
    assert report.retried == 3 * len(range(0, COUNT, 5))
    assert len(letters) == report.dead_lettered == expected_dead(COUNT)
    assert not names(caplog)["backend_unavailable"]


# --- a disk that is full -----------------------------------------------------------------------------------


@pytest.fixture(params=[LimitedServer, SmallDiskServer], ids=["limit", "tmpfs"])
def make_disk(request: pytest.FixtureRequest, redis_binary: Path) -> Iterator[Callable[[str], DiskServer]]:
    """Starts servers with a disk that can be filled, which write their log of commands with a policy."""
    made: list[DiskServer] = []

    def make(policy: str) -> DiskServer:
        own = ("--appendonly", "yes", "--appendfsync", policy, "--auto-aof-rewrite-percentage", "0")
        server: DiskServer = request.param(redis_binary, own)
        made.append(server)
        if reason := server.make_disk():
            pytest.skip(f"no disk of one's own: {reason}")
        return server.start()

    yield make
    for server in made:
        server.remove()


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.thorough)])
@pytest.mark.timeout(240)
async def test_a_full_disk_is_waited_out_and_said_once(
    times: int, make_disk: Callable[[str], DiskServer], app: str, caplog: pytest.LogCaptureFixture, figures: Recorder
) -> None:
    server = make_disk("everysec")
    async with RedisBackend(server.url, app=app) as watcher, chain(RedisBackend(server.url, app=app)) as spine:
        running = asyncio.create_task(spine.run())
        for time in range(times):
            await watcher.enqueue(*orders(COUNT * (time + 1))[COUNT * time :])
            server.fill_disk()
            await until(lambda: names(caplog)["backend_unavailable"] > time, "the disk is full")  # noqa: B023
            server.free_disk()
            await until(lambda: names(caplog)["backend_back"] > time, "the server writes again")  # noqa: B023
        await until(lambda: is_idle(watcher), "an end of all work")
        spine.stop()
        await running
        lost, doubled = await lost_and_doubled(watcher, times * COUNT)

    figures("Disk full", times=times, events=times * COUNT * PER_ORDER, lost=lost, doubled=doubled)
    errors = [vars(record)["error"] for record in caplog.records if record.getMessage() == "backend_unavailable"]
    assert (lost, doubled) == (0, 0)
    assert len(errors) == names(caplog)["backend_back"] == times
    assert all("MISCONF" in error for error in errors)
    assert not names(caplog)["settlement_lost"]


async def enqueued(backend: RedisBackend, order: Event) -> int:
    """Enqueue an order, and return its number."""
    await backend.enqueue(order)
    return int(order.payload["n"])


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("policy", ["everysec", "always"])
@pytest.mark.timeout(240)
async def test_a_server_that_dies_with_its_disk_full_loses_whole_steps(
    policy: str, times: int, make_disk: Callable[[str], DiskServer], app: str, figures: Recorder
) -> None:
    server, acknowledged = make_disk(policy), set[int]()
    todo = iter(orders(10_000))
    # What was settled and is not any more, its worker finds within a lease.
    worker = RedisBackend(server.url, app=app, lease=1.5)
    async with RedisBackend(server.url, app=app) as producer, chain(worker) as spine:
        running = asyncio.create_task(spine.run())
        for _ in range(times):
            for _ in range(COUNT):
                acknowledged.add(await enqueued(producer, next(todo)))
            server.fill_disk()
            with pytest.raises(BackendUnavailable):  # noqa: PT012 -- some call of many
                while True:
                    acknowledged.add(await enqueued(producer, next(todo)))
            if policy == "everysec":
                server.kill()
            # With the other policy it ends itself: it cannot keep what it promised.
            await until(lambda: server.has_ended, "the server's end")
            server.free_disk()
            server.start()
            server.rewrite_log()
            await until(lambda: is_idle(producer), "an end of all work")
        spine.stop()
        await running
        found = await kept(producer)

    there = {n for n in range(10_000) if ("ORDERED", ("n", n)) in found}
    lost, doubled, torn = len(acknowledged - there), found.total() - len(found), len(there) * PER_ORDER - len(found)
    twice = [what for what, times in found.items() if times > 1]
    what = f"Server died with its disk full, appendfsync {policy}"
    figures(what, times=times, events=len(acknowledged), lost=lost, doubled=doubled, torn=torn)
    assert not twice
    assert torn == 0
    assert policy == "everysec" or lost == 0

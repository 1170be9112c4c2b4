"""Servers that are killed or frozen, with and without workers: what they acknowledged is there when they are back."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import pytest
from figures import Recorder
from patience import until
from redis_chain import CHAIN_RETRY, chain_of, count_chain, roots, whole
from redis_server import Server
from redis_victim import LEASE, StartWorker, is_idle

from necrostack import Event
from necrostack.errors import BackendUnavailable
from necrostack_redis import RedisBackend
from necrostack_redis.config import RedisOptions

MakeServer = Callable[..., Server]

ROOTS = 20
"""How many chains begin between two faults."""


class Producer:
    """States roots, each until it is acknowledged: after a lost reply the identical call is made again.

    Attributes:
        acknowledged: How many were.
        repeats: How many calls were made again.
    """

    def __init__(self, backend: RedisBackend) -> None:
        self.acknowledged = 0
        self.repeats = 0
        self._backend = backend

    async def produce(self, number: int) -> None:
        """State so many."""
        for root in roots(range(number)):
            while not await self._is_kept(root):
                self.repeats += 1
                await asyncio.sleep(0.02)
            self.acknowledged += 1
            await asyncio.sleep(0.005)  # so that what happens to the server comes in the middle

    async def has(self, number: int) -> None:
        """Wait until more than so many were acknowledged, and a moment."""
        await until(lambda: self.acknowledged > number, "the producer goes on")
        await asyncio.sleep(random.uniform(0, 0.05))

    async def _is_kept(self, root: Event) -> bool:
        try:
            await self._backend.enqueue(root)
        except BackendUnavailable:
            return False
        return True


async def all_work(backend: RedisBackend, workers: int) -> bool:
    return len(await backend.admin.consumers()) == workers


def restart(server: Server) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize(
    ("kills", "fsync"),
    [
        (5, "always"),
        pytest.param(50, "always", marks=pytest.mark.thorough),
        pytest.param(50, "everysec", marks=pytest.mark.thorough),
    ],
)
@pytest.mark.timeout(600)
async def test_killed_servers_lose_nothing_they_acknowledged(
    kills: int, fsync: str, make_server: MakeServer, app: str, start_worker: StartWorker, figures: Recorder
) -> None:
    """A process that is killed takes nothing with it that it gave to the kernel, whenever that writes it to a disk."""
    server = make_server("--appendonly", "yes", "--appendfsync", fsync)
    workers = [start_worker(server.url, chain_of, concurrency=4, retry=CHAIN_RETRY) for _ in range(2)]

    async with RedisBackend(server.url, app=app, lease=LEASE) as backend:
        await until(partial(all_work, backend, len(workers)), "the workers have started")
        producer = Producer(backend)
        producing = asyncio.create_task(producer.produce(kills * ROOTS))
        for kill in range(kills):
            await producer.has(kill * ROOTS)
            await asyncio.to_thread(restart, server)
        await producing
        await until(partial(is_idle, backend), "all is handled", within=300)
        count = await count_chain(backend, kills * ROOTS)
    reports = [await worker.stop() for worker in workers]

    handled = sum(report["handled"] for report in reports)
    facts = {"calls_repeated": producer.repeats, "deliveries_handled": handled}
    figures(f"Servers killed, appendfsync {fsync}", times=kills, **asdict(count), **facts)
    assert count == whole(kills * ROOTS)
    assert producer.repeats


@pytest.mark.parametrize(("servers", "workers"), [(2, 6), pytest.param(50, 200, marks=pytest.mark.thorough)])
@pytest.mark.timeout(900)
async def test_servers_and_workers_killed_at_random_lose_and_double_nothing(
    servers: int, workers: int, make_server: MakeServer, app: str, start_worker: StartWorker, figures: Recorder
) -> None:
    server = make_server("--appendonly", "yes", "--appendfsync", "everysec")
    start = partial(start_worker, server.url, chain_of, concurrency=4, retry=CHAIN_RETRY)
    alive = [start() for _ in range(4)]
    deaths = ["server"] * servers + ["worker"] * workers
    random.shuffle(deaths)

    async with RedisBackend(server.url, app=app, lease=LEASE) as backend:
        await until(partial(all_work, backend, len(alive)), "the workers have started")
        producer = Producer(backend)
        producing = asyncio.create_task(producer.produce(len(deaths) * ROOTS))
        for number, victim in enumerate(deaths):
            await producer.has(number * ROOTS)
            if victim == "server":
                await asyncio.to_thread(restart, server)
            else:
                alive.pop(random.randrange(len(alive))).kill()
                alive.append(start())
        await producing
        await until(partial(is_idle, backend), "all is handled", within=300)
        count = await count_chain(backend, len(deaths) * ROOTS)

    facts = {"servers": servers, "workers": workers, "calls_repeated": producer.repeats}
    figures("Servers and workers killed", times=len(deaths), **asdict(count), **facts)
    assert count == whole(len(deaths) * ROOTS)
    assert producer.repeats


@pytest.mark.parametrize("freezes", [1, pytest.param(30, marks=pytest.mark.thorough)])
@pytest.mark.timeout(600)
async def test_a_frozen_server_loses_and_doubles_nothing(
    freezes: int, make_server: MakeServer, app: str, start_worker: StartWorker, figures: Recorder
) -> None:
    """It is frozen for longer than calls may take, and than leases: it does late what was given up and made again."""
    server, call_timeout = make_server(), 0.5
    options = RedisOptions(call_timeout=call_timeout)
    start = partial(start_worker, server.url, chain_of, concurrency=4, retry=CHAIN_RETRY, options=options)
    workers = [start() for _ in range(3)]

    async with RedisBackend(server.url, app=app, lease=LEASE, call_timeout=call_timeout) as backend:
        await until(partial(all_work, backend, len(workers)), "the workers have started")
        producer = Producer(backend)
        producing = asyncio.create_task(producer.produce(freezes * ROOTS))
        for freeze in range(freezes):
            await producer.has(freeze * ROOTS)
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(1.2 * LEASE)  # so long it lasts
            os.kill(server.pid, signal.SIGCONT)
        await producing
        await until(partial(is_idle, backend), "all is handled", within=300)
        count = await count_chain(backend, freezes * ROOTS)
    reports = [await worker.stop() for worker in workers]

    refused = sum(report["lost"] for report in reports)
    facts = {"calls_repeated": producer.repeats, "settlements_refused": refused}
    figures("Server frozen for longer than calls may take", times=freezes, **asdict(count), **facts)
    assert count == whole(freezes * ROOTS)
    assert producer.repeats

"""Clocks that jump by an hour, while it runs: the server's, by which everything goes, and those of workers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pytest
from figures import Recorder
from patience import until
from redis_chain import CHAIN_RETRY, chain_of, count_chain, roots, whole
from redis_clock import Clock, library
from redis_server import Server, command
from redis_victim import LEASE, Journal, StartWorker, is_idle, numbered, numbers

from necrostack import Settlement
from necrostack.delivery import Retry
from necrostack_redis import RedisBackend

pytestmark = pytest.mark.skipif(library() is None, reason="libfaketime's wheel is not installed")

HOUR = 3600
ROOTS = 20
"""How many chains begin between two jumps."""


@dataclass
class Timed:
    """A server that goes by a clock."""

    server: Server
    clock: Clock

    async def set(self, seconds: int) -> None:
        """Let its clock jump, and wait until it saw that: it looks at the clock now and then."""
        self.clock.set(seconds)
        await until(partial(self.is_at, seconds), "the server sees what time it is")

    def is_at(self, seconds: int) -> bool:
        """Whether its clock is so many seconds fast, or slow."""
        told = re.findall(rb"\d{9,}", command(self.server.port, "TIME"))[0]
        return abs(int(told) - time.time() - seconds) < HOUR / 2


@pytest.fixture
async def timed(redis_binary: Path, tmp_path: Path) -> AsyncIterator[Timed]:
    clock = Clock(tmp_path / "clock")
    timed = Timed(Server(redis_binary, environment=clock.environment), clock)
    try:
        clock.set(HOUR)
        timed.server.start()
        if not timed.is_at(HOUR):
            pytest.skip("libfaketime's wheel is not made for this system")
        await timed.set(0)
        yield timed
    finally:
        timed.server.remove()


async def all_work(backend: RedisBackend, workers: int) -> bool:
    return len(await backend.admin.consumers()) == workers


async def is_under_way(backend: RedisBackend) -> int:
    return (await backend.admin.stats()).pending


@pytest.mark.parametrize("jumps", [2, pytest.param(40, marks=pytest.mark.thorough)])
@pytest.mark.timeout(900)
async def test_jumps_of_the_servers_clock_lose_and_double_nothing(
    jumps: int, timed: Timed, app: str, start_worker: StartWorker, figures: Recorder
) -> None:
    """All leases end at once when it jumps ahead. What waits for its time waits on when it jumps back."""
    start = partial(start_worker, timed.server.url, chain_of, concurrency=4, retry=CHAIN_RETRY)
    workers = [start() for _ in range(3)]

    async with RedisBackend(timed.server.url, app=app, lease=LEASE) as backend:
        await until(partial(all_work, backend, len(workers)), "the workers have started")
        for jump in range(jumps):
            await backend.enqueue(*roots(range(jump * ROOTS, (jump + 1) * ROOTS)))
            await until(partial(is_under_way, backend), "some work")
            await timed.set((HOUR, 0, -HOUR, 0)[jump % 4])
        await timed.set(HOUR)  # later than ever, so that nothing waits for its time
        await until(partial(is_idle, backend), "all is handled", within=300)
        count = await count_chain(backend, jumps * ROOTS)
        reports = [await worker.stop() for worker in workers]

    refused = sum(report["lost"] for report in reports)
    figures("Server's clock jumped by an hour", times=jumps, **asdict(count), settlements_refused=refused)
    assert count == whole(jumps * ROOTS)


async def test_what_waits_for_its_time_waits_by_the_servers_clock(
    timed: Timed, app: str, start_worker: StartWorker, journal: Journal, figures: Recorder
) -> None:
    """A jump ahead makes a retry early. A jump back makes it late, and the recovery of what the dead left, too."""
    async with RedisBackend(timed.server.url, app=app, lease=LEASE) as backend:
        await backend.enqueue(*numbers("NUMBER", 1))
        (delivery,) = await backend.pull()
        await backend.settle(Settlement(delivery, retries=[Retry(organ="Organ", delay=HOUR / 2)]))
        assert not await backend.pull(timeout=0)
        await timed.set(HOUR)
        (early,) = await backend.pull(timeout=0)

        worker = start_worker(timed.server.url, numbered)
        await backend.enqueue(*numbers("GATED", 1))
        await until(lambda: journal.read("begun", worker.pid), "the worker holds a delivery")
        worker.kill()
        await backend.settle(Settlement(early, retries=[Retry(organ="Organ", delay=0.01)]))
        await timed.set(0)
        nothing = await backend.pull(timeout=1.5 * LEASE)
        await timed.set(HOUR)
        late = [await backend.pull(timeout=1.5 * LEASE) for _ in range(2)]

    found = sorted(delivery.event.event_type for deliveries in late for delivery in deliveries)
    lost = 2 - len(found)
    figures("Server's clock put back under a retry and a dead worker", times=1, events=2, lost=lost, doubled=0)
    assert early.attempt == 2
    assert not nothing
    assert found == ["GATED", "NUMBER"]


APP = """
import sys
sys.path.insert(0, {harness!r})
from necrostack import Spine
from redis_chain import CHAIN_RETRY, chain

spine = Spine(chain(), retry=CHAIN_RETRY, concurrency=4)
"""


@pytest.mark.parametrize("jumps", [2, pytest.param(40, marks=pytest.mark.thorough)])
@pytest.mark.timeout(600)
async def test_jumps_of_workers_clocks_change_nothing(
    jumps: int, redis_url: str, app: str, tmp_path: Path, figures: Recorder
) -> None:
    """What a worker's wall clock says is written into events, and used for nothing."""
    url = f"{redis_url}?app={app}&lease=30"  # long, so that nothing but a jump could end it
    (tmp_path / "app.py").write_text(APP.format(harness=str(Path(__file__).parent)))
    argv = [sys.executable, "-m", "necrostack", "run", "app:spine", "--backend", url, "--json"]
    clocks = [Clock(tmp_path / f"clock-{number}") for number in range(2)]
    workers = []
    for number, clock in enumerate(clocks):
        environment = {**os.environ, **clock.environment}
        with (tmp_path / f"out-{number}").open("wb") as out, (tmp_path / "err").open("ab") as err:
            workers.append(subprocess.Popen(argv, cwd=tmp_path, env=environment, stdout=out, stderr=err))
    try:
        async with RedisBackend(url) as backend:
            await until(partial(all_work, backend, len(workers)), "the workers have started")
            for jump in range(jumps):
                await backend.enqueue(*roots(range(jump * ROOTS, (jump + 1) * ROOTS)))
                await until(partial(is_under_way, backend), "some work")
                clocks[jump % 2].set((HOUR, -HOUR, 0, 0)[jump % 4])
            await until(partial(is_idle, backend), "all is handled", within=300)
            count = await count_chain(backend, jumps * ROOTS)
            moments = [event.timestamp.timestamp() async for event in backend.admin.history()]
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
            await asyncio.to_thread(worker.wait, 30)
    finally:
        for worker in workers:
            worker.kill()

    refused = sum(json.loads(path.read_text().splitlines()[-1])["lost"] for path in tmp_path.glob("out-*"))
    wrong = sum(abs(moment - time.time()) > HOUR / 2 for moment in moments)
    figures("Workers' clocks jumped by an hour", times=jumps, **asdict(count), events_with_a_wrong_time=wrong)
    assert [worker.returncode for worker in workers] == [0, 0]
    assert count == whole(jumps * ROOTS)
    assert wrong
    assert not refused

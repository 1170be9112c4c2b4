"""A network that fails between a worker and the server, packet by packet, while another worker goes on."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import namespaces
import pytest
from figures import Recorder
from namespaces import Address, Interface
from patience import until
from redis_chain import CHAIN_RETRY, chain, chain_of, count_chain, roots, whole
from redis_victim import Journal, Worker, is_idle
from wire import FAR, NEAR, Wire, why_not

from necrostack import Organ
from necrostack_redis import RedisBackend
from necrostack_redis.config import RedisOptions
from necrostack_redis.link import WAIT

PORT = 6379
"""In a namespace of its own, every port is free."""

SETTINGS = {"concurrency": 4, "retry": CHAIN_RETRY}

MAX_BACKOFF = 5.0
"""Seconds between two attempts to reach a server, at the most."""


@dataclass
class Network:
    """A server and a worker in a namespace each, and the wire between them.

    Attributes:
        wire: The wire.
        near: The worker's interface, once it has started.
        far: The server's.
        direct: The URL under which the server is reached without a network.
    """

    wire: Wire
    far: Interface
    direct: str
    near: Interface | None = None
    workers: list[Worker] = field(default_factory=list)

    async def start_worker(self, journal: Journal, options: RedisOptions) -> Worker:
        """Start a worker at the near end of the wire."""
        organs = partial(organs_at, Address(NEAR, self.wire.called_at))
        self.workers.append(Worker(f"redis://{FAR}:{PORT}", journal, organs, dict(options), SETTINGS))
        self.near = await self.wire.attach()
        return self.workers[-1]

    def start_other(self, journal: Journal, options: RedisOptions) -> Worker:
        """Start a worker that needs no network."""
        self.workers.append(Worker(self.direct, journal, chain_of, dict(options), SETTINGS))
        return self.workers[-1]


def organs_at(address: Address, _: Journal) -> list[Organ[Any]]:
    """Make a worker's Organs, in a namespace."""
    address.move_in()
    return chain()


@pytest.fixture
async def network(redis_binary: Path) -> AsyncIterator[Network]:
    if reason := why_not():
        pytest.skip(f"no network namespace of one's own: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="necrostack-net-"))  # a Unix socket's path is short
    wire = Wire(folder)
    own = ("--port", PORT, "--bind", FAR, "--unixsocket", folder / "redis.sock", "--dir", folder, "--save", "")
    argv = [sys.executable, namespaces.__file__, FAR, wire.called_at, redis_binary, *own, "--protected-mode", "no"]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen([str(part) for part in argv], stdout=log, stderr=log)
    try:
        far = await wire.attach()
        await until(partial(answers, folder / "redis.sock"), "the server answers")
        made = Network(wire, far, f"redis+unix://{folder}/redis.sock")
        yield made
        for worker in made.workers:
            worker.kill()
    finally:
        wire.close()
        server.kill()
        server.wait(5)
        shutil.rmtree(folder, ignore_errors=True)


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(100).startswith(b"+PONG")
        except OSError:
            return False


# --- what the network does ---------------------------------------------------------------------------------


def drop(network: Network) -> None:
    network.wire.loss = 1.0


def refuse(network: Network) -> None:
    network.wire.refuses = True


def unplug(network: Network) -> None:
    assert network.near
    drop(network)  # the kernel goes on for up to a second
    network.near.set_carrier(False)
    network.far.set_carrier(False)


def set_down(network: Network) -> None:
    assert network.near
    network.near.set_up(False)


def restore(network: Network) -> None:
    """Whatever it was."""
    assert network.near
    network.near.set_up(True)
    for end in (network.near, network.far):
        end.set_carrier(True)
    network.wire.clear()


FAULTS: dict[str, Callable[[Network], None]] = {
    "Packets dropped": drop,
    "Packets reset": refuse,
    "Cable unplugged": unplug,
    "Link set down": set_down,
}


# --- what became of it -------------------------------------------------------------------------------------


def said(journal: Journal, event: str) -> list[float]:
    """When a worker's log said something."""
    lines = journal.path.with_suffix(".log").read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    return [datetime.fromisoformat(record["time"]).timestamp() for record in records if record["event"] == event]


@pytest.mark.parametrize(
    ("amount", "lasts", "timeouts"),
    [(10, 0.0, (0.5, 0.5)), pytest.param(100, 20.0, (5.0, 3.0), marks=pytest.mark.thorough)],
    ids=["short", "default timeouts"],
)
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.timeout(180)
async def test_a_worker_that_the_network_cuts_off_comes_back_and_what_it_held_is_done_once(
    name: str,
    amount: int,
    lasts: float,
    timeouts: tuple[float, float],
    network: Network,
    app: str,
    tmp_path: Path,
    figures: Recorder,
) -> None:
    options = RedisOptions(app=app, lease=1.2, call_timeout=timeouts[0], connect_timeout=timeouts[1])
    cut_off, other = Journal(tmp_path / "cut-off"), Journal(tmp_path / "other")
    worker = await network.start_worker(cut_off, options)
    async with RedisBackend(network.direct, app=app) as backend:

        async def holds() -> bool:
            return any(f"-{worker.pid}-" in found.name and found.pending for found in await backend.admin.consumers())

        await backend.enqueue(*roots(range(amount)))
        await until(holds, "the worker holds deliveries")
        began = time.time()
        FAULTS[name](network)
        successor = network.start_other(other, options)
        await until(lambda: said(cut_off, "backend_unavailable"), "the outage is noticed")
        await asyncio.sleep(lasts)
        await until(lambda: is_idle(backend), "the other worker takes over, and does it all")
        ended = time.time()
        restore(network)
        await until(lambda: said(cut_off, "backend_back"), "the end of the outage is noticed")
        await backend.enqueue(*roots(range(amount, 2 * amount)))
        await until(lambda: is_idle(backend), "all is handled")
        reports = [await each.stop() for each in (worker, successor)]
        count = await count_chain(backend, 2 * amount)

    noticed = said(cut_off, "backend_unavailable")[0] - began
    back = said(cut_off, "backend_back")[0] - ended
    refused = [report["lost"] for report in reports]
    figures(name, times=1, **asdict(count), noticed_after=noticed, back_after=back, settlements_refused=refused[0])
    assert count == whole(2 * amount)
    assert [len(said(cut_off, event)) for event in ("backend_unavailable", "backend_back")] == [1, 1]
    assert refused[1] == 0
    # A read that waits may rightly be silent for so long; and so long may it take to try again, and to connect.
    assert noticed < WAIT + timeouts[0] + 1
    assert back < MAX_BACKOFF + timeouts[1] + 1


@pytest.mark.parametrize(
    ("amount", "milliseconds"), [(4, 40), pytest.param(200, 200, marks=pytest.mark.thorough)], ids=["short", "slow"]
)
@pytest.mark.timeout(300)
async def test_a_slow_network_that_drops_packets_loses_and_doubles_no_event(
    amount: int, milliseconds: int, network: Network, app: str, tmp_path: Path, figures: Recorder
) -> None:
    journal = Journal(tmp_path / "journal")
    worker = await network.start_worker(journal, RedisOptions(app=app, lease=10.0))
    network.wire.loss = 0.05
    network.wire.delay = lambda: random.uniform(0.5, 1.5) * milliseconds / 1000
    async with RedisBackend(network.direct, app=app) as backend:
        await backend.enqueue(*roots(range(amount)))
        await until(lambda: is_idle(backend), "all is handled", within=240)
        count = await count_chain(backend, amount)
    network.wire.clear()
    await worker.stop()

    outages, ends = (len(said(journal, event)) for event in ("backend_unavailable", "backend_back"))
    what = f"Packets delayed by {milliseconds} ± {milliseconds // 2} ms each way, and 5 % dropped"
    figures(what, times=network.wire.carried, **asdict(count), dropped=network.wire.dropped, outages=outages)
    assert count == whole(amount)
    assert network.wire.dropped
    assert outages == ends

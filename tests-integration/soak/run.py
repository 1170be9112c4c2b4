"""Runs a soak: load, deaths, samples, and the count in the end."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from patience import until
from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis_server import Server
from redis_victim import Journal

from necrostack.errors import BackendUnavailable
from necrostack_redis import RedisBackend
from necrostack_redis.config import RedisOptions
from necrostack_redis.keys import Keys
from soak.crew import Crew
from soak.load import Producer
from soak.plan import Plan
from soak.record import Record
from soak.sampling import Sample, Tail, look_at_process, look_at_server
from soak.witness import Witness

APP = "soak"

SERVER_ARGS = ("--appendonly", "yes", "--appendfsync", "always")
"""What it has acknowledged survives that it is killed."""

Tell = Callable[["Soak"], None]
"""Is called whenever everything was looked at."""


async def every(
    seconds: float, over: asyncio.Event, act: Callable[[], Awaitable[object]], first: float | None = None
) -> None:
    """Do something again and again until it is over, while the server may be out of reach.

    Args:
        seconds: After how long to do it again.
        over: Is set when it is over.
        act: What to do.
        first: After how long to do it for the first time; as often as later unless given.
    """
    due = time.monotonic() + (0.0 if first is None else first - seconds)
    while not over.is_set():
        due = max(due + seconds, time.monotonic())
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), due - time.monotonic())
            return
        with suppress(RedisError, BackendUnavailable, OSError):
            await act()


class Soak:
    """A soak that runs.

    Attributes:
        record: What is found.
        elapsed: Seconds since the load began.
    """

    def __init__(self, plan: Plan, server: Server, folder: Path) -> None:
        self.record = Record(plan)
        self._plan = plan
        self._server = server
        self._journal = Journal(folder / "journal")
        self._tail = Tail(self._journal.path)
        self._samples = folder / "samples.ndjson"
        self._tasks: dict[int, int] = {}
        self._keys = Keys(APP, "default")
        self._options = RedisOptions(
            app=APP,
            lease=plan.lease,
            max_recoveries=100,  # random kills may hit one event often: that makes no poison of it
            retain_age=plan.retain_age,
            repeat_window=plan.repeat_window,
        )
        self._begun = time.monotonic()

    @property
    def elapsed(self) -> float:
        """See above."""
        return time.monotonic() - self._begun

    async def run(self, tell: Tell) -> Record:
        """Do what is planned, and return what was found."""
        redis = Redis.from_url(self._server.url, decode_responses=True, socket_timeout=5)
        async with redis, RedisBackend(self._server.url, **self._options) as backend:
            self._redis, self._backend = redis, backend
            self._witness = Witness(redis, self._keys.events)
            with self._processes():
                await self._go_through(tell)
                await self._witness_reads()
        self._hear()
        self.record.count = self._witness.count(self._stated["orders"])
        self.record.repeats = self._stated["repeats"]
        self.record.log = Counter(_events(self._journal.path.with_suffix(".log")))
        return self.record

    @contextmanager
    def _processes(self) -> Iterator[None]:
        options, plan = self._options, self._plan
        self._crew = Crew(self._server.url, self._journal, options, plan)
        self.record.elders = list(self._crew.elders)
        self._producer = Producer(self._server.url, self._journal, options, plan.rate, plan.tell_every)
        self._begun = time.monotonic()
        try:
            yield
        finally:
            self._producer.kill()
            self._crew.end()

    async def _go_through(self, tell: Tell) -> None:
        plan, over, handled = self._plan, asyncio.Event(), asyncio.Event()

        async def sample() -> None:
            await self._sample()
            tell(self)

        async with asyncio.TaskGroup() as group:
            for seconds, act in ((0.1, self._witness_reads), (plan.mend_every, self._mend)):
                group.create_task(every(seconds, handled, act))
            deeds = [
                (plan.sample_every, sample),
                (max(plan.period / 600, 0.02), self._ping),
                (plan.kill_every, self._kill_worker),
            ]
            doing = [group.create_task(every(seconds, over, act)) for seconds, act in deeds]
            # Before anything is compared: an outage takes memory for all that waits, and an allocator may keep it.
            first = every(plan.server_every, over, self._kill_server, first=plan.server_every / 2)
            doing.append(group.create_task(first))
            await asyncio.sleep(plan.seconds)
            over.set()
            await asyncio.gather(*doing)
            self._stated = await self._producer.stop()
            await until(self._is_done, "all is handled", within=300)
            handled.set()
        self.record.reports = {
            name: report for name, report in (await self._crew.stop()).items() if name in self.record.elders
        }

    async def _is_done(self) -> bool:
        try:
            stats = await self._backend.admin.stats()
        except BackendUnavailable:
            return False
        return stats.idle and not stats.dead

    async def _witness_reads(self) -> None:
        while await self._witness.read():
            pass

    async def _mend(self) -> None:
        """Give each dead letter what it lacked, and let it go again."""
        async for letter in self._backend.admin.dead_letters():
            assert letter.event is not None, letter
            payload = {**letter.event.payload, "mended": True}
            self.record.mended += await self._backend.admin.redrive(letter.id, payload=payload)

    async def _ping(self) -> None:
        began = time.monotonic()
        await self._redis.ping()
        waited = 1000 * (time.monotonic() - began)
        self.record.pings[int(self.elapsed / self._plan.period)].append(waited)

    async def _kill_worker(self) -> None:
        self.record.kills.append(self.elapsed)
        pid = await asyncio.to_thread(self._crew.kill_one)
        consumers = await self._backend.admin.consumers()
        self.record.held_by_the_dead += sum(found.pending for found in consumers if f"-{pid}-" in found.name)

    async def _kill_server(self) -> None:
        at = self.elapsed
        self._server.kill()
        await asyncio.to_thread(self._server.start, 60)
        self.record.restarts.append((at, self.elapsed - at))

    def _hear(self) -> None:
        """Read what the processes have told since."""
        for entry in self._tail.read():
            if entry.said == "told":
                self._tasks[entry.pid] = entry.about["tasks"]
                period = int((entry.about["at"] - self._begun) / self._plan.period)
                self.record.waits[period] += entry.about["waits"]

    async def _sample(self) -> None:
        self._hear()
        pids = {"producer": self._producer.pid} | {name: worker.pid for name, worker in self._crew.alive.items()}
        processes = {name: look_at_process(pid, self._tasks.get(pid)) for name, pid in pids.items()}
        at, server = self.elapsed, {}
        with suppress(RedisError, BackendUnavailable, OSError):
            server = dict(await look_at_server(self._redis, self._backend, self._keys))
        self.record.samples.append(Sample(at, processes, server, os.getloadavg()[0]))
        with self._samples.open("a", encoding="utf-8") as samples:
            samples.write(json.dumps(asdict(self.record.samples[-1])) + "\n")


def _events(log: Path) -> Iterator[str]:
    """Give the names of the lines of a log."""
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            yield json.loads(line)["event"]
        except (ValueError, KeyError, TypeError):
            yield "not a line of ours"

"""A worker that does, once, everything that a worker ever does; and dies on the way, where it is told to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis.asyncio
from patience import until
from redis_acts import Count
from redis_checks import lost_and_doubled
from redis_cycle_failpoints import Points, with_points
from redis_victim import FORKS, Journal

from necrostack import Event, GiveUp, Organ, RetryPolicy, Settlement, Spine
from necrostack.instrumentation import Instrumentation
from necrostack_redis import RedisBackend, trimming
from necrostack_redis.keys import Keys
from necrostack_redis.scripts import ALL

LEASE = 0.6
"""Seconds; so long what the dead held is left alone."""

ORDERS = 20
"""How many there are. Each leads to two items, of which one is given up."""

LATE = str(ORDERS - 1)
"""The path of one that comes when there is nothing left."""

LETTERS = 2
"""That of the item, and that of what is no event."""


class Fault(Exception):
    """A handler fails once."""


class Splits(Organ):
    """Makes two items of an order. It fails at the first one once, and ends the run soon after, if it may."""

    listens_to = ["ORDER"]
    retry = RetryPolicy(max_attempts=5, base_delay=0.05, jitter=False)

    def __init__(self, stop: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._stop = stop
        self.began: set[str] = set()

    def handle(self, event: Event) -> Sequence[Event]:
        path, is_first = event.payload["path"], not self.began
        self.began.add(path)
        if is_first:
            raise Fault
        if len(self.began) == 5:
            self._stop()
        return items_of(path)


class Packs(Organ):
    """Handles an item in a moment."""

    listens_to = ["ITEM"]
    timeout = 30.0

    async def handle(self, event: Event) -> None:
        await asyncio.sleep(0)


class Checks(Organ):
    """Gives up one item."""

    listens_to = ["ITEM"]

    async def handle(self, event: Event) -> None:
        if event.payload["path"] == "2.1":
            raise GiveUp("unwanted")


def items_of(path: str) -> list[Event]:
    return [Event(event_type="ITEM", payload={"path": f"{path}.{part}"}) for part in range(2)]


def cut_connections(backend: RedisBackend) -> None:
    """Cut all that are in use."""
    link = backend._open().link
    for client in (link._calls, link._waits):
        for connection in client.connection_pool._in_use_connections:
            connection._writer.transport.abort()


@dataclass(frozen=True)
class Calls:
    """What is stated, call by call: whoever does not know whether one was done makes it again.

    Attributes:
        begin: What the run begins with.
        apart: What is stated by three calls at once.
        late: What is stated by another.
        by_hand: What is handled without a Spine.
        last: What another run begins with.
    """

    begin: Sequence[Event]
    apart: Sequence[Event]
    late: Event
    by_hand: Event
    last: Event

    @classmethod
    def make(cls) -> Calls:
        """Make the orders."""
        made = (Event(event_type="ORDER", payload={"path": str(n)}) for n in range(ORDERS))
        *begin, one, two, three, by_hand, last, late = made
        return cls(begin, (one, two, three), late, by_hand, last)


@dataclass(frozen=True)
class Life:
    """One worker's.

    Attributes:
        url: The server's.
        app: Its own.
        calls: What it states.
    """

    url: str
    app: str
    calls: Calls

    def backend(self, **options: Any) -> RedisBackend:
        """Make its backend, with patience for a machine on which many of them live at once."""
        patient = {"connect_timeout": 30.0, "call_timeout": 30.0}
        return RedisBackend(self.url, **{"app": self.app, "lease": LEASE, **patient, **options})

    async def prepare(self) -> None:
        """Let there be what is no event, and a group in which nobody works any more."""
        keys, passing = Keys(self.app, "default"), Keys(self.app, "passing")
        async with redis.asyncio.Redis.from_url(self.url) as client:
            tell = client.execute_command
            await tell("XADD", keys.events, "*", "garbage", "1")  # type: ignore[no-untyped-call]
            await tell("XGROUP", "CREATE", keys.events, passing.group, "0")  # type: ignore[no-untyped-call]
            await tell("HSET", keys.groups, "ephemeral:passing", 1, "alive:passing", 1)  # type: ignore[no-untyped-call]
            for script in ALL:  # or else the first call of each does nothing
                await tell("SCRIPT LOAD", script.text)  # type: ignore[no-untyped-call]

    async def live(self) -> None:
        """Do everything."""
        await self._work_by_hand()
        await self._run()
        await self._run_in_other_ways()

    async def _work_by_hand(self) -> None:
        calls = self.calls
        async with self.backend() as worker:
            assert not await worker.pull(timeout=0)  # what is no event becomes a dead letter
            waits, reader = asyncio.create_task(worker.pull(timeout=30.0)), worker._open().reader
            await until(lambda: reader._watching is not None, "it waits")
            await worker.enqueue(calls.by_hand)
            (delivery,) = await waits
            await worker.settle(Settlement(delivery, emitted=items_of(delivery.event.payload["path"])))
            for delivery in await worker.pull(limit=2):
                await worker.ack(delivery)
            await worker.wait_for_room()
            await asyncio.gather(*map(worker.enqueue, calls.apart))
            renewed = worker._lease._renewed
            await until(lambda: worker._lease._renewed > renewed, "the lease is renewed")

    async def _run(self) -> None:
        """Stop with some in hand, go on, wait for what comes, get through an outage, and stop while waiting."""
        calls, backend = self.calls, self.backend()
        splits = Splits(lambda: spine.stop())
        async with Spine([splits, Packs(), Checks()], backend, concurrency=2, prefetch=4) as spine:
            await spine.run(*calls.begin)
            goes_on = asyncio.create_task(spine.run())
            await spine.started()
            reader = backend._open().reader
            await until(lambda: reader._is_waiting, "there is nothing left but to wait")
            await spine.emit(calls.late)
            await until(lambda: LATE in splits.began, "what comes is handled")
            await until(lambda: reader._is_waiting, "there is nothing left but to wait")
            cut_connections(backend)
            await until(lambda: not reader._is_waiting, "it hears of it")
            await until(lambda: reader._is_waiting, "it is back")
            spine.stop()
            await goes_on

    async def _run_in_other_ways(self) -> None:
        """Watched, counted, with batches of one, until nothing is left."""
        settings: dict[str, Any] = {"instrumentation": Instrumentation(), "max_steps": 1000, "deduplicate": True}
        backend = self.backend(batch_size=1)
        async with Spine([Splits(), Packs(), Checks()], backend, **settings) as spine:
            await spine.run_until_idle(self.calls.last)

    async def outlive(self) -> tuple[Count, float]:
        """Handle what the dead one left, as another worker; count, and say how many seconds that took."""
        begun, calls = time.monotonic(), self.calls
        async with self.backend() as backend:
            for call in (calls.begin, *([event] for event in (*calls.apart, calls.late, calls.by_hand, calls.last))):
                await backend.enqueue(*call)
            await Spine([Splits(), Packs(), Checks()], backend, concurrency=2).run_until_idle()
            took = time.monotonic() - begun
            lost, doubled = await lost_and_doubled(backend, ORDERS)
            letters = len([letter async for letter in backend.admin.dead_letters()])
        return Count(3 * ORDERS + LETTERS, lost + max(LETTERS - letters, 0), doubled + max(letters - LETTERS, 0)), took


def live(life: Life, fatal: str, journal: Journal, code: bytes) -> None:
    """Live, and die at a point; this is the program of a process. Who lives to the end writes down where it was."""
    os.close(2)
    os.open(journal.path.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    trimming._INTERVAL = 0.0  # else it does so every few seconds
    points = Points(fatal)
    points.install(code)
    Splits.handle = points.around("Splits.handle", Splits.handle)  # type: ignore[method-assign]
    asyncio.run(life.live())
    journal.write("passed", list(points.passed))


async def run(life: Life, fatal: str, journal: Journal) -> int:
    """Let a worker live in a process of its own, and return how that ended."""
    await life.prepare()
    process = FORKS.Process(target=live, args=(life, fatal, journal, with_points()), daemon=True)
    process.start()
    try:
        await asyncio.to_thread(partial(process.join, 50))
    finally:
        process.kill()
    assert process.exitcode is not None, f"it does not end: {fatal}"
    return process.exitcode

"""The load: orders that pass three Organs, which fail now and then, and the process that states them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import signal
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from redis_chain import Hiccup
from redis_victim import FORKS, Journal

from necrostack import Delivery, Event, GiveUp, Organ, RetryPolicy
from necrostack.errors import BackendUnavailable
from necrostack.instrumentation import Instrumentation
from necrostack_redis import RedisBackend
from necrostack_redis.config import RedisOptions

STAGES = ("RECEIVED", "CHECKED", "BILLED", "SHIPPED")
"""What becomes of an order, each an event with its number. Nobody listens to the last."""

FAILING = 0.05
"""Which share of the handler calls fails."""

BROKEN = 500
"""One of so many orders cannot be billed until somebody mends it."""

RETRY = RetryPolicy(max_attempts=20, base_delay=0.05, max_delay=1.0)
"""So many that chance alone makes no dead letter: of 10^26 orders one."""


AT_ONCE = 200
"""How many orders may be on their way to the server: what an outage holds up is stated late, and waits in no memory."""


def is_broken(order: int) -> bool:
    """Say whether an order becomes a dead letter first."""
    return order % BROKEN == BROKEN // 10


async def work() -> None:
    """Do what a handler does: wait for somebody, a little, and fail now and then."""
    await asyncio.sleep(random.uniform(0, 0.02))
    if random.random() < FAILING:
        raise Hiccup


class Checking(Organ):
    """The first of them."""

    listens_to = ["RECEIVED"]

    async def handle(self, event: Event) -> Event:
        await work()
        return Event(event_type="CHECKED", payload={"n": event.payload["n"]})


class Billing(Organ):
    """The one that gives up what is broken."""

    listens_to = ["CHECKED"]

    async def handle(self, event: Event) -> Event:
        await work()
        if is_broken(event.payload["n"]) and "mended" not in event.payload:
            raise GiveUp("no address")
        return Event(event_type="BILLED", payload={"n": event.payload["n"]})


class Shipping(Organ):
    """The last."""

    listens_to = ["BILLED"]

    async def handle(self, event: Event) -> Event:
        await work()
        return Event(event_type="SHIPPED", payload={"n": event.payload["n"]})


EXPECTED = ("retry_scheduled", "dead_lettered", "unrouted", "run_started", "run_stopped")
"""Lines that the load makes by itself, thousands of them. The rest of the log is kept."""


def organs(_: Journal) -> list[Organ[Any]]:
    """Make the Organs of a worker, in its process."""
    logging.getLogger("necrostack").addFilter(lambda record: record.msg not in EXPECTED)
    return [Checking(), Billing(), Shipping()]


class Watch(Instrumentation):
    """Tells the journal now and then how many tasks there are, and for how many ms orders waited for their first Organ.

    Since an order was due to be stated, that is: a producer that is held up does not make the figure better.
    """

    def __init__(self, journal: Journal, every: float) -> None:
        """Say something after so many seconds."""
        self._journal = journal
        self._every = every
        self._next = 0.0
        self._waits: list[float] = []

    def handling(self, organ: str, delivery: Delivery) -> AbstractContextManager[object]:
        """See `Instrumentation.handling`."""
        now = time.monotonic()  # one clock for all processes of a machine
        if delivery.attempt == 1 and "due" in delivery.event.payload:
            self._waits.append(round(1000 * (now - delivery.event.payload["due"]), 2))
        if now >= self._next:
            self._next = now + self._every
            self.tell()
        return nullcontext()

    def tell(self) -> None:
        """Say it."""
        said = {"at": time.monotonic(), "tasks": len(asyncio.all_tasks()), "waits": self._waits}
        self._journal.write("told", said)
        self._waits = []


async def produce(backend: RedisBackend, rate: float, watch: Watch, every: float) -> tuple[int, int]:
    """State orders at a constant rate until SIGTERM, whoever keeps up; return how many, and how many calls again."""
    over, repeats, begun = asyncio.Event(), 0, time.monotonic()
    places = asyncio.Semaphore(AT_ONCE)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    told = begun

    async def state(order: Event) -> None:
        nonlocal repeats
        is_kept = False
        while not is_kept:
            try:
                await backend.enqueue(order)
                is_kept = True
            except BackendUnavailable:
                repeats += 1
                await asyncio.sleep(0.05)
        places.release()

    async with asyncio.TaskGroup() as stating:
        for number in itertools.count():
            due = begun + number / rate
            await asyncio.sleep(max(due - time.monotonic(), 0))
            await places.acquire()
            if over.is_set():
                break
            stating.create_task(state(Event(event_type=STAGES[0], payload={"n": number, "due": due})))
            if due > told + every:
                told = due
                watch.tell()
    return number, repeats


def producing(url: str, journal: Journal, options: RedisOptions, rate: float, every: float) -> None:
    """State orders: the program of a process."""
    log = os.open(journal.path.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 2)

    async def run() -> None:
        async with RedisBackend(url, **options) as backend:
            orders, repeats = await produce(backend, rate, Watch(journal, every), every)
        journal.write("stated", {"orders": orders, "repeats": repeats})

    asyncio.run(run())


class Producer:
    """The process that states orders.

    Attributes:
        pid: Its process.
    """

    def __init__(self, url: str, journal: Journal, options: RedisOptions, rate: float, every: float) -> None:
        self._process = FORKS.Process(target=producing, args=(url, journal, options, rate, every), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._journal = journal

    async def stop(self) -> dict[str, int]:
        """Let it state what it has begun to, and return how many orders it stated."""
        os.kill(self.pid, signal.SIGTERM)
        await asyncio.to_thread(self._process.join, 60)
        assert self._process.exitcode == 0, f"the producer: exit code {self._process.exitcode}"
        stated: dict[str, int] = self._journal.read("stated")[-1].about
        return stated

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join(10)

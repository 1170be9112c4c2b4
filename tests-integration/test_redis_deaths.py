"""Workers that die in the middle of it: nothing is lost, and nothing is emitted twice."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest
from figures import Recorder
from patience import until
from redis_chain import CHAIN_RETRY, chain_of, count_chain, roots, whole
from redis_proxy import proxy_before
from redis_victim import LEASE, Journal, StartWorker, ended, is_idle, numbered, numbers

from necrostack import Backend, Event, Organ, RetryPolicy, RunReport, Spine
from necrostack_redis import RedisBackend
from necrostack_redis.config import RedisOptions


@pytest.mark.parametrize(("kills", "roots_per_kill"), [(40, 10), pytest.param(500, 20, marks=pytest.mark.thorough)])
@pytest.mark.timeout(1800)
async def test_killed_workers_lose_and_double_nothing(
    redis_url: str, app: str, start_worker: StartWorker, kills: int, roots_per_kill: int, figures: Recorder
) -> None:
    held_by_the_dead = 0
    start = partial(start_worker, redis_url, chain_of, concurrency=4, retry=CHAIN_RETRY)
    workers = {worker.pid: worker for worker in (start() for _ in range(4))}

    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:

        async def held() -> dict[int, int]:
            """How many deliveries each of the living holds."""
            consumers = await backend.admin.consumers()
            pids = {int(consumer.name.split("-")[-2]): consumer.pending for consumer in consumers}
            return {pid: pending for pid, pending in pids.items() if pid in workers and pending}

        for kill in range(kills):
            await backend.enqueue(*roots(range(kill * roots_per_kill, (kill + 1) * roots_per_kill)))
            await until(held, "somebody holds deliveries")
            await asyncio.sleep(random.uniform(0, 0.1))
            pid = random.choice(list(await held()) or list(workers))
            workers.pop(pid).kill()
            consumers = await backend.admin.consumers()
            held_by_the_dead += sum(found.pending for found in consumers if f"-{pid}-" in found.name)
            worker = start()
            workers[worker.pid] = worker
        await until(partial(is_idle, backend), "all is handled", within=900)
        count = await count_chain(backend, kills * roots_per_kill)

    figures("Workers killed", times=kills, **asdict(count), held_by_the_dead=held_by_the_dead)
    assert count == whole(kills * roots_per_kill)
    assert held_by_the_dead >= kills // 2


async def test_poison_becomes_a_dead_letter_and_its_neighbours_are_handled(
    redis_url: str, app: str, journal: Journal, start_worker: StartWorker, figures: Recorder
) -> None:
    events, max_recoveries, deaths = 40, 3, 0
    options = RedisOptions(max_recoveries=max_recoveries)
    start = partial(start_worker, redis_url, numbered, concurrency=4, options=options)
    batch = numbers("MORTAL", events)
    batch[events // 2] = Event(event_type="MORTAL", payload={"n": -1})

    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:
        await backend.enqueue(*batch)
        workers = [start(), start()]
        while not await is_idle(backend):
            for worker in [worker for worker in workers if not worker.is_alive]:
                deaths += 1
                workers.remove(worker)
                workers.append(start())
            await asyncio.sleep(0.01)
        letters = [letter async for letter in backend.admin.dead_letters()]
        kept = await ended(backend)

    lost, doubled = events - 1 - len(kept), kept.total() - len(kept)
    figures(
        "Workers killed by a poisonous event",
        times=deaths,
        events=events,
        lost=lost,
        doubled=doubled,
        dead=len(letters),
    )
    assert [letter.reason for letter in letters] == ["max_recoveries"]
    assert letters[0].event is not None
    assert letters[0].event.payload["n"] == -1
    assert deaths == len([entry for entry in journal.read("begun") if entry.about == -1]) == 1 + max_recoveries
    assert (lost, doubled) == (0, 0)


async def test_what_a_worker_that_ended_without_closing_held_is_recovered(
    redis_url: str, app: str, start_worker: StartWorker, figures: Recorder
) -> None:
    events = 20
    start = partial(start_worker, redis_url, numbered, concurrency=4)

    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:
        leaves = start()
        await backend.enqueue(Event(event_type="LEAVING", payload={"n": -1}), *numbers("MORTAL", events))
        await until(lambda: not leaves.is_alive, "the worker ends")
        start()
        await until(partial(is_idle, backend), "all is handled")
        kept = await ended(backend)

    lost, doubled = events + 1 - len(kept), kept.total() - len(kept)
    figures("Worker ended without cleaning up", times=1, events=events + 1, lost=lost, doubled=doubled)
    assert (lost, doubled) == (0, 0)


@pytest.mark.parametrize("events", [500, pytest.param(20_000, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.timeout(600)
async def test_cancelled_pulls_lose_nothing_under_load(
    sealed: bool, events: int, redis_url: str, app: str, figures: Recorder
) -> None:
    cancelled = 0
    delivered: Counter[int] = Counter()
    settled: Counter[int] = Counter()

    async with RedisBackend(redis_url, app=app) as backend:

        async def consume() -> None:
            nonlocal cancelled
            while settled.total() < events:
                pulls = backend.pull_sealed if sealed else backend.pull
                pull = asyncio.ensure_future(pulls(limit=5, timeout=0.2))
                await asyncio.wait({pull}, timeout=random.uniform(0, 0.004))
                pull.cancel()
                await asyncio.wait({pull})
                if pull.cancelled():
                    cancelled += 1
                    continue
                deliveries = pull.result()
                delivered.update(delivery.event.payload["n"] for delivery in deliveries)
                for delivery in deliveries:
                    settled[delivery.event.payload["n"]] += await backend.ack(delivery)

        consuming = [asyncio.create_task(consume()) for _ in range(4)]
        for event in numbers("NUMBER", events):
            await backend.enqueue(event)
        async with asyncio.timeout(500):
            await asyncio.gather(*consuming)
        assert await is_idle(backend)

    lost, doubled = events - len(delivered), delivered.total() - len(delivered)
    figures("Pulls cancelled", times=cancelled, events=events, lost=lost, doubled=doubled)
    assert (lost, doubled, settled.total()) == (0, 0, events)
    assert cancelled


async def test_asyncio_has_no_complaint_where_a_cancelled_pull_fails(redis_url: str, app: str) -> None:
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))

    async with (
        proxy_before(int(redis_url.rsplit(":", 1)[1])) as proxy,
        RedisBackend(proxy.url, app=app, call_timeout=0.3) as backend,
    ):
        await backend.pull(timeout=0)
        assert backend._session is not None
        reads, calls, proxy.swallows = backend._session.reader._reads, proxy.seen.total(), True
        pull = asyncio.ensure_future(backend.pull(timeout=0))
        await until(lambda: proxy.seen.total() > calls, "the call is on its way")
        pull.cancel()
        await asyncio.wait({pull})
        await until(lambda: not reads, "the call is given up")
        proxy.swallows = False
    assert pull.cancelled()
    del pull  # whose traceback holds the read
    gc.collect()

    assert not unheard


class Numbers(Organ):
    listens_to = ["NUMBER"]

    async def handle(self, event: Event) -> Event:
        return Event(event_type="ENDED", payload={"n": event.payload["n"]})


class Fails(Organ):
    listens_to = ["NUMBER"]

    async def handle(self, event: Event) -> None:
        raise RuntimeError


async def test_a_group_that_always_fails_leaves_the_other_alone(redis_url: str, app: str, figures: Recorder) -> None:
    events, attempts = 300, 3
    retry = RetryPolicy(max_attempts=attempts, base_delay=0.01, max_delay=0.05)

    async with (
        RedisBackend(redis_url, app=app, group="good") as good,
        RedisBackend(redis_url, app=app, group="bad") as bad,
    ):
        await good.enqueue(*numbers("NUMBER", events))

        async def run(organ: Organ[Any], backend: Backend) -> RunReport:
            return await Spine([organ], backend, retry=retry, concurrency=4).run_until_idle()

        works, fails = await asyncio.gather(run(Numbers(), good), run(Fails(), bad))
        kept = await ended(good)
        dead = [(await backend.admin.stats()).dead for backend in (good, bad)]

    lost, doubled = events - len(kept), kept.total() - len(kept)
    figures("Handlers failed in another group", times=fails.failed, events=events, lost=lost, doubled=doubled)
    assert (works.handled, works.failed, works.retried, works.lost) == (events, 0, 0, 0)
    assert (fails.failed, fails.dead_lettered) == (events * attempts, events)
    assert (lost, doubled, dead) == (0, 0, [0, events])

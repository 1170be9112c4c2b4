"""Workers and servers that die or freeze in the middle of it: nothing is lost, and nothing is emitted twice."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from figures import Recorder
from patience import until
from redis.credentials import CredentialProvider
from redis_chain import CHAIN_RETRY, chain, count_chain, roots, whole
from redis_server import Server
from redis_victim import Journal, OrgansFor, Worker, numbered, numbers, prefetching

from necrostack import Backend, Delivery, Event, Organ, RetryPolicy, RunReport, Spine
from necrostack.errors import BackendUnavailable
from necrostack_redis import RedisBackend
from necrostack_redis.config import RedisOptions

LEASE = 1.2
"""Seconds; short, so that the tests need not wait long for a death to be noticed."""

StartWorker = Callable[..., Worker]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def start_worker(journal: Journal, app: str) -> Iterator[StartWorker]:
    """Starts workers of the test's app, and kills those that are left in the end."""
    started: list[Worker] = []

    def start(url: str, organs: OrgansFor, *, options: RedisOptions | None = None, **settings: object) -> Worker:
        # Random kills may hit one event often: that makes no poison of it.
        chosen = {"app": app, "lease": LEASE, "max_recoveries": 100, **(options or {})}
        started.append(Worker(url, journal, organs, chosen, settings))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


PREFETCHING_APP = """
import sys
from pathlib import Path
from necrostack import Spine
sys.path.insert(0, {harness!r})
from redis.credentials import CredentialProvider
from redis_victim import Journal, Prefetching

spine = Spine([Prefetching(Journal(Path("journal")), {url!r})])
"""


def chain_of(_: Journal) -> list[Organ[Any]]:
    return chain()


async def is_idle(backend: Backend) -> bool:
    try:
        return (await backend.admin.stats()).idle
    except BackendUnavailable:  # a connection to a server that was killed
        return False


async def ended(backend: Backend) -> Counter[int]:
    """How often each number was emitted as ended."""
    return Counter([event.payload["n"] async for event in backend.admin.history(event_type="ENDED")])


@pytest.mark.parametrize(("kills", "roots_per_kill"), [(100, 10), pytest.param(500, 20, marks=pytest.mark.thorough)])
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
        await until(partial(is_idle, backend), "all is handled", within=120)
        count = await count_chain(backend, kills * roots_per_kill)

    figures("Workers killed", times=kills, **asdict(count), held_by_the_dead=held_by_the_dead)
    assert count == whole(kills * roots_per_kill)
    assert held_by_the_dead >= kills // 2


@pytest.mark.timeout(180)
async def test_twenty_killed_servers_lose_nothing_they_acknowledged(
    make_server: Callable[..., Server], app: str, start_worker: StartWorker
) -> None:
    kills, roots_per_kill, repeats = 20, 20, 0
    server = make_server("--appendonly", "yes", "--appendfsync", "always")
    workers = [start_worker(server.url, chain_of, concurrency=4, retry=CHAIN_RETRY) for _ in range(2)]

    async with RedisBackend(server.url, app=app, lease=LEASE) as backend:
        acknowledged = 0

        async def all_work() -> bool:
            return len(await backend.admin.consumers()) == len(workers)

        async def produce() -> None:
            """State each root until that is acknowledged: after a lost reply the identical call is made again."""
            nonlocal acknowledged, repeats
            for root in roots(range(kills * roots_per_kill)):
                while True:
                    try:
                        await backend.enqueue(root)
                    except BackendUnavailable:
                        repeats += 1
                        await asyncio.sleep(0.02)
                    else:
                        break
                acknowledged += 1

        await until(all_work, "the workers have started")
        producing = asyncio.create_task(produce())
        for kill in range(kills):
            await until(lambda: acknowledged > kill * roots_per_kill, "the producer goes on")  # noqa: B023
            await asyncio.sleep(random.uniform(0, 0.05))
            server.kill()
            await asyncio.to_thread(server.start)
        await producing
        await until(partial(is_idle, backend), "all is handled", within=120)
        count = await count_chain(backend, kills * roots_per_kill)
    reports = [await worker.stop() for worker in workers]

    handled = sum(report["handled"] for report in reports)
    print(f"\n{kills} servers killed, {repeats} calls repeated, {handled} deliveries handled: {count}")
    assert count == whole(kills * roots_per_kill)
    assert repeats


async def test_of_a_zombie_and_its_successor_one_settles(
    redis_url: str, app: str, journal: Journal, start_worker: StartWorker
) -> None:
    rounds, events, refused = 4, 5, 0
    start = partial(start_worker, redis_url, numbered, concurrency=events)

    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:

        async def has_ended(amount: int) -> bool:
            return (await ended(backend)).total() >= amount

        def holds_all(worker: Worker) -> bool:
            return len(journal.read("begun", worker.pid)) == events

        for number in range(rounds):
            zombie = start()
            await backend.enqueue(*numbers("GATED", (number + 1) * events)[-events:])
            await until(lambda: holds_all(zombie), "the worker began")  # noqa: B023
            zombie.freeze()
            successor = start()
            await until(lambda: holds_all(successor), "another took over from it")  # noqa: B023

            first, second = (zombie, successor) if number % 2 else (successor, zombie)
            first.thaw()
            journal.gate(first.pid).touch()
            await until(partial(has_ended, (number + 1) * events), "the first to settle did")
            second.thaw()
            journal.gate(second.pid).touch()

            assert (await first.stop())["lost"] == 0
            refused += (await second.stop())["lost"]
        kept = await ended(backend)
        assert await is_idle(backend)

    lost, doubled = rounds * events - len(kept), kept.total() - len(kept)
    print(
        f"\n{rounds} workers frozen and revived, {len(kept)} events: {refused} refused, {lost} lost, {doubled} doubled"
    )
    assert (lost, doubled, refused) == (0, 0, rounds * events)


async def test_a_revived_worker_does_not_start_what_it_may_have_lost(
    redis_url: str, app: str, journal: Journal, start_worker: StartWorker
) -> None:
    start = partial(start_worker, redis_url, partial(prefetching, url=f"{redis_url}?app={app}"))

    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:

        async def holds_no_more() -> bool:
            return (await backend.admin.stats()).pending == 1 + len(waiting)

        worker = start()
        await backend.enqueue(*numbers("NUMBER", 2000))
        await until(lambda: journal.read("prefetched"), "the worker holds what it has not started")
        running, *waiting = journal.read("prefetched")[0].about
        await until(holds_no_more, "what it handled is settled")
        worker.freeze()
        successor = start()
        await until(lambda: len(journal.read("begun", successor.pid)) >= 2000 - running, "another took over")

        worker.thaw()
        journal.gate(worker.pid).touch()
        report = await worker.stop()
        await until(partial(is_idle, backend), "all is handled")
        kept = await ended(backend)

    begun = {entry.about for entry in journal.read("begun", worker.pid)}
    lost, doubled = 2000 - len(kept), kept.total() - len(kept)
    print(f"\na revived worker held {len(waiting)} deliveries that were not started: {lost} lost, {doubled} doubled")
    assert waiting
    assert not begun & set(waiting)
    assert report["lost"] == 1
    assert (lost, doubled) == (0, 0)


async def test_handlers_slower_than_five_leases_run_once(
    redis_url: str, app: str, journal: Journal, start_worker: StartWorker
) -> None:
    lease = 2.0  # with more room, for here it must not lapse
    seconds = 5.2 * lease
    start = partial(start_worker, redis_url, numbered, concurrency=2, options=RedisOptions(lease=lease))

    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:
        await backend.enqueue(*numbers("LASTING", 2, seconds=seconds))
        waits = start()
        await until(lambda: len(journal.read("begun")) == 2, "the async handlers began")
        await backend.enqueue(Event(event_type="BLOCKING", payload={"n": 2, "seconds": seconds}))
        blocks = start()
        await until(lambda: len(journal.read("begun", blocks.pid)) == 1, "the blocking handler began")
        idles = start()
        await until(partial(is_idle, backend), "all is handled")
        reports = [await worker.stop() for worker in (waits, blocks, idles)]
        kept = await ended(backend)

    runs, lost = len(journal.read("begun")), sum(report["lost"] for report in reports)
    print(f"\n3 handlers of {seconds / lease:.1f} leases: {runs} runs, {kept.total()} ended, {lost} refused")
    assert (runs, kept.total(), lost) == (3, 3, 0)


async def test_a_worker_that_blocks_for_longer_than_it_may_counts_as_dead(
    redis_url: str, app: str, journal: Journal, start_worker: StartWorker
) -> None:
    start = partial(start_worker, redis_url, numbered, options=RedisOptions(max_stall=0.6))

    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:
        await backend.enqueue(Event(event_type="BLOCKING", payload={"n": 0, "seconds": 4 * LEASE}))
        blocks = start()
        await until(lambda: journal.read("begun", blocks.pid), "the handler blocks")
        takes_over = start()
        await until(lambda: journal.read("begun", takes_over.pid), "another took over")
        reports = [await worker.stop() for worker in (blocks, takes_over)]
        kept = await ended(backend)
        pending = (await backend.admin.stats()).pending

    runs, refused = len(journal.read("begun")), sum(report["lost"] for report in reports)
    print(f"\n1 worker blocked for too long: {runs} runs, {kept.total()} ended, {refused} refused")
    assert (runs, kept, refused, pending) == (2, {0: 1}, 1, 0)


class Faltering(CredentialProvider):
    """Cannot be asked at first by the thread that keeps a worker alive."""

    def __init__(self) -> None:
        self.failures = 0

    def get_credentials(self) -> tuple[str]:
        if threading.current_thread().name.startswith("lease-") and self.failures < 2:
            self.failures += 1
            raise LookupError
        return ("secret",)


async def test_a_worker_stays_alive_whatever_its_credentials_raise_for_a_while(
    make_server: Callable[..., Server], app: str
) -> None:
    server, credentials, lease = make_server("--requirepass", "secret"), Faltering(), 2.0

    async with (
        RedisBackend(server.url, app=app, lease=lease, credentials=credentials) as backend,
        RedisBackend(server.url.replace("://", "://:secret@"), app=app, lease=lease) as other,
    ):
        await backend.enqueue(*numbers("NUMBER", 1))
        (delivery,) = await backend.pull()
        await until(lambda: credentials.failures == 2, "the lease is to be renewed")
        assert not await other.pull(timeout=1.5 * lease)
        assert await backend.ack(delivery)


@pytest.mark.parametrize("sealed", [False, True])
async def test_cancelled_pulls_lose_nothing_under_load(sealed: bool, redis_url: str, app: str) -> None:
    events, cancelled = 2000, 0
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
        async with asyncio.timeout(50):
            await asyncio.gather(*consuming)
        assert await is_idle(backend)

    lost, doubled = events - len(delivered), delivered.total() - len(delivered)
    print(f"\n{cancelled} pulls cancelled, {events} events: {lost} lost, {doubled} doubled")
    assert (lost, doubled, settled.total()) == (0, 0, events)
    assert cancelled


class Numbers(Organ):
    listens_to = ["NUMBER"]

    async def handle(self, event: Event) -> Event:
        return Event(event_type="ENDED", payload={"n": event.payload["n"]})


class Fails(Organ):
    listens_to = ["NUMBER"]

    async def handle(self, event: Event) -> None:
        raise RuntimeError


async def test_a_group_that_always_fails_leaves_the_other_alone(redis_url: str, app: str) -> None:
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
    print(f"\n{fails.failed} failures in the other group, {events} events: {lost} lost, {doubled} doubled, dead {dead}")
    assert (works.handled, works.failed, works.retried, works.lost) == (events, 0, 0, 0)
    assert (fails.failed, fails.dead_lettered) == (events * attempts, events)
    assert (lost, doubled, dead) == (0, 0, [0, events])


async def test_poison_becomes_a_dead_letter_and_its_neighbours_are_handled(
    redis_url: str, app: str, journal: Journal, start_worker: StartWorker
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
    print(f"\npoison killed {deaths} workers, {events - 1} neighbours: {lost} lost, {doubled} doubled")
    assert [letter.reason for letter in letters] == ["max_recoveries"]
    assert letters[0].event is not None
    assert letters[0].event.payload["n"] == -1
    assert deaths == len([entry for entry in journal.read("begun") if entry.about == -1]) == 1 + max_recoveries
    assert (lost, doubled) == (0, 0)


async def test_who_is_stopped_hands_back_at_once_what_it_did_not_start(
    redis_url: str, app: str, journal: Journal, tmp_path: Path
) -> None:
    url = f"{redis_url}?app={app}&lease=600"
    (tmp_path / "app.py").write_text(PREFETCHING_APP.format(url=url, harness=str(Path(__file__).parent)))
    argv = [sys.executable, "-m", "necrostack", "run", "app:spine", "--backend", url, "--json"]

    async with RedisBackend(url) as backend:
        await backend.enqueue(*numbers("NUMBER", 2000))
        with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as stopped:
            try:
                await until(lambda: journal.read("prefetched"), "the worker holds what it has not started")
                running, *waiting = journal.read("prefetched")[0].about
                stopped.send_signal(signal.SIGTERM)
                handed_back: dict[int, Delivery] = {}

                async def has_come() -> bool:
                    found = await backend.pull(limit=100, timeout=0.1)
                    handed_back.update({delivery.event.payload["n"]: delivery for delivery in found})
                    return handed_back.keys() >= set(waiting)

                await until(has_come, "what was not started is handed back")
                assert stopped.poll() is None, "it ended before its handler did"
                journal.gate(stopped.pid).touch()
                out, err = await asyncio.to_thread(stopped.communicate, timeout=30)
            finally:
                stopped.kill()
        kept = await ended(backend)
        pending = (await backend.admin.stats()).pending

    report = json.loads(out.splitlines()[-1])
    print(f"\nSIGTERM: {len(waiting)} deliveries handed back, {report['handled']} handled, {report['lost']} lost")
    assert stopped.returncode == 0, err
    assert waiting
    assert all((delivery.attempt, delivery.origin) == (1, "live") for delivery in handed_back.values())
    assert kept == Counter(range(running + 1))
    assert pending == len(handed_back)


async def test_what_a_worker_that_ended_without_closing_held_is_recovered(
    redis_url: str, app: str, journal: Journal, start_worker: StartWorker
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
    print(f"\n1 worker ended by os._exit, {events + 1} events: {lost} lost, {doubled} doubled")
    assert (lost, doubled) == (0, 0)

"""Workers that freeze, or are slow: what they hold is taken over or is not, and of two who handle it one settles."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
from figures import Recorder
from patience import until
from redis.credentials import CredentialProvider
from redis_server import Server
from redis_victim import LEASE, Journal, StartWorker, Worker, ended, is_idle, numbered, numbers, prefetching

from necrostack import Event
from necrostack_redis import RedisBackend
from necrostack_redis.config import RedisOptions


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.thorough)])
@pytest.mark.timeout(600)
async def test_of_a_zombie_and_its_successor_one_settles(
    rounds: int, redis_url: str, app: str, journal: Journal, start_worker: StartWorker, figures: Recorder
) -> None:
    events, refused = 5, 0
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
    figures(
        "Workers frozen, taken over from, and revived",
        times=rounds,
        events=rounds * events,
        lost=lost,
        doubled=doubled,
        settlements_refused=refused,
    )
    assert (lost, doubled, refused) == (0, 0, rounds * events)


async def test_a_revived_worker_does_not_start_what_it_may_have_lost(
    redis_url: str, app: str, journal: Journal, start_worker: StartWorker, figures: Recorder
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
    fault = "Worker frozen with deliveries that it had not started"
    figures(fault, times=1, events=2000, lost=lost, doubled=doubled, not_started=len(waiting))
    assert waiting
    assert not begun & set(waiting)
    assert report["lost"] == 1
    assert (lost, doubled) == (0, 0)


@pytest.mark.parametrize("leases", [1.5, pytest.param(5.2, marks=pytest.mark.thorough)])
async def test_handlers_slower_than_the_lease_run_once_also_where_they_block(
    leases: float, redis_url: str, app: str, journal: Journal, start_worker: StartWorker, figures: Recorder
) -> None:
    lease = 2.0  # with more room, for here it must not lapse
    seconds = leases * lease
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

    runs, refused = len(journal.read("begun")), sum(report["lost"] for report in reports)
    lost, doubled = 3 - len(kept), kept.total() - len(kept)
    figures(f"Handlers of {leases:g} leases", times=3, events=3, lost=lost, doubled=doubled, runs=runs)
    assert (runs, lost, doubled, refused) == (3, 0, 0, 0)


async def test_a_worker_that_blocks_for_longer_than_it_may_counts_as_dead(
    redis_url: str, app: str, journal: Journal, start_worker: StartWorker, figures: Recorder
) -> None:
    start = partial(start_worker, redis_url, numbered, options=RedisOptions(lease=0.6, max_stall=0.4))

    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:
        await backend.enqueue(Event(event_type="BLOCKING", payload={"n": 0, "seconds": 2.5}))
        blocks = start()
        await until(lambda: journal.read("begun", blocks.pid), "the handler blocks")
        takes_over = start()
        await until(lambda: journal.read("begun", takes_over.pid), "another took over")
        reports = [await worker.stop() for worker in (blocks, takes_over)]
        kept = await ended(backend)
        pending = (await backend.admin.stats()).pending

    runs, refused = len(journal.read("begun")), sum(report["lost"] for report in reports)
    lost, doubled = 1 - len(kept), kept.total() - len(kept)
    figures("Event loop blocked for longer than max_stall", times=1, events=1, lost=lost, doubled=doubled, runs=runs)
    assert (runs, kept, refused, pending) == (2, {0: 1}, 1, 0)


def one_in_ten(event_type: str, amount: int, *, seconds: float) -> list[Event]:
    """Events of which every tenth takes so long, and the others no time."""
    slow = numbers(event_type, amount, seconds=seconds)
    return [
        slow[number] if number % 10 == 0 else quick
        for number, quick in enumerate(numbers(event_type, amount, seconds=0))
    ]


@pytest.mark.parametrize("events", [200, pytest.param(2000, marks=pytest.mark.thorough)])
@pytest.mark.timeout(600)
async def test_one_handler_in_ten_is_slower_than_the_lease(
    events: int, redis_url: str, app: str, journal: Journal, start_worker: StartWorker, figures: Recorder
) -> None:
    """The lease is the worker's, and a worker that handles is alive: so nothing is handled twice either."""
    lease, slow = 2.0, range(0, events, 10)
    start = partial(start_worker, redis_url, numbered, concurrency=20, options=RedisOptions(lease=lease))

    async with RedisBackend(redis_url, app=app, lease=lease) as backend:
        await backend.enqueue(*one_in_ten("LASTING", events, seconds=1.2 * lease))
        workers = [start() for _ in range(4)]
        await until(partial(is_idle, backend), "all is handled", within=300)
        reports = [await worker.stop() for worker in workers]
        kept = await ended(backend)

    runs, refused = len(journal.read("begun")), sum(report["lost"] for report in reports)
    lost, doubled = events - len(kept), kept.total() - len(kept)
    figures("Handlers slower than the lease", times=len(slow), events=events, lost=lost, doubled=doubled, runs=runs)
    assert (lost, doubled, refused, runs) == (0, 0, 0, events)


@pytest.mark.parametrize("events", [40, pytest.param(2000, marks=pytest.mark.thorough)])
@pytest.mark.timeout(900)
async def test_one_handler_in_ten_blocks_its_worker_for_too_long(
    events: int, redis_url: str, app: str, journal: Journal, start_worker: StartWorker, figures: Recorder
) -> None:
    """What such a worker holds is taken over, and handled a second time. One of the two settles it."""
    lease, stall, slow = 0.3, 0.3, range(0, events, 10)
    start = partial(start_worker, redis_url, numbered, options=RedisOptions(lease=lease, max_stall=stall))

    async with RedisBackend(redis_url, app=app, lease=lease) as backend:
        await backend.enqueue(*one_in_ten("BLOCKING", events, seconds=2 * (lease + stall)))
        workers = [start() for _ in range(4)]
        await until(partial(is_idle, backend), "all is handled", within=600)
        reports = [await worker.stop() for worker in workers]
        kept = await ended(backend)

    runs, refused = len(journal.read("begun")), sum(report["lost"] for report in reports)
    lost, doubled = events - len(kept), kept.total() - len(kept)
    fault = "Handlers blocked their worker for longer than max_stall"
    figures(fault, times=len(slow), events=events, lost=lost, doubled=doubled, runs=runs, refused=refused)
    assert (lost, doubled) == (0, 0)
    assert runs - events >= refused > 0


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

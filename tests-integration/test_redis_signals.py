"""SIGTERM, once and twice, to the real command line: it ends in time, says how, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest
from figures import Recorder
from patience import until
from redis_proxy import Proxy, proxy_before
from redis_victim import Journal, ended, numbered, numbers

from necrostack import Delivery, Spine
from necrostack_redis import RedisBackend

APP = """
import sys
from pathlib import Path
from necrostack import Spine
sys.path.insert(0, {harness!r})
from redis_victim import Journal, numbered, prefetching

journal = Journal(Path("journal"))
spine = Spine({organs})
"""

COMMAND = (sys.executable, "-m", "necrostack", "run", "app:spine", "--json", "--backend")


def write_app(folder: Path, organs: str) -> None:
    """Write the program that the command line runs."""
    (folder / "app.py").write_text(APP.format(harness=str(Path(__file__).parent), organs=organs))


# --- where it is when the signal comes -----------------------------------------------------------------------

EVENTS = 3

DRAIN, SLACK = 2.0, 8.0
"""Seconds that running handlers get, and how much more the end may take, on a slow machine."""


@dataclass
class Place:
    """A worker behind a proxy, with a folder of its own."""

    folder: Path
    proxy: Proxy
    backend: RedisBackend
    process: subprocess.Popen[bytes]

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "journal")

    @property
    def log(self) -> str:
        return (self.folder / "err").read_text()

    async def scheduled(self) -> int:
        return (await self.backend.admin.stats()).scheduled


Move = Callable[[Place], Awaitable[None]]


async def handle(place: Place) -> None:
    await place.backend.enqueue(*numbers("GATED", EVENTS))
    await until(lambda: len(place.journal.read("begun")) == EVENTS, "all handlers run")


async def end_handlers(place: Place) -> None:
    place.journal.gate(place.process.pid).touch()


async def commit(place: Place) -> None:
    def swallow_from_the_first_settlement_on(command: str) -> bool:
        place.proxy.swallows = place.proxy.swallows or command == "settle"
        return False

    place.proxy.cuts = swallow_from_the_first_settlement_on
    await place.backend.enqueue(*numbers("LASTING", EVENTS, seconds=0))
    await until(lambda: place.proxy.swallows, "a settlement is on its way")


async def hand_on(place: Place) -> None:
    place.proxy.cuts = lambda _: False
    place.proxy.swallows = False


async def wait_for_retries(place: Place) -> None:
    async def all_failed() -> bool:
        return await place.scheduled() == EVENTS

    await place.backend.enqueue(*numbers("FAILING", EVENTS))
    await until(all_failed, "all are to go again")


async def wait_for_the_server(place: Place) -> None:
    await wait_for_events(place)
    await place.proxy.refuse()
    await until(lambda: "backend_unavailable" in place.log, "the outage is noticed")


async def wait_for_events(place: Place) -> None:
    await until(lambda: place.proxy.seen["XREAD"], "it waits")


async def stay(_: Place) -> None:
    """Leave it alone."""


INTERRUPTED, LEAVING = {130}, {0, 130, -signal.SIGTERM}
"""The exit codes after a second signal: of a worker that has something in work, and of one that may be done by then."""

Case = tuple[Move, int, Move, set[int]]
"""Where it is, how many signals come, what is done then, and the exit codes that it may have."""

CASES: list[Case] = [
    (handle, 1, end_handlers, {0}),
    (commit, 2, hand_on, LEAVING),
    (wait_for_retries, 1, stay, {0}),
    (wait_for_events, 2, stay, LEAVING),
    (handle, 1, stay, {0}),  # the drain comes to its end
    (handle, 2, stay, INTERRUPTED),
    (commit, 1, hand_on, {0}),
    (wait_for_retries, 2, stay, LEAVING),
    (wait_for_the_server, 1, stay, {0}),
    (wait_for_the_server, 2, stay, LEAVING),
    (wait_for_events, 1, stay, {0}),
]


@asynccontextmanager
async def worker_in(folder: Path, redis_url: str, app: str) -> AsyncIterator[Place]:
    """Start a worker, and wait until it has joined."""
    folder.mkdir()
    write_app(folder, f"numbered(journal), concurrency={EVENTS}, drain_timeout={DRAIN}")
    async with proxy_before(int(redis_url.rsplit(":", 1)[1])) as proxy, RedisBackend(redis_url, app=app) as backend:
        url = f"{proxy.url}?app={app}&lease=2&call_timeout=1"
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen([*COMMAND, url], cwd=folder, stdout=out, stderr=err)
        try:
            await until(backend.admin.consumers, "it has joined")
            yield Place(folder, proxy, backend, process)
        finally:
            process.kill()
            process.wait()


async def stop(place: Place, case: Case) -> float:
    """Stop the worker where the case says, and return how long that took."""
    reach, signals, go_on, codes = case
    await reach(place)
    began = time.monotonic()
    for number in range(signals):
        if number:
            await asyncio.sleep(0.5)  # signals of one kind are one, until the process had its turn
        place.process.send_signal(signal.SIGTERM)
    await go_on(place)
    await until(lambda: place.process.poll() is not None, "it ends")
    took = time.monotonic() - began
    assert place.process.returncode in codes, f"{reach.__name__}, {signals} signals: {place.log}"
    assert "never retrieved" not in place.log, place.log  # what asyncio says of errors that nobody heard
    return took


async def rest_of(place: Place) -> tuple[int, int, int]:
    """Let another worker do the rest, and return how many events there were, and how many are lost and doubled."""
    events = len([event async for event in place.backend.admin.history() if event.event_type != "ENDED"])

    async def all_is_done_or_scheduled() -> bool:
        stats = await place.backend.admin.stats()
        return not (stats.queued or stats.pending)

    place.journal.gate(os.getpid()).touch()
    spine = Spine(numbered(place.journal), place.backend, concurrency=EVENTS)
    running = asyncio.create_task(spine.run())
    await until(all_is_done_or_scheduled, "the rest is handled")
    spine.stop()
    await running
    kept = await ended(place.backend)
    return events, events - len(kept) - await place.scheduled(), kept.total() - len(kept)


@pytest.mark.parametrize("rounds", [4, pytest.param(5 * len(CASES), marks=pytest.mark.thorough)])
@pytest.mark.timeout(900)
async def test_a_worker_that_is_told_to_stop_ends_in_time_wherever_it_is(
    rounds: int, redis_url: str, app: str, tmp_path: Path, figures: Recorder
) -> None:
    turns = asyncio.Semaphore(2)

    async def play(number: int, case: Case) -> tuple[float, int, int, int]:
        async with turns, worker_in(tmp_path / str(number), redis_url, f"{app}-{number}") as place:
            return await stop(place, case), *await rest_of(place)

    cases = list(islice(cycle(CASES), rounds))
    found = await asyncio.gather(*(play(number, case) for number, case in enumerate(cases)))
    seconds, events, lost, doubled = zip(*found, strict=True)

    counts = {"events": sum(events), "lost": sum(lost), "doubled": sum(doubled)}
    signals = sum(case[1] for case in cases)
    figures("Told to stop", times=rounds, **counts, signals=signals, slowest_end_in_seconds=max(seconds))
    assert (counts["lost"], counts["doubled"]) == (0, 0)
    assert max(seconds) < DRAIN + SLACK


# --- what it had not begun -----------------------------------------------------------------------------------


async def test_who_is_stopped_hands_back_at_once_what_it_did_not_start(
    redis_url: str, app: str, journal: Journal, tmp_path: Path, figures: Recorder
) -> None:
    url = f"{redis_url}?app={app}&lease=600"
    write_app(tmp_path, f"prefetching(journal, {url!r})")

    async with RedisBackend(url) as backend:
        await backend.enqueue(*numbers("NUMBER", 2000))
        with subprocess.Popen(
            [*COMMAND, url], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as stopped:
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
    lost, doubled = running + 1 - len(kept), kept.total() - len(kept)
    fault = "Told to stop with deliveries that it had not started"
    figures(
        fault, times=1, events=2000, lost=lost, doubled=doubled, handed_back=len(waiting), handled=report["handled"]
    )
    assert stopped.returncode == 0, err
    assert waiting
    assert all((delivery.attempt, delivery.origin) == (1, "live") for delivery in handed_back.values())
    assert kept == Counter(range(running + 1))
    assert pending == len(handed_back)

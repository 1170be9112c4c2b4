"""Workers in processes of their own, to be killed, frozen and revived.

A server process that has imported everything forks them, so that a hundred start in seconds. What they do they write
into a journal, a file that outlives them.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patience import until

from necrostack import Backend, Event, Organ, RetryPolicy, Spine
from necrostack.errors import BackendUnavailable
from necrostack_redis import RedisBackend

LEASE = 1.2
"""Seconds; short, so that the tests need not wait long for a death to be noticed."""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["necrostack.testing", "necrostack_redis", "pytest"])


@dataclass(frozen=True)
class Entry:
    """A line of a journal: who said what."""

    pid: int
    said: str
    about: Any


@dataclass(frozen=True)
class Journal:
    """What workers did. Each line is written in one piece, whoever is killed meanwhile."""

    path: Path

    def write(self, said: str, about: object = None) -> None:
        """Add a line."""
        line = json.dumps([os.getpid(), said, about]) + "\n"
        journal = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(journal, line.encode())
        os.close(journal)

    def read(self, said: str, pid: int | None = None) -> list[Entry]:
        """Return the lines that say so, oldest first; of one worker, or of all."""
        text = self.path.read_text() if self.path.exists() else ""
        entries = [Entry(*json.loads(line)) for line in text.splitlines()]
        return [entry for entry in entries if entry.said == said and pid in (None, entry.pid)]

    def gate(self, pid: int) -> Path:
        """Name the file that lets a worker's `Gated` handlers end."""
        return self.path.with_suffix(f".gate-{pid}")


OrgansFor = Callable[[Journal], Sequence[Organ[Any]]]
"""Makes the Organs of a worker, which may write into its journal. A function of a module, so that it can be sent."""


def work(url: str, journal: Journal, organs: OrgansFor, options: dict[str, Any], settings: dict[str, Any]) -> None:
    """Run a Spine until SIGTERM, which drains it. This is the program of the process."""
    log = os.open(journal.path.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 2)

    async def run() -> None:
        async with Spine(organs(journal), RedisBackend(url, **options), **settings) as spine:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, spine.stop)
            report = await spine.run()
        journal.write("report", report.to_dict())

    asyncio.run(run())


class Worker:
    """A worker in a process of its own.

    Attributes:
        pid: Its process.
    """

    def __init__(
        self, url: str, journal: Journal, organs: OrgansFor, options: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        self._process = FORKS.Process(target=work, args=(url, journal, organs, options, settings), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._journal = journal

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or is frozen."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End it without any chance to clean up."""
        self._process.kill()
        self._process.join(10)

    def freeze(self) -> None:
        """Stop it where it is, until `thaw`: a machine that sleeps, a debugger, a long pause."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def stop(self) -> dict[str, Any]:
        """Let it drain, and return the report of its run."""
        os.kill(self.pid, signal.SIGTERM)
        await asyncio.to_thread(self._process.join, 45)
        assert self._process.exitcode == 0, f"worker {self.pid}: exit code {self._process.exitcode}"
        report: dict[str, Any] = self._journal.read("report", self.pid)[-1].about
        return report


StartWorker = Callable[..., Worker]
"""What the fixture `start_worker` is: takes a URL, Organs, options of the backend and settings of the Spine."""


# --- what they run ---------------------------------------------------------------------------------------


def numbers(event_type: str, amount: int, **payload: object) -> list[Event]:
    """Make so many events, numbered from 0."""
    return [Event(event_type=event_type, payload={"n": number, **payload}) for number in range(amount)]


class _Numbered(Organ):
    """Writes down what it begins, and says in an event what it ended, and who it is."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.journal = journal

    def begin(self, event: Event) -> Event:
        self.journal.write("begun", event.payload["n"])
        return Event(event_type="ENDED", payload={"n": event.payload["n"], "by": os.getpid()})


class Gated(_Numbered):
    """Ends nothing before its worker's gate is open."""

    listens_to = ["GATED"]

    async def handle(self, event: Event) -> Event:
        ended = self.begin(event)
        await until(self.journal.gate(os.getpid()).exists, "the gate is opened", within=600)
        return ended


class Lasting(_Numbered):
    """Takes its time, and gives the event loop its turn meanwhile."""

    listens_to = ["LASTING"]

    async def handle(self, event: Event) -> Event:
        ended = self.begin(event)
        await asyncio.sleep(event.payload["seconds"])
        return ended


class Blocking(_Numbered):
    """Takes its time, and the event loop's."""

    listens_to = ["BLOCKING"]

    def handle(self, event: Event) -> Event:
        ended = self.begin(event)
        time.sleep(event.payload["seconds"])
        return ended


class Mortal(_Numbered):
    """Takes its process down with it where the number is negative, as a crash or too much memory would."""

    listens_to = ["MORTAL"]

    async def handle(self, event: Event) -> Event:
        ended = self.begin(event)
        if ended.payload["n"] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0)
        return ended


class Failing(_Numbered):
    """Fails the first time with each number, and is asked again much later than any test waits."""

    listens_to = ["FAILING"]
    retry = RetryPolicy(max_attempts=2, base_delay=600, max_delay=600, jitter=False)

    def handle(self, event: Event) -> Event:
        is_first = event.payload["n"] not in [entry.about for entry in self.journal.read("begun")]
        ended = self.begin(event)
        if is_first:
            raise RuntimeError("for once")
        return ended


class Leaving(_Numbered):
    """Ends its process without any cleaning up, the first time it is asked to."""

    listens_to = ["LEAVING"]

    async def handle(self, event: Event) -> Event:
        is_first = not self.journal.read("begun")
        ended = self.begin(event)
        if is_first:
            os._exit(0)
        return ended


class Prefetching(_Numbered):
    """Handles all in no time, until its worker holds a few that are not started. Then the first such worker waits."""

    listens_to = ["NUMBER"]

    def __init__(self, journal: Journal, url: str) -> None:
        super().__init__(journal)
        self._may_wait = not journal.path.exists()
        self._url = url

    async def startup(self) -> None:
        self._backend = RedisBackend(self._url)

    async def handle(self, event: Event) -> Event:
        ended = self.begin(event)
        number = event.payload["n"]
        if self._may_wait and number % 5 == 0:
            # What is pending and comes later was pulled, and waits for its turn.
            pending = [held.event.payload["n"] async for held in self._backend.admin.pending()]
            if len(waiting := [other for other in pending if other > number]) >= 10:
                self._may_wait = False
                self.journal.write("prefetched", [number, *waiting])
                await until(self.journal.gate(os.getpid()).exists, "the gate is opened", within=600)
        return ended

    async def shutdown(self) -> None:
        await self._backend.aclose()


def prefetching(journal: Journal, url: str) -> list[Organ[Any]]:
    """Make one that looks at its group under this URL."""
    return [Prefetching(journal, url)]


def numbered(journal: Journal) -> list[Organ[Any]]:
    """Make one of each."""
    return [kind(journal) for kind in (Gated, Lasting, Blocking, Mortal, Failing, Leaving)]


# --- what came of it -------------------------------------------------------------------------------------


async def is_idle(backend: Backend) -> bool:
    """Whether nothing is left to do."""
    try:
        return (await backend.admin.stats()).idle
    except BackendUnavailable:  # a connection to a server that was killed
        return False


async def ended(backend: Backend) -> Counter[int]:
    """How often each number was emitted as ended."""
    return Counter([event.payload["n"] async for event in backend.admin.history(event_type="ENDED")])

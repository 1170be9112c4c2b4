"""A run says what it is and does; nothing more than it has to, and never at the run's expense."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import pytest

from necrostack import Event, InMemoryBackend, Organ, Spine
from necrostack.announcing import PERIOD, Announcer
from necrostack.errors import BackendUnavailable
from necrostack.fleet import Announcement
from necrostack.routing import Routes, topology_of
from necrostack.tally import Tally
from necrostack.testing import VirtualClock


class Heard(InMemoryBackend):
    """Notes all that is announced."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.heard: list[Announcement] = []
        self.error: Exception | None = None
        self.forgets = False

    def is_announced(self) -> bool:
        return not self.forgets

    async def announce(self, announcement: Announcement) -> None:
        if self.error is not None:
            raise self.error
        self.heard.append(announcement)
        await super().announce(announcement)


class Worker:
    """A run that goes on as the test says, and its announcements."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.backend = Heard(self.clock)
        routes = Routes([Quiet()])
        self.tally = Tally(routes, self.clock)
        self.in_work = 0
        self.announcer = Announcer(self.backend, self.tally, topology_of(routes.specs), 2, lambda: self.in_work)

    async def after(self, *, seconds: float = PERIOD, handled: int = 0) -> int:
        """Let it handle something and time pass; return how many announcements there are then."""
        self.tally.handled += handled
        await self.clock.advance(seconds)
        await self.announcer.tell_if_due()
        return len(self.backend.heard)


class Quiet(Organ):
    listens_to = ["ANNOUNCED"]

    def handle(self, event: Event) -> None: ...


def event() -> Event:
    return Event(event_type="ANNOUNCED", payload={})


async def test_the_first_announcement_says_who_it_is() -> None:
    worker = Worker()

    await worker.after(seconds=0)

    (said,) = worker.backend.heard
    assert (said.host, said.pid, said.concurrency) == (socket.gethostname(), os.getpid(), 2)
    assert (said.started_at, said.at) == (worker.clock.now(), worker.clock.now())
    assert said.version
    assert said.topology is not None
    assert [organ.name for organ in said.topology.organs] == ["Quiet"]


async def test_what_was_done_since_the_last_one_is_told_beside_the_total() -> None:
    worker = Worker()
    await worker.after(handled=3)

    await worker.after(handled=5)

    said = worker.backend.heard[-1]
    assert (said.report.handled, said.recent.handled, said.recent.duration, said.rate) == (8, 5, 2.0, 2.5)


async def test_a_worker_with_nothing_to_do_comes_to_rest_and_is_silent() -> None:
    worker = Worker()
    await worker.after()

    counted = [await worker.after(handled=1), *[await worker.after() for _ in range(9)]]

    # Once that it did something, and once that it did nothing since.
    assert counted == [2, *[3] * 9]
    assert worker.backend.heard[-1].rate == 0.0


async def test_a_worker_with_something_in_work_says_so_in_each_period() -> None:
    worker = Worker()
    await worker.after(seconds=0)
    worker.in_work = 1

    counted = [await worker.after() for _ in range(4)]

    assert counted == [2, 3, 4, 5]
    assert worker.backend.heard[-1].in_work == 1


async def test_a_silent_worker_speaks_again_when_it_was_forgotten() -> None:
    worker = Worker()
    await worker.after(seconds=0)
    worker.backend.forgets = True

    assert await worker.after() == 2
    worker.backend.forgets = False
    assert await worker.after(seconds=3600) == 2


async def test_what_could_not_be_told_is_told_later() -> None:
    worker = Worker()
    await worker.after(seconds=0)
    worker.backend.error = BackendUnavailable("away")
    with pytest.raises(BackendUnavailable):
        await worker.after(handled=4)
    worker.backend.error = None

    await worker.after()

    said = worker.backend.heard[-1]
    assert (said.recent.handled, said.recent.duration) == (4, 2 * PERIOD)


async def test_a_run_is_announced_while_it_goes_on_and_not_afterwards() -> None:
    backend = InMemoryBackend()
    seen: list[Announcement | None] = []

    class Looks(Organ):
        listens_to = ["ANNOUNCED"]

        async def handle(self, event: Event) -> None:
            for _ in range(5):  # the announcer has its turn
                await asyncio.sleep(0)
            seen.extend(consumer.about for consumer in await backend.admin.consumers())

    await Spine([Looks()], backend).run_until_idle(event())

    assert [said is not None and said.pid for said in seen] == [os.getpid()]
    assert [consumer.about for consumer in await backend.admin.consumers()] == [None]


def refuses() -> Exception:
    return RuntimeError("no room for words")


def is_away() -> Exception:
    return BackendUnavailable("gone")


@pytest.mark.parametrize("error", [refuses, is_away])
async def test_a_backend_that_does_not_listen_disturbs_nothing(
    error: Callable[[], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "necrostack")
    backend = Heard(VirtualClock())
    backend.error = error()

    report = await Spine([Quiet()], backend).run_until_idle(event())

    assert report.handled == 1
    (line,) = [record for record in caplog.records if record.getMessage() == "not_announced"]
    assert line.levelname == "DEBUG"


async def test_an_announcement_that_never_ends_is_given_up_when_the_run_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("necrostack.announcing._GRACE", 0.01)

    class Stuck(InMemoryBackend):
        async def announce(self, announcement: Announcement) -> None:
            await asyncio.Event().wait()

    before = asyncio.all_tasks()

    report = await Spine([Quiet()], Stuck()).run_until_idle(event())

    assert report.handled == 1
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before

"""The backend that keeps everything in this process: for development, tests, and work that may be lost."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Sequence

from necrostack.backend import Backend
from necrostack.clock import SYSTEM_CLOCK, Clock
from necrostack.delivery import Delivery, Settlement
from necrostack.errors import BackendClosed, BackendFull, check_count, check_seconds
from necrostack.event import MAX_EVENT_SIZE, Event, admit
from necrostack.fleet import Announcement
from necrostack.memory_admin import InMemoryAdmin
from necrostack.seen import RecentCalls
from necrostack.store import Admitted, Store


class InMemoryBackend(Backend):
    """Keeps events in this process, first in, first out.

    When `max_size` events wait, `enqueue` raises `BackendFull` and keeps nothing: it never waits, so a handler that
    enqueues into a full backend fails instead of blocking the drain. What handlers return is always kept.

    The first thousand events wait as they are. What comes behind them is kept as bytes, and read when it is pulled, as
    any durable backend does it; not where there is a history, which holds them anyway.

    >>> async def main() -> int:
    ...     backend = InMemoryBackend(max_size=10)
    ...     await backend.enqueue(Event(event_type="PING", payload={}))
    ...     return (await backend.admin.stats()).queued
    >>> asyncio.run(main())
    1
    """

    # Small enough for what a batch allocates to be freed before the garbage collector takes it for long-lived: from 100
    # on, every batch is promoted, and full collections walk the whole queue. docs/explanation/performance has figures.
    batch_size = 16

    def __init__(
        self,
        *,
        max_size: int | None = None,
        history: int = 0,
        max_event_size: int = MAX_EVENT_SIZE,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Make an empty backend.

        Args:
            max_size: How many events may be queued and scheduled before `enqueue` refuses; None for no bound.
            history: How many of the newest events to keep for replay.
            max_event_size: How many bytes of JSON a payload may have.
            clock: Where time comes from.
        """
        check_count("max_size", max_size, least=1, or_none=True)
        check_count("history", history, least=0)
        check_count("max_event_size", max_event_size, least=1)
        self.max_size = max_size
        self.max_event_size = max_event_size
        self.clock = clock
        self._store = Store(clock, max_size, history)
        self._calls = RecentCalls(clock)
        # Who waits for events, and who for room.
        self._pullers: set[asyncio.Future[None]] = set()
        self._producers: set[asyncio.Future[None]] = set()
        self._topologies: list[str] = []
        self._closed = False
        self._admin = InMemoryAdmin(self._store, clock, max_event_size, self.open_and_awake)

    @property
    def admin(self) -> InMemoryAdmin:
        """See `Backend.admin`. Dead letters and history can be read after `aclose`, too."""
        return self._admin

    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        """See `Backend.enqueue`."""
        self._check_open()
        check_seconds("delay", delay)
        if not events:
            return
        first = events[0].id.int
        alike = self._calls.beginning_with(first)
        if not alike:
            self._check_room(len(events))  # before any work is done for it
        content, admitted, payloads = hash((len(events), delay)), [], []
        for event in events:
            kept, payload = admit(event, self.max_event_size)
            admitted.append(kept)
            payloads.append(payload)
            content = hash((content, kept.id.int, kept.event_type, payload))
            if kept.headers:
                content = hash((content, *sorted(kept.headers.items())))
        if content in alike:
            return
        if alike:
            self._check_room(len(events))
        self._calls.add(first, content)
        if delay > 0:
            self._store.keep_for(delay, admitted)
        else:
            self._store.keep(admitted, payloads)
        _wake(self._pullers)

    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        """See `Backend.pull`."""
        self._check_open()
        check_count("limit", limit, least=1)
        # The loop gets its turn first: between taking deliveries and returning them nothing may suspend, so that a
        # cancelled pull loses nothing.
        await asyncio.sleep(0)
        taken = self._take(limit)
        if taken or timeout <= 0:
            return taken
        deadline = self.clock.monotonic() + timeout
        while not taken and (now := self.clock.monotonic()) < deadline:
            due = self._store.next_due()
            await self._sleep_among(self._pullers, min(deadline, due) - now)
            taken = self._take(limit)
            if not taken and due <= self.clock.monotonic():
                break  # somebody else was first; whoever waits for the end may look whether this was the last one
        return taken

    def admit(self, events: Sequence[Event], beside: Sequence[Event] = ()) -> Admitted:
        """See `Backend.admit`."""
        if not isinstance(beside, Admitted):
            events, beside = (*beside, *events), _NONE_ADMITTED
        admitted, payloads = Admitted(beside), [*beside.payloads]
        for event in events:
            kept, payload = admit(event, self.max_event_size)
            admitted.append(kept)
            payloads.append(payload)
        admitted.payloads = payloads
        return admitted

    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        """See `Backend.settle`."""
        self._check_open()
        # All that can be wrong is found here, before the first settlement is done.
        emissions = [
            emitted if isinstance(emitted := ended.emitted or _NONE_ADMITTED, Admitted) else self.admit(emitted)
            for ended in settlements
        ]
        accepted = self._store.settle(settlements, emissions)
        _wake(self._pullers)
        return accepted

    async def release(self, *deliveries: Delivery) -> None:
        """See `Backend.release`. They go back to where they were: before what is queued now."""
        self._check_open()
        self._store.release(deliveries)
        _wake(self._pullers)

    async def aclose(self) -> None:
        """See `Backend.aclose`. Discards what is queued, scheduled and pending."""
        self._closed = True
        self._store.clear()
        _wake(self._pullers)
        _wake(self._producers)

    async def wait_for_room(self, count: int = 1) -> None:
        """See `Backend.wait_for_room`."""
        while not self._closed and self._store.room() < min(count, self.max_size or math.inf):
            await self._sleep_among(self._producers, None)

    async def probe(self) -> None:
        """See `Backend.probe`. What is kept in this process can be kept."""
        self._check_open()

    async def join(self, topology: str) -> Collection[str]:
        """See `Backend.join`."""
        others = {other for other in self._topologies if other != topology}
        self._topologies.append(topology)
        return others

    async def leave(self, topology: str) -> None:
        """See `Backend.leave`."""
        self._topologies.remove(topology)
        self._store.about = None

    async def announce(self, announcement: Announcement) -> None:
        """See `Backend.announce`."""
        self._store.about = announcement

    def is_announced(self) -> bool:
        """See `Backend.is_announced`. Another Spine that left may have taken it away."""
        return self._store.about is not None

    def open_and_awake(self) -> None:
        """Make sure that it is open, and that whoever waits for events looks again."""
        self._check_open()
        _wake(self._pullers)

    def _take(self, limit: int) -> list[Delivery]:
        self._check_open()
        taken = self._store.take(limit)
        if self._producers:
            _wake(self._producers)
        return taken

    async def _sleep_among(self, sleepers: set[asyncio.Future[None]], timeout: float | None) -> None:
        """Sleep until all `sleepers` are woken, or the time is up."""
        woken = asyncio.get_running_loop().create_future()
        sleepers.add(woken)
        timer = None if timeout is None else self.clock.call_later(max(timeout, 0.0), lambda: _resolve(woken))
        try:
            await woken
        finally:
            sleepers.discard(woken)
            if timer is not None:
                timer.cancel()

    def _check_room(self, count: int) -> None:
        if (room := self._store.room()) < count:
            msg = f"max_size is {self.max_size} and there is room for {max(room, 0)}, not for {count}; none was kept"
            raise BackendFull(msg)

    def _check_open(self) -> None:
        if self._closed:
            msg = "this InMemoryBackend was closed; make a new one"
            raise BackendClosed(msg)


_NONE_ADMITTED = Admitted()
_NONE_ADMITTED.payloads = ()


def _wake(sleepers: set[asyncio.Future[None]]) -> None:
    for woken in sleepers:
        _resolve(woken)


def _resolve(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)

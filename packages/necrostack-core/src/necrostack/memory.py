"""The backend that keeps everything in this process: for development, tests, and work that may be lost."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from necrostack.backend import Admin, Backend, BackendStats, Consumer, PendingDelivery
from necrostack.clock import SYSTEM_CLOCK, Clock, sleep
from necrostack.delivery import DeadLetter, Delivery, Failure, Settlement
from necrostack.errors import BackendClosed, BackendFull, ConfigurationError, EventError
from necrostack.event import MAX_EVENT_SIZE, Event, admit, as_declared, declarations
from necrostack.log import event_facts, logger

REPEAT_WINDOW = 120.0
"""Seconds in which the identical `enqueue` call is taken for a repetition. NATS JetStream has the same window."""


# One for each handing-over, in all backends of the process: a receipt that is not pending here is none of ours.
_receipts = itertools.count(1)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An event in the history, with the time at which it was kept."""

    at: datetime
    event: Event


class InMemoryBackend(Backend):
    """Keeps events in this process, first in, first out.

    When `max_size` events wait, `enqueue` raises `BackendFull` and keeps nothing: it never waits, so a handler that
    enqueues into a full backend fails instead of blocking the drain. What handlers return is always kept.

    >>> import asyncio
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
        _check_count("max_size", max_size, least=1)
        _check_count("history", history, least=0)
        _check_count("max_event_size", max_event_size, least=1)
        self.max_size = max_size
        self.max_event_size = max_event_size
        self.clock = clock
        # What waits: a bare event is a live one, anything else comes as the delivery it will be.
        self._queue: deque[Event | Delivery] = deque()
        self._scheduled: list[tuple[float, int, Event | Delivery]] = []
        self._pending: dict[object, Delivery] = {}
        # When pending deliveries were pulled: the first receipt of each pull, and its time.
        self._pulls: deque[tuple[int, float]] = deque()
        self._dead: dict[str, DeadLetter] = {}
        self._history: deque[_Kept] | None = deque(maxlen=history) if history else None
        # The calls to `enqueue` that were kept: by the first event's id, until when an identical one is taken for a
        # repetition, and what else makes it identical. The ids that were marked last come last.
        self._calls: dict[int, tuple[tuple[float, int], ...]] = {}
        self._declarations = declarations()
        self._waiting: set[asyncio.Future[None]] = set()
        self._waiting_for_room: set[asyncio.Future[None]] = set()
        self._numbers = itertools.count(1)
        self._topologies: list[str] = []
        self._has_pulled = False
        self._closed = False
        self._admin = InMemoryAdmin(self)

    @property
    def admin(self) -> InMemoryAdmin:
        """See `Backend.admin`. Dead letters and history can be read after `aclose`, too."""
        return self._admin

    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        """See `Backend.enqueue`."""
        self._check_open()
        if not 0 <= delay < math.inf:
            msg = f"delay={delay!r} must be a number of seconds, 0 or more"
            raise ConfigurationError(msg)
        if not events:
            return
        first = events[0].id.int
        self._forget_old_calls()
        if first not in self._calls:
            self._check_room(len(events))
        content, admitted = len(events), []
        for event in events:
            kept, data = admit(event, self.max_event_size)
            admitted.append(kept)
            content = hash((content, kept.id.int, kept.event_type, data))
        now = self.clock.monotonic()
        calls = self._calls.get(first, ())
        if any(until > now and kept_content == content for until, kept_content in calls):
            return
        self._check_room(len(events))
        self._calls.pop(first, None)
        self._calls[first] = (*calls, (now + REPEAT_WINDOW, content))
        self._keep(admitted, delay)
        self._wake()

    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        """See `Backend.pull`."""
        self._check_open()
        _check_count("limit", limit, least=1)
        # The loop gets its turn first: between taking deliveries and returning them nothing may suspend, so that a
        # cancelled pull loses nothing.
        await asyncio.sleep(0)
        taken = self._take(limit)
        if taken or timeout <= 0:
            return taken
        deadline = self.clock.monotonic() + timeout
        while not taken and (left := deadline - self.clock.monotonic()) > 0:
            await self._wait(left)
            taken = self._take(limit)
        return taken

    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        """See `Backend.settle`."""
        self._check_open()
        # All that can be wrong is found here, before the first settlement is done.
        size = self.max_event_size
        emissions = [
            [admit(event, size)[0] for event in ended.emitted] if ended.emitted else () for ended in settlements
        ]
        accepted: list[bool] = []
        for ended, emitted in zip(settlements, emissions, strict=True):
            delivery = self._pending.pop(ended.delivery.receipt, None)
            accepted.append(delivery is not None)
            if delivery is None:
                continue
            if emitted:
                self._keep(emitted)
            if ended.retries or ended.dead:
                self._keep_failures(delivery, ended)
        self._wake()
        return accepted

    async def release(self, *deliveries: Delivery) -> None:
        """See `Backend.release`. They go back to where they were: before what is queued now."""
        self._check_open()
        for released in reversed(deliveries):
            delivery = self._pending.pop(released.receipt, None)
            if delivery is not None:
                self._queue.appendleft(delivery)
        self._wake()

    async def aclose(self) -> None:
        """See `Backend.aclose`. Discards what is queued, scheduled and pending."""
        self._closed = True
        self._queue.clear()
        self._scheduled.clear()
        self._pending.clear()
        self._wake()
        for sleeper in self._waiting_for_room:
            _resolve(sleeper)

    async def wait_for_room(self, count: int = 1) -> None:
        """See `Backend.wait_for_room`."""
        while self.max_size is not None and not self._closed and self._room() < min(count, self.max_size):
            await self._sleep_in(self._waiting_for_room, None)

    async def join(self, topology: str) -> Collection[str]:
        """See `Backend.join`."""
        others = {other for other in self._topologies if other != topology}
        self._topologies.append(topology)
        return others

    async def leave(self, topology: str) -> None:
        """See `Backend.leave`."""
        self._topologies.remove(topology)

    # --- what waits --------------------------------------------------------------------------------------

    def _keep(self, events: Sequence[Event], delay: float = 0.0) -> None:
        """Keep new events."""
        if self._history is not None:
            now = self.clock.now()
            self._history.extend(_Kept(now, event) for event in events)
        if delay > 0:
            for event in events:
                self._schedule(event, delay)
        else:
            self._queue.extend(events)

    def _put(self, delivery: Delivery) -> None:
        """Let an event go again that was kept before, as the class that is declared now."""
        if (fit := self._fitting(delivery)) is not None:
            self._queue.append(fit)

    def _schedule(self, waiting: Event | Delivery, delay: float) -> None:
        heapq.heappush(self._scheduled, (self.clock.monotonic() + delay, next(self._numbers), waiting))

    def _take(self, limit: int) -> list[Delivery]:
        self._check_open()
        self._has_pulled = True
        now = self.clock.monotonic()
        while self._scheduled and self._scheduled[0][0] <= now:
            self._queue.append(heapq.heappop(self._scheduled)[2])
        if self._declarations != declarations():
            self._redeclare()
        taken: list[Delivery] = []
        queue, pending = self._queue, self._pending
        oldest = next(iter(pending), None)
        while self._pulls and (oldest is None or (len(self._pulls) > 1 and self._pulls[1][0] <= cast("int", oldest))):
            self._pulls.popleft()
        while queue and len(taken) < limit:
            waiting = queue.popleft()
            receipt = next(_receipts)
            if not taken:
                self._pulls.append((receipt, now))
            if isinstance(waiting, Delivery):
                delivery = replace(waiting, receipt=receipt)
            else:
                delivery = Delivery(waiting, 1, "live", None, receipt)
            pending[receipt] = delivery
            taken.append(delivery)
        for sleeper in self._waiting_for_room:
            _resolve(sleeper)
        return taken

    def _redeclare(self) -> None:
        """A class was declared since: what waits for it becomes one of its events, or a dead letter."""
        self._declarations = declarations()
        self._queue = deque(fit for waiting in self._queue if (fit := self._fitting(waiting)) is not None)
        scheduled = [(due, number, self._fitting(waiting)) for due, number, waiting in self._scheduled]
        self._scheduled = [(due, number, fit) for due, number, fit in scheduled if fit is not None]

    def _fitting(self, waiting: Event | Delivery) -> Event | Delivery | None:
        event = waiting.event if isinstance(waiting, Delivery) else waiting
        try:
            declared = as_declared(event)
        except EventError as error:
            plain = Event.model_validate_json(event.to_json())
            self._bury(plain, Failure(reason="undecodable", error_type=type(error).__name__, error=str(error)))
            logger.error("dead_lettered", extra=event_facts(event) | {"reason": "undecodable", "error": str(error)})
            return None
        return replace(waiting, event=declared) if isinstance(waiting, Delivery) else declared

    async def _wait(self, timeout: float) -> None:
        """Wait until something is put, or due, or the time is up."""
        if self._scheduled:
            timeout = min(timeout, self._scheduled[0][0] - self.clock.monotonic())
        await self._sleep_in(self._waiting, max(timeout, 0.0))

    async def _sleep_in(self, sleepers: set[asyncio.Future[None]], timeout: float | None) -> None:
        """Sleep until those in `sleepers` are woken, or the time is up."""
        woken = asyncio.get_running_loop().create_future()
        sleepers.add(woken)
        timer = None if timeout is None else self.clock.call_later(timeout, lambda: _resolve(woken))
        try:
            await woken
        finally:
            sleepers.discard(woken)
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        for woken in self._waiting:
            _resolve(woken)

    def _forget_old_calls(self) -> None:
        now = self.clock.monotonic()
        while self._calls and (oldest := next(iter(self._calls.items())))[1][-1][0] <= now:
            del self._calls[oldest[0]]

    def _room(self) -> float:
        """How many more events may wait."""
        if self.max_size is None:
            return math.inf
        return self.max_size - len(self._queue) - len(self._scheduled)

    def _check_room(self, count: int) -> None:
        if (room := self._room()) < count:
            msg = f"max_size is {self.max_size} and there is room for {max(room, 0)}, not for {count}; none was kept"
            raise BackendFull(msg)

    # --- how it ends -------------------------------------------------------------------------------------

    def _keep_failures(self, delivery: Delivery, ended: Settlement) -> None:
        for retry in ended.retries:
            again = Delivery(delivery.event, delivery.attempt + 1, "retry", (retry.organ,), None, tuple(retry.attempts))
            self._schedule(again, retry.delay)
        for failure in ended.dead:
            self._bury(delivery.event, failure)

    def _bury(self, event: Event, failure: Failure) -> None:
        letter = DeadLetter(
            id=str(next(self._numbers)),
            event=event,
            organ=failure.organ,
            reason=failure.reason,
            error_type=failure.error_type,
            error=failure.error,
            traceback=failure.traceback,
            attempts=tuple(failure.attempts),
            dead_at=self.clock.now(),
        )
        self._dead[letter.id] = letter

    def _pulled_at(self, delivery: Delivery) -> float:
        """When a pending delivery was pulled."""
        return next(at for receipt, at in reversed(self._pulls) if receipt <= cast("int", delivery.receipt))

    def _check_open(self) -> None:
        if self._closed:
            msg = "this InMemoryBackend was closed; make a new one"
            raise BackendClosed(msg)


class InMemoryAdmin(Admin):
    """Looks into an `InMemoryBackend` and repairs it. See `Admin`."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self._backend = backend

    async def stats(self) -> BackendStats:
        """See `Admin.stats`."""
        backend = self._backend
        pulled_at = next((backend._pulled_at(delivery) for delivery in backend._pending.values()), None)
        return BackendStats(
            queued=len(backend._queue),
            pending=len(backend._pending),
            scheduled=len(backend._scheduled),
            dead=sum(letter.redriven_at is None for letter in backend._dead.values()),
            consumers=len(await self.consumers()),
            oldest_pending=None if pulled_at is None else backend.clock.monotonic() - pulled_at,
            history=len(backend._history or ()),
        )

    async def dead_letters(
        self,
        event_type: str | None = None,
        organ: str | None = None,
        error: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        redriven: bool = False,
    ) -> AsyncIterator[DeadLetter]:
        """See `Admin.dead_letters`."""
        for letter in list(self._backend._dead.values()):
            if (
                (letter.redriven_at is not None) == redriven
                and (event_type is None or (letter.event is not None and letter.event.event_type == event_type))
                and (organ is None or letter.organ == organ)
                and (error is None or letter.error_type == error or error in letter.error)
                and _within(letter.dead_at, since, until)
            ):
                yield letter

    async def redrive(self, *ids: str, payload: Mapping[str, Any] | None = None) -> int:
        """See `Admin.redrive`."""
        self._backend._check_open()
        if payload is not None and len(ids) != 1:
            msg = f"a new payload is for one dead letter, not for {len(ids)}; redrive them one by one"
            raise ConfigurationError(msg)
        letters = [self._backend._dead[name] for name in dict.fromkeys(ids) if name in self._backend._dead]
        waiting = [letter for letter in letters if letter.redriven_at is None and letter.event is not None]
        deliveries = [_redriven(letter, payload, self._backend.max_event_size) for letter in waiting]
        for letter, delivery in zip(waiting, deliveries, strict=True):
            self._backend._dead[letter.id] = replace(letter, redriven_at=self._backend.clock.now())
            self._backend._put(delivery)
        self._backend._wake()
        return len(waiting)

    async def discard(self, *ids: str) -> int:
        """See `Admin.discard`."""
        return sum(self._backend._dead.pop(name, None) is not None for name in dict.fromkeys(ids))

    async def history(
        self, since: datetime | None = None, until: datetime | None = None, event_type: str | None = None
    ) -> AsyncIterator[Event]:
        """See `Admin.history`."""
        for event in self._kept(since, until, event_type):
            yield event

    async def replay(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        event_type: str | None = None,
        organs: Sequence[str] | None = None,
        rate: float | None = None,
        dry_run: bool = False,
    ) -> int:
        """See `Admin.replay`."""
        self._backend._check_open()
        if rate is not None and not 0 < rate < math.inf:
            msg = f"rate={rate!r} must be a number of events a second, over 0"
            raise ConfigurationError(msg)
        # What is emitted while the replay goes on is not part of it.
        events = list(self._kept(since, until, event_type))
        if dry_run:
            return len(events)
        for number, event in enumerate(events):
            if rate is not None and number > 0:
                await sleep(self._backend.clock, 1 / rate)
            self._backend._check_open()
            self._backend._put(Delivery(event, 1, "replay", None if organs is None else tuple(organs)))
            self._backend._wake()
        return len(events)

    async def pending(self) -> AsyncIterator[PendingDelivery]:
        """See `Admin.pending`."""
        now = self._backend.clock.monotonic()
        for delivery in list(self._backend._pending.values()):
            yield PendingDelivery(
                event=delivery.event,
                attempt=delivery.attempt,
                organs=delivery.organs,
                consumer="memory",
                idle=now - self._backend._pulled_at(delivery),
            )

    async def consumers(self) -> Sequence[Consumer]:
        """See `Admin.consumers`. The process is the only one."""
        if not self._backend._has_pulled:
            return ()
        return (Consumer(name="memory", pending=len(self._backend._pending), idle=0.0),)

    async def trim(self, *, max_length: int | None = None, before: datetime | None = None) -> int:
        """See `Admin.trim`."""
        _check_count("max_length", max_length, least=0)
        history = self._backend._history
        if history is None:
            return 0
        length = len(history)
        while history and (
            (max_length is not None and len(history) > max_length) or (before is not None and history[0].at < before)
        ):
            history.popleft()
        return length - len(history)

    def _kept(self, since: datetime | None, until: datetime | None, event_type: str | None) -> Iterator[Event]:
        for kept in list(self._backend._history or ()):
            if _within(kept.at, since, until) and event_type in (None, kept.event.event_type):
                yield kept.event


def _redriven(letter: DeadLetter, payload: Mapping[str, Any] | None, max_size: int) -> Delivery:
    """Make the delivery of a dead letter that goes again, its payload edited if there is a new one."""
    event = letter.event
    assert event is not None, "only letters with an event are redriven"
    if payload is None:
        event = event.model_copy(update={"hops": 0})
    else:
        fields = event.model_dump(mode="json") | {"payload": dict(payload), "hops": 0}
        try:
            event, _ = admit(Event.model_validate(fields), max_size)
        except EventError:
            raise
        except ValueError as error:
            msg = f"the new payload of dead letter {letter.id} is none: {error}"
            raise EventError(msg) from error
    return Delivery(event, 1, "redrive", None if letter.organ is None else (letter.organ,))


def _within(moment: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or moment >= since) and (until is None or moment < until)


def _resolve(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _check_count(name: str, value: object, *, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        msg = f"{name}={value!r} must be a whole number, {least} or more"
        raise ConfigurationError(msg)

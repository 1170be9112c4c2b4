"""What the in-memory backend holds and how it changes: plain data, and nothing that waits."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast
from uuid import UUID

from necrostack.backend import KeptEvent
from necrostack.clock import Clock
from necrostack.delivery import DeadLetter, Delivery, Failure, Settlement
from necrostack.errors import EventError, explain
from necrostack.event import Event, as_declared, declarations
from necrostack.fleet import Announcement
from necrostack.log import event_facts, logger
from necrostack.packing import Packed, pack, unpack

# One for each handing-over, in all stores of the process: a receipt that is not pending here was never given out here.
_receipts = itertools.count(1)

LONG_QUEUE = 1_000
"""How many events wait as they are; what comes behind them is packed."""

MAX_REDRIVEN = 10_000
"""How many dead letters stay readable after they were redriven; the oldest are forgotten first."""


class Admitted(list[Event]):
    """Events that were looked at, and can be kept.

    Attributes:
        payloads: The payload of each as JSON.
    """

    __slots__ = ("payloads",)

    payloads: Sequence[bytes]


class Store:
    """Queue, schedule, pending deliveries, dead letters and history of one backend.

    Attributes:
        queue: What can be pulled, oldest first. A bare event, packed or not, is a live one; anything else comes as the
            delivery that it will be.
        scheduled: What is due later, as a heap of (due, number, what waits).
        pending: What was pulled and is not settled, by receipt, oldest first.
        dead: The dead letters that wait, by id, oldest first.
        redriven: Those that went again.
        history: The newest events; None when none are kept.
        was_pulled: Whether anybody has pulled.
        about: What the worker said of itself.
    """

    def __init__(self, clock: Clock, max_size: int | None, history: int) -> None:
        self.queue: deque[Event | Packed | Delivery] = deque()
        self.scheduled: list[tuple[float, int, Event | Delivery]] = []
        self.pending: dict[object, Delivery] = {}
        self.dead: dict[str, DeadLetter] = {}
        self.redriven: dict[str, DeadLetter] = {}
        self.history: deque[KeptEvent] | None = deque(maxlen=history) if history else None
        self.was_pulled = False
        self.about: Announcement | None = None
        self._clock = clock
        self._max_size = max_size
        self._numbers = itertools.count(1)
        self._positions = itertools.count(1)
        # When pending deliveries were pulled: the first receipt of each pull, and its time.
        self._pulls: deque[tuple[int, float]] = deque()
        self._declarations = declarations()

    # --- what comes in -----------------------------------------------------------------------------------

    def room(self) -> float:
        """Say how many more events may wait."""
        return math.inf if self._max_size is None else self._max_size - len(self.queue) - len(self.scheduled)

    def keep(self, events: Sequence[Event], payloads: Sequence[bytes] = ()) -> None:
        """Keep new events.

        Args:
            events: They, of their declared classes.
            payloads: The payload of each as JSON, where that is at hand.
        """
        queue = self.queue
        if self.history is not None:
            self.history.extend(self._positioned(events))
        elif payloads and len(queue) + len(events) > LONG_QUEUE:
            for event, payload in zip(events, payloads, strict=True):
                queue.append(event if len(queue) < LONG_QUEUE else pack(event, payload))
            return
        queue.extend(events)

    def keep_for(self, delay: float, events: Sequence[Event]) -> None:
        """Keep new events that are due in a while."""
        for event in events:
            self._schedule(event, delay)

    def redrive(self, letter: DeadLetter, delivery: Delivery) -> None:
        """Let a dead letter go again, and keep it readable."""
        del self.dead[letter.id]
        self.redriven[letter.id] = replace(letter, redriven_at=self._clock.now())
        if len(self.redriven) > MAX_REDRIVEN:
            del self.redriven[next(iter(self.redriven))]
        self.put(delivery)

    def restore(self, letter: DeadLetter) -> None:
        """Keep a dead letter that was kept before, here or elsewhere."""
        again = replace(letter, id=str(next(self._numbers)), raw=None, redriven_at=None)
        self.dead[again.id] = again

    def put(self, delivery: Delivery) -> None:
        """Let an event go again that was kept before, as the class that is declared now."""
        if (fit := self._fitting(delivery)) is not None:
            self.queue.append(fit)

    # --- what goes out -----------------------------------------------------------------------------------

    def next_due(self) -> float:
        """Return the time at which something scheduled is due; infinity when nothing is."""
        return self.scheduled[0][0] if self.scheduled else math.inf

    def take(self, limit: int) -> list[Delivery]:
        """Hand over at most `limit` deliveries, oldest first."""
        self.was_pulled = True
        now = self._clock.monotonic()
        while self.scheduled and self.scheduled[0][0] <= now:
            due = heapq.heappop(self.scheduled)[2]
            if isinstance(due, Delivery):
                self.queue.append(due)
            else:
                self.keep([due])
        if self._declarations != declarations():
            self._redeclare()
        self._forget_old_pulls()
        queue, pending = self.queue, self.pending
        taken: list[Delivery] = []
        while queue and len(taken) < limit:
            first = queue.popleft()
            waiting = self._fitting(unpack(first)) if isinstance(first, tuple) else first
            if waiting is None:
                continue
            receipt = next(_receipts)
            if not taken:
                self._pulls.append((receipt, now))
            if isinstance(waiting, Delivery):
                delivery = replace(waiting, receipt=receipt)
            else:
                delivery = Delivery(waiting, 1, "live", None, receipt)
            pending[receipt] = delivery
            taken.append(delivery)
        return taken

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries back to where they were: before what is queued now."""
        for released in reversed(deliveries):
            if (delivery := self.pending.pop(released.receipt, None)) is not None:
                self.queue.appendleft(delivery)

    def settle(self, settlements: Sequence[Settlement], emissions: Sequence[Admitted]) -> list[bool]:
        """End deliveries, with what they emitted given as it is to be kept; say which were pending here."""
        accepted: list[bool] = []
        for ended, emitted in zip(settlements, emissions, strict=True):
            delivery = self.pending.pop(ended.delivery.receipt, None)
            accepted.append(delivery is not None)
            if delivery is None:
                continue
            if emitted:
                self.keep(emitted, emitted.payloads)
            if ended.retries or ended.dead:
                self._keep_failures(delivery, ended)
        return accepted

    def pulled_at(self, delivery: Delivery) -> float:
        """Say when a pending delivery was pulled."""
        return next(at for receipt, at in reversed(self._pulls) if receipt <= cast("int", delivery.receipt))

    def clear(self) -> None:
        """Forget what is queued, scheduled and pending."""
        self.queue.clear()
        self.scheduled.clear()
        self.pending.clear()

    # --- history -----------------------------------------------------------------------------------------

    def kept(
        self,
        since: datetime | None,
        until: datetime | None,
        event_type: str | None,
        ids: Collection[UUID] | None,
        after: str | None = None,
    ) -> Iterator[KeptEvent]:
        """Go through the history, oldest first, as it is now."""
        wanted = None if ids is None else frozenset(ids)
        last = int(after or 0)
        for kept in list(self.history or ()):
            if (
                int(kept.position) > last
                and _within(kept.kept_at, since, until)
                and event_type in (None, kept.event.event_type)
                and (wanted is None or kept.event.id in wanted)
            ):
                yield kept

    def trim(self, max_length: int | None, before: datetime | None) -> int:
        """Forget history up to what is not settled; return how much."""
        history = self.history or deque()
        length = len(history)
        # What goes again is not needed for that: it is a copy. And nothing is packed where a history is kept.
        queued = [Delivery(each) if isinstance(each, Event) else each for each in self.queue]
        unsettled = [each for each in (*queued, *self.pending.values()) if isinstance(each, Delivery)]
        needed = {each.event.id for each in unsettled if each.origin == "live"}
        while (
            history
            and history[0].event.id not in needed
            and (
                (max_length is not None and len(history) > max_length)
                or (before is not None and history[0].kept_at < before)
            )
        ):
            history.popleft()
        return length - len(history)

    # --- inside ------------------------------------------------------------------------------------------

    def _positioned(self, events: Sequence[Event]) -> list[KeptEvent]:
        now = self._clock.now()
        return [KeptEvent(event, now, str(next(self._positions))) for event in events]

    def _schedule(self, waiting: Event | Delivery, delay: float) -> None:
        heapq.heappush(self.scheduled, (self._clock.monotonic() + delay, next(self._numbers), waiting))

    def _keep_failures(self, delivery: Delivery, ended: Settlement) -> None:
        for retry in ended.retries:
            again = Delivery(delivery.event, delivery.attempt + 1, "retry", (retry.organ,), None, tuple(retry.attempts))
            self._schedule(again, retry.delay)
        for failure in ended.dead:
            self._bury(delivery.event, failure)

    def _bury(self, event: Event | None, failure: Failure, raw: Mapping[bytes, bytes] | None = None) -> None:
        letter = DeadLetter(
            id=str(next(self._numbers)),
            event=event,
            raw=raw,
            organ=failure.organ,
            reason=failure.reason,
            error_type=failure.error_type,
            error=failure.error,
            traceback=failure.traceback,
            attempts=tuple(failure.attempts),
            dead_at=self._clock.now(),
        )
        self.dead[letter.id] = letter

    def _redeclare(self) -> None:
        """A class was declared since: what waits for it becomes one of its events, or a dead letter."""
        self._declarations = declarations()
        self.queue = deque(
            fit
            for waiting in self.queue  # what is packed becomes one of its events when it is unpacked
            if (fit := waiting if isinstance(waiting, tuple) else self._fitting(waiting)) is not None
        )
        scheduled = [(due, number, self._fitting(waiting)) for due, number, waiting in self.scheduled]
        self.scheduled = [(due, number, fit) for due, number, fit in scheduled if fit is not None]

    def _fitting(self, waiting: Event | Delivery) -> Event | Delivery | None:
        event = waiting.event if isinstance(waiting, Delivery) else waiting
        try:
            declared = as_declared(event)
        except EventError as error:
            self._refuse(event, error)
            return None
        return replace(waiting, event=declared) if isinstance(waiting, Delivery) else declared

    def _refuse(self, event: Event, error: EventError) -> None:
        """Make a dead letter of what is not what its event type says."""
        failure = Failure(reason="undecodable", error_type=type(error).__name__, error=explain(error))
        data = event.to_json()
        try:
            self._bury(Event.model_validate_json(data), failure)
        except ValueError:  # its class allowed what a plain event may not have
            self._bury(None, failure, raw={b"event": data})
        facts = {"organ": None, "reason": failure.reason, "error_type": failure.error_type, "error": failure.error}
        logger.error("dead_lettered", extra=event_facts(event) | facts)

    def _forget_old_pulls(self) -> None:
        oldest = next(iter(self.pending), None)
        while self._pulls and (oldest is None or (len(self._pulls) > 1 and self._pulls[1][0] <= cast("int", oldest))):
            self._pulls.popleft()


def _within(moment: datetime, since: datetime | None, until: datetime | None) -> bool:
    """Say whether a moment lies in a range that includes its start and not its end."""
    return (since is None or moment >= since) and (until is None or moment < until)

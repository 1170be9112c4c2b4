"""Looking into the in-memory backend, and repairing what it keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from necrostack.backend import Admin, BackendStats, Consumer, KeptEvent, PendingDelivery, ScheduledDelivery
from necrostack.clock import Clock, Pace
from necrostack.delivery import DeadLetter, Delivery, redriven_event, restored_event
from necrostack.errors import ConfigurationError, check_count
from necrostack.event import Event
from necrostack.store import Store


class InMemoryAdmin(Admin):
    """Looks into an `InMemoryBackend` and repairs it. See `Admin`."""

    def __init__(self, store: Store, clock: Clock, max_event_size: int, open_and_awake: Callable[[], None]) -> None:
        """Make the admin of a backend.

        Args:
            store: What the backend holds.
            clock: Its clock.
            max_event_size: How many bytes of JSON a payload may have.
            open_and_awake: Makes sure that the backend is open, and wakes whoever waits for events.
        """
        self._store = store
        self._clock = clock
        self._max_event_size = max_event_size
        self._open_and_awake = open_and_awake

    async def stats(self) -> BackendStats:
        """See `Admin.stats`."""
        store = self._store
        pulled_at = next((store.pulled_at(delivery) for delivery in store.pending.values()), None)
        return BackendStats(
            queued=len(store.queue),
            pending=len(store.pending),
            scheduled=len(store.scheduled),
            dead=len(store.dead),
            consumers=len(await self.consumers()),
            oldest_pending=None if pulled_at is None else self._clock.monotonic() - pulled_at,
            history=len(store.history or ()),
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
        letters = (self._store.redriven if redriven else self._store.dead).values()
        for letter in sorted(letters, key=lambda letter: int(letter.id)):  # redriven ones stand as they went
            if letter.matches(event_type, organ, error, since, until):
                yield letter

    async def redrive(self, *ids: str, payload: Mapping[str, Any] | None = None) -> int:
        """See `Admin.redrive`."""
        self._open_and_awake()
        if payload is not None and len(ids) != 1:
            msg = f"a new payload is for one dead letter, not for {len(ids)}; redrive them one by one"
            raise ConfigurationError(msg)
        letters = [self._store.dead[name] for name in dict.fromkeys(ids) if name in self._store.dead]
        deliveries = [
            (letter, _redriven(letter, payload, self._max_event_size)) for letter in letters if letter.event is not None
        ]
        for letter, delivery in deliveries:
            self._store.redrive(letter, delivery)
        self._open_and_awake()
        return len(deliveries)

    async def discard(self, *ids: str) -> int:
        """See `Admin.discard`."""
        letters = (self._store.dead, self._store.redriven)
        return sum(kept.pop(name, None) is not None for name in dict.fromkeys(ids) for kept in letters)

    async def restore(self, *letters: DeadLetter) -> None:
        """See `Admin.restore`."""
        self._open_and_awake()
        for letter in letters:
            restored_event(letter)
        for letter in letters:
            self._store.restore(letter)

    async def kept(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        event_type: str | None = None,
        ids: Collection[UUID] | None = None,
        *,
        after: str | None = None,
        newest_first: bool = False,
    ) -> AsyncIterator[KeptEvent]:
        """See `Admin.kept`."""
        found = self._store.kept(since, until, event_type, ids, after)
        for kept in reversed([*found]) if newest_first else found:
            yield kept

    async def replay(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        event_type: str | None = None,
        organs: Sequence[str] | None = None,
        rate: float | None = None,
        dry_run: bool = False,
        ids: Collection[UUID] | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> int:
        """See `Admin.replay`."""
        self._open_and_awake()
        pace = Pace(self._clock, rate)
        events = [kept.event for kept in self._store.kept(since, until, event_type, ids)]
        if dry_run:
            return len(events)
        for number, event in enumerate(events, 1):
            await pace.next()
            self._open_and_awake()
            self._store.put(Delivery(event, 1, "replay", None if organs is None else tuple(organs)))
            if on_progress is not None:
                on_progress(number)
        self._open_and_awake()
        return len(events)

    async def pending(self) -> AsyncIterator[PendingDelivery]:
        """See `Admin.pending`."""
        now = self._clock.monotonic()
        for delivery in list(self._store.pending.values()):
            yield PendingDelivery(
                event=delivery.event,
                attempt=delivery.attempt,
                organs=delivery.organs,
                consumer="memory",
                idle=now - self._store.pulled_at(delivery),
            )

    async def scheduled(self) -> AsyncIterator[ScheduledDelivery]:
        """See `Admin.scheduled`."""
        now, moment = self._clock.monotonic(), self._clock.now()
        for due, _, waiting in sorted(self._store.scheduled, key=lambda one: one[:2]):
            delivery = Delivery(waiting) if isinstance(waiting, Event) else waiting
            yield ScheduledDelivery(
                event=delivery.event,
                attempt=delivery.attempt,
                organs=delivery.organs,
                due=moment + timedelta(seconds=due - now),
            )

    async def consumers(self) -> Sequence[Consumer]:
        """See `Admin.consumers`. The process is the only one; of two Spines in it, the one that spoke last is heard."""
        store = self._store
        if not store.was_pulled:
            return ()
        return (Consumer(name="memory", pending=len(store.pending), idle=0.0, about=store.about),)

    async def trim(self, *, max_length: int | None = None, before: datetime | None = None) -> int:
        """See `Admin.trim`."""
        check_count("max_length", max_length, least=0, or_none=True)
        return self._store.trim(max_length, before)


def _redriven(letter: DeadLetter, payload: Mapping[str, Any] | None, max_size: int) -> Delivery:
    """Make the delivery of a dead letter that goes again, its payload edited if there is a new one."""
    organs = None if letter.organ is None else (letter.organ,)
    return Delivery(redriven_event(letter, payload, max_size), 1, "redrive", organs)

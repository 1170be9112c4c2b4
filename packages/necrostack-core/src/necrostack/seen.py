"""What came before: the events that a run has handled, and the calls that a backend has answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from uuid import UUID

from necrostack.clock import Clock

CAPACITY = 100_000
"""How many ids are remembered; the oldest are forgotten first. About 15 MB when full."""

REPEAT_WINDOW = 120.0
"""Seconds in which the identical `enqueue` call is taken for a repetition. NATS JetStream has the same window."""

MAX_CALLS = 1_000
"""How many `enqueue` calls are remembered; the oldest are forgotten first. Without a bound, a producer that makes
100 000 a second would have twelve million remembered. A call that is repeated because it failed is among the newest."""


class SeenIds:
    """Remembers which ids are in work and which were handled and settled."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._in_work: dict[UUID, asyncio.Event] = {}
        self._handled: dict[UUID, None] = {}

    def in_work(self, event_id: UUID) -> asyncio.Event | None:
        """Return what is set when the event in work under this id is settled; None when there is none."""
        return self._in_work.get(event_id)

    def begin(self, event_id: UUID) -> bool:
        """Take an id into work; False when it was handled before."""
        if event_id in self._handled:
            return False
        self._in_work[event_id] = asyncio.Event()
        return True

    def end(self, event_id: UUID, *, accepted: bool) -> None:
        """Mark an id as handled, if its settlement was accepted."""
        settled = self._in_work.pop(event_id, None)
        if settled is None:
            return
        settled.set()
        if accepted:
            self._handled[event_id] = None
            if len(self._handled) > self._capacity:
                del self._handled[next(iter(self._handled))]


class RecentCalls:
    """Remembers the calls to `enqueue` that were kept within the window.

    A call is known by its first event's id, which is there at once, and by a hash of all its content, which takes
    writing its payloads.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Until when each is remembered, with its first event, oldest first; and contents by first event, oldest first.
        self._calls: deque[tuple[float, int]] = deque()
        self._contents: dict[int, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def beginning_with(self, first: int) -> Collection[int]:
        """Return the contents of the calls whose first event had this id."""
        now = self._clock.monotonic()
        while self._calls and self._calls[0][0] <= now:
            self._forget_oldest()
        return self._contents.get(first, ())

    def add(self, first: int, content: int) -> None:
        """Remember a call that is no repetition."""
        if len(self._calls) >= MAX_CALLS:
            self._forget_oldest()
        self._calls.append((self._clock.monotonic() + REPEAT_WINDOW, first))
        self._contents[first] = (*self._contents.get(first, ()), content)

    def _forget_oldest(self) -> None:
        _, first = self._calls.popleft()
        if newer := self._contents.pop(first)[1:]:
            self._contents[first] = newer

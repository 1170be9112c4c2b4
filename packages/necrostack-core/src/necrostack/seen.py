"""The ids of the events that a run has handled, to tell a duplicate."""

from __future__ import annotations

import asyncio
from uuid import UUID

CAPACITY = 100_000
"""How many ids are remembered; the oldest are forgotten first. About 15 MB when full."""


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

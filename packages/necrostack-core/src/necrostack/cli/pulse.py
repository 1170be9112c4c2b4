"""Whether an event loop turns, as another thread sees it."""

from __future__ import annotations

import asyncio
import time

BEAT = 0.25
"""Seconds between two beats, at the most."""


class Pulse:
    """Beats while the event loop turns.

    Attributes:
        limit: Seconds without a beat after which the loop is held up.
    """

    def __init__(self, limit: float) -> None:
        """Make it; `begin` lets it beat."""
        self.limit = limit
        self._beat = min(BEAT, limit / 4)
        self._last = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pause(self) -> float:
        """Seconds for which the loop has not turned, as well as that is known; 0 while it does."""
        late = time.monotonic() - self._last - self._beat
        return late if late > self._beat else 0.0

    @property
    def is_missed(self) -> bool:
        """Whether it has been still for too long."""
        return self.pause > self.limit

    def begin(self) -> None:
        """Beat in the running event loop."""
        self._last = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(self._beat, self.begin)

    def end(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

"""Where time comes from, so that tests can bring their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class TimerHandle(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not make the call. Harmless when it was made already."""


class Clock(Protocol):
    """Tells the time, and calls back when some of it has passed."""

    def now(self) -> datetime:
        """Return the wall-clock time: aware, UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary start."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call `callback` on the running event loop in `delay` seconds."""


class SystemClock:
    """The computer's clock and the running event loop's timers."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """See `Clock.call_later`."""
        return asyncio.get_running_loop().call_later(delay, callback)


SYSTEM_CLOCK = SystemClock()


async def sleep(clock: Clock, delay: float) -> None:
    """Wait `delay` seconds of a clock's time."""
    due = asyncio.Event()
    timer = clock.call_later(delay, due.set)
    try:
        await due.wait()
    finally:
        timer.cancel()

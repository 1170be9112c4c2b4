"""Where time comes from, so that tests can bring their own."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from necrostack.errors import ConfigurationError

_CATCH_UP = 0.1
"""Seconds of steps that are caught up with when something held them up: more would be a burst."""


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

    # Without a frame of its own: it is asked several times for each event.
    monotonic = staticmethod(time.monotonic)

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


class Pace:
    """Spreads steps over time: so many a second at the most, however long each takes.

    >>> asyncio.run(Pace(SYSTEM_CLOCK, rate=None).next())
    """

    def __init__(self, clock: Clock, rate: float | None) -> None:
        """Set a pace.

        Args:
            clock: Where time comes from.
            rate: How many steps a second; None for any number.

        Raises:
            ConfigurationError: The rate is no number over 0.
        """
        if rate is not None and not 0 < rate < math.inf:
            msg = f"rate={rate!r} must be a number of events a second, over 0"
            raise ConfigurationError(msg)
        self._clock = clock
        self._interval = 0.0 if rate is None else 1 / rate
        self._due: float | None = None

    async def next(self) -> None:
        """Wait until the next step may be made."""
        if not self._interval:
            return
        now = self._clock.monotonic()
        self._due = now if self._due is None else max(self._due + self._interval, now - _CATCH_UP)
        if self._due > now:
            await sleep(self._clock, self._due - now)

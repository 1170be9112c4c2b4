"""Waiting out a backend that is out of reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from necrostack.clock import Clock, sleep
from necrostack.errors import BackendUnavailable
from necrostack.log import logger
from necrostack.retry import RetryPolicy

T = TypeVar("T")

TROUBLE = (BackendUnavailable, OSError)
"""What is waited out. A backend of somebody else's may let the connection's own error through: an OSError."""

_BACKOFF = RetryPolicy(max_attempts=2**31, base_delay=0.1, max_delay=5.0)


class Outage:
    """What is known of a backend's outage, shared by all who wait for it: each outage is logged once.

    It begins with the first call that fails, and ends when one succeeds and no other is still waited for.

    Attributes:
        error: The last thing that went wrong; None when nothing is.
    """

    def __init__(self, clock: Clock) -> None:
        self.error: Exception | None = None
        self._clock = clock
        self._since = 0.0
        self._waited_for = 0

    @property
    def length(self) -> float:
        """Seconds since it began; 0 without one."""
        return 0.0 if self.error is None else self._clock.monotonic() - self._since

    def begin(self, error: Exception) -> None:
        """A call failed, and is waited for from now on."""
        if self.error is None:
            self._since = self._clock.monotonic()
            logger.warning("backend_unavailable", extra={"error": f"{type(error).__name__}: {error}"})
        self.error = error
        self._waited_for += 1

    def end(self, *, is_back: bool) -> None:
        """A call is not waited for any more; `is_back` says whether the backend answered it."""
        self._waited_for -= 1
        if is_back:
            self.answered()

    def answered(self) -> None:
        """A call succeeded."""
        if self.error is not None and not self._waited_for:
            logger.warning("backend_back", extra={"outage": round(self.length, 3)})
            self.error = None


class Patience:
    """Tries again, with capped and jittered backoff, for as long as an outage may last."""

    def __init__(self, outage: Outage, max_outage: float | None, clock: Clock) -> None:
        """Make one for a run.

        Args:
            outage: The backend's.
            max_outage: Seconds after which an outage ends the run; None for never.
            clock: Where time comes from.
        """
        self._outage = outage
        self._max_outage = max_outage
        self._clock = clock

    async def through(self, operation: Callable[[], Awaitable[T]], stopped: asyncio.Event | None = None) -> T:
        """Do something that may be done again, until the backend answers.

        Args:
            operation: What to do.
            stopped: Ends the waiting when it is set.

        Raises:
            BackendUnavailable: The outage lasted longer than `max_outage`, or `stopped` was set in it.
        """
        try:
            result = await operation()
        except TROUBLE as error:
            self._outage.begin(error)
        else:
            if self._outage.error is not None:
                self._outage.answered()
            return result
        is_back, attempt = False, 0
        try:
            while True:
                attempt += 1
                await self._wait(_BACKOFF.delay_after(attempt) or 0.0, stopped)
                try:
                    result = await operation()
                except TROUBLE as error:
                    self._outage.error = error
                else:
                    is_back = True
                    return result
        except TROUBLE:
            raise
        except Exception:
            is_back = True  # with another answer than was hoped for
            raise
        finally:
            self._outage.end(is_back=is_back)

    async def _wait(self, delay: float, stopped: asyncio.Event | None) -> None:
        """Wait until the next attempt, or give up."""
        error = self._outage.error
        length = self._outage.length
        if self._max_outage is not None:
            if length >= self._max_outage:
                longest = f"longer than max_outage={self._max_outage:g} allows"
                msg = f"the backend was out of reach for {length:.1f} s, {longest}: {error}"
                raise BackendUnavailable(msg) from error
            delay = min(delay, self._max_outage - length)
        waits = [asyncio.ensure_future(sleep(self._clock, delay))]
        if stopped is not None:
            waits.append(asyncio.ensure_future(_set(stopped)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if stopped is not None and stopped.is_set():
            msg = f"the backend was out of reach for {self._outage.length:.1f} s when this was stopped: {error}"
            raise BackendUnavailable(msg) from error


async def _set(event: asyncio.Event) -> None:
    await event.wait()

"""Waiting out a backend that is out of reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from necrostack.clock import Clock, sleep
from necrostack.errors import BackendUnavailable
from necrostack.log import logger
from necrostack.retry import RetryPolicy

T = TypeVar("T")

# A backend of somebody else's may let the connection's own error through; timeouts and lost connections are OSErrors.
_TROUBLE = (BackendUnavailable, OSError)
_BACKOFF = RetryPolicy(max_attempts=2**31, base_delay=0.1, max_delay=5.0)


class Patience:
    """Tries again, with capped and jittered backoff, for as long as an outage may last. Logs each outage once."""

    def __init__(self, max_outage: float | None, clock: Clock) -> None:
        """Make one for a run.

        Args:
            max_outage: Seconds after which an outage ends the run; None for never.
            clock: Where time comes from.
        """
        self._max_outage = max_outage
        self._clock = clock
        self._since: float | None = None

    async def through(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Do something that may be done again, until the backend answers.

        Raises:
            BackendUnavailable: The outage lasted longer than `max_outage`.
        """
        attempt = 0
        while True:
            try:
                result = await operation()
            except _TROUBLE as error:
                self._note(error)
                attempt += 1
                await sleep(self._clock, _BACKOFF.delay_after(attempt) or 0.0)
            else:
                if self._since is not None:
                    logger.warning("backend_back", extra={"outage": self._clock.monotonic() - self._since})
                    self._since = None
                return result

    def _note(self, error: Exception) -> None:
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
            logger.warning("backend_unavailable", extra={"error": f"{type(error).__name__}: {error}"})
        if self._max_outage is not None and now - self._since >= self._max_outage:
            raise error

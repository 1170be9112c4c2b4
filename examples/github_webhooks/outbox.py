"""The way out to people: a burst of messages, then one at a time, so that no phone rings all night."""

import time
from collections.abc import Callable, Hashable


class OutboxBusyError(Exception):
    """The burst is used up; come back after `after` seconds, your place is kept."""

    def __init__(self, after: float) -> None:
        super().__init__(f"the burst is used up; the place kept for this message is {after:.3f} s away")
        self.after = after


class Outbox:
    """Sends `burst` messages per `window` at once, and the others by appointment, `interval` apart.

    Args:
        burst: How many messages go out at once in one window.
        window: Seconds until a new burst is granted.
        interval: Seconds between two appointments.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        *,
        burst: int = 3,
        window: float = 3600.0,
        interval: float = 0.02,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sent: dict[Hashable, str] = {}
        self._burst, self._window, self._interval, self._clock = burst, window, interval, clock
        self._granted = 0
        self._window_ends = 0.0
        self._last_place = 0.0
        self._places: dict[Hashable, float] = {}

    async def send(self, key: Hashable, message: str) -> None:
        """Send a message once; a key that was sent before is not sent again.

        Raises:
            OutboxBusyError: Not now. It names the seconds until the place that is kept for this key.
        """
        if key in self.sent:
            return
        now = self._clock()
        place = self._places.get(key)
        if place is None and not self._has_burst_left(now):
            place = self._places[key] = self._last_place = max(now, self._last_place) + self._interval
        if place is not None and now < place:
            raise OutboxBusyError(place - now)
        self._places.pop(key, None)
        self.sent[key] = message

    def _has_burst_left(self, now: float) -> bool:
        if now >= self._window_ends:
            self._window_ends, self._granted = now + self._window, 0
        self._granted += 1
        return self._granted <= self._burst

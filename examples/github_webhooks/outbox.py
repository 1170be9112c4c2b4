"""The way out to people: a burst of messages, then one at a time, so that no phone rings all night."""

import sqlite3
import time
from collections.abc import Callable, Hashable

from examples.database import Database
from examples.github_webhooks.database import database_in_memory


class OutboxBusyError(Exception):
    """The burst is used up; come back after `after` seconds, your place is kept."""

    def __init__(self, after: float) -> None:
        super().__init__(f"the burst is used up; the place kept for this message is {after:.3f} s away")
        self.after = after


class Outbox:
    """Sends `burst` messages per `window` at once, and the others by appointment, `interval` apart.

    Args:
        database: Where its bookkeeping is, so that several workers keep one limit; in memory unless given.
        burst: How many messages go out at once in one window.
        window: Seconds until a new burst is granted.
        interval: Seconds between two appointments.
        clock: Seconds on a clock that never goes back, and is the same in all processes of this machine.
    """

    def __init__(
        self,
        database: Database | None = None,
        *,
        burst: int = 3,
        window: float = 3600.0,
        interval: float = 0.02,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database or database_in_memory()
        self._burst, self._window, self._interval, self._clock = burst, window, interval, clock

    @property
    def sent(self) -> dict[str, str]:
        """What went out, oldest first."""
        with self._database.transaction() as rows:
            return dict(rows.execute("SELECT key, message FROM sent ORDER BY rowid"))

    async def send(self, key: Hashable, message: str) -> None:
        """Send a message once; a key that was sent before is not sent again.

        Raises:
            OutboxBusyError: Not now. It names the seconds until the place that is kept for this key.
        """
        now, name = self._clock(), str(key)
        with self._database.transaction() as rows:
            if rows.execute("SELECT 1 FROM sent WHERE key = ?", (name,)).fetchone():
                return
            place = self._place(rows, name, now)
            if place <= now:
                rows.execute("INSERT INTO sent VALUES (?, ?)", (name, message))
        if place > now:
            raise OutboxBusyError(place - now)

    def _place(self, rows: sqlite3.Connection, name: str, now: float) -> float:
        """Find out when a message may go out."""
        if kept := rows.execute("SELECT moment FROM places WHERE key = ?", (name,)).fetchone():
            return float(kept[0])
        if self._has_burst_left(rows, now):
            return now
        (last,) = rows.execute("SELECT max(moment) FROM places").fetchone()
        place = max(now, last or 0.0) + self._interval
        rows.execute("INSERT INTO places VALUES (?, ?)", (name, place))
        return place

    def _has_burst_left(self, rows: sqlite3.Connection, now: float) -> bool:
        window_ends, granted = rows.execute("SELECT window_ends, granted FROM bursts").fetchone() or (now, 0)
        if now >= window_ends:
            window_ends, granted = now + self._window, 0
        rows.execute("DELETE FROM bursts")
        rows.execute("INSERT INTO bursts VALUES (?, ?)", (window_ends, granted + 1))
        return bool(granted < self._burst)

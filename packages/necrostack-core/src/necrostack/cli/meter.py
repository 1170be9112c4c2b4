"""How far something is that lasts: where a person looks, and, now and then, where nobody does."""

from __future__ import annotations

import time

from necrostack.cli.terminal import Terminal
from necrostack.cli.times import span


class Meter:
    """Shows how many of something are done, how fast, and how long it will take."""

    def __init__(self, terminal: Terminal, done: str, total: int | None = None) -> None:
        """Start at none.

        Args:
            terminal: Where to show it.
            done: What is counted, such as `redriven`.
            total: How many there are; None when nobody knows.
        """
        self._terminal = terminal
        self._done = done
        self._total = total
        self._started = self._last = time.monotonic()

    def at(self, count: int, part: float | None = None) -> None:
        """Show that so many are done, if that was not shown a moment ago.

        Args:
            count: How many.
            part: How much of it all that is, from 0 to 1, where that is known otherwise than by the total.
        """
        now = time.monotonic()
        if now - self._last < self._terminal.refresh:
            return
        self._last = now
        of = ""
        if self._total:
            of, part = f" of {self._total}", min(count / self._total, 1.0)
        rate = f"{count / (now - self._started):.0f}/s"
        self._terminal.progress(f"{count}{of} {self._done}, {rate}{left(now - self._started, part)}", part)


def left(seconds: float, part: float | None) -> str:
    """Say how long the rest will take, when so much was done in so many seconds; nothing when nobody knows.

    >>> left(30, 0.25), left(30, None)
    (', 1m30s left', '')
    """
    return f", {span(seconds * (1 - part) / part)} left" if part else ""

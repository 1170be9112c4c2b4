"""How far something is that lasts, where a person looks."""

from __future__ import annotations

import time

from necrostack.cli.terminal import Terminal
from necrostack.cli.times import span

_REFRESH = 0.2
"""Seconds between two looks at how far it is."""


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

    def at(self, count: int) -> None:
        """Show that so many are done, if that was not shown a moment ago."""
        now = time.monotonic()
        if not self._terminal.is_watched or now - self._last < _REFRESH:
            return
        self._last = now
        rate = count / (now - self._started)
        if self._total is None:
            self._terminal.status(f"{count} {self._done}, {rate:.0f}/s")
            return
        left = f", {span((self._total - count) / rate)} left" if rate else ""
        self._terminal.status(f"{count} of {self._total} {self._done}, {rate:.0f}/s{left}", count / self._total)

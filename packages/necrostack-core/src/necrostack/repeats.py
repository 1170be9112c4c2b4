"""Errors that repeat in the log: the first ones of each kind are written, the rest is counted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from necrostack.errors import check_count, check_seconds

MAX_KINDS: Final = 1000
"""Kinds of errors that are counted at once, at the most: the oldest one's window ends before its time."""

Kind = tuple[object, object, object]
"""The name of a line, the Organ, and the class of the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How much is written of an error that repeats: lines of one name, Organ and class of error.

    Attributes:
        first: How many lines of each kind are written in a window.
        window: Seconds, from the first one on, after which they are written again.

    >>> Sampling(first=10, window=60.0)
    Sampling(first=10, window=60.0)
    """

    first: int = 10
    window: float = 60.0

    def __post_init__(self) -> None:
        check_count("first", self.first, least=1)
        check_seconds("window", self.window)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many lines of one kind were not written.

    Attributes:
        of: Their name.
        organ: The Organ.
        error_type: The class of the error.
        count: How many they were.
        seconds: In how long.
    """

    of: object
    organ: object
    error_type: object
    count: int
    seconds: float


class _Window:
    """One kind of error: since when, how many lines were seen, and what ends it when nothing more comes."""

    __slots__ = ("began", "seen", "timer")

    def __init__(self, began: float) -> None:
        self.began = began
        self.seen = 0
        self.timer: asyncio.TimerHandle | None = None


class Repeats:
    """Says of each line whether it is written, and in the end how many were not.

    Attributes:
        sampling: How much is written.
    """

    def __init__(
        self,
        sampling: Sampling,
        tell: Callable[[LeftOut], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count nothing yet.

        Args:
            sampling: How much is written.
            tell: Called with what was left out of a window, when that is over.
            now: Where time comes from, in seconds.
        """
        self.sampling = sampling
        self._tell = tell
        self._now = now
        self._windows: dict[Kind, _Window] = {}
        self._lock = threading.Lock()

    def admit(self, kind: Kind) -> bool:
        """Whether one more line of a kind is written. It is counted in any case."""
        ended: list[tuple[Kind, _Window]] = []
        with self._lock:
            window, now = self._windows.get(kind), self._now()
            if window is None or now >= window.began + self.sampling.window:
                ended += self._take(kind)
                if len(self._windows) >= MAX_KINDS:
                    ended += self._take(next(iter(self._windows)))
                window = self._windows[kind] = _Window(now)
            window.seen += 1
            is_written = window.seen <= self.sampling.first
            if not is_written and window.timer is None:
                self._end_in_time(kind, window, now)
        self._tell_of(ended)
        return is_written

    def end(self) -> None:
        """End all windows: the run is over."""
        with self._lock:
            ended = [found for kind in [*self._windows] for found in self._take(kind)]
        self._tell_of(ended)

    def _end_in_time(self, kind: Kind, window: _Window, now: float) -> None:
        """Have a window end by itself. Where no event loop runs, the next line of its kind ends it, or `end`."""
        with suppress(RuntimeError):
            left = window.began + self.sampling.window - now
            window.timer = asyncio.get_running_loop().call_later(left, self._time_is_up, kind, window)

    def _time_is_up(self, kind: Kind, window: _Window) -> None:
        with self._lock:
            ended = self._take(kind) if self._windows.get(kind) is window else []
        self._tell_of(ended)

    def _take(self, kind: Kind) -> list[tuple[Kind, _Window]]:
        window = self._windows.pop(kind, None)
        if window is None:
            return []
        if window.timer is not None:
            window.timer.cancel()
        return [(kind, window)]

    def _tell_of(self, ended: list[tuple[Kind, _Window]]) -> None:
        # Not under the lock: whatever writes the log is foreign code.
        for kind, window in ended:
            count = window.seen - self.sampling.first
            if count > 0:
                self._tell(LeftOut(*kind, count, round(self._now() - window.began, 3)))

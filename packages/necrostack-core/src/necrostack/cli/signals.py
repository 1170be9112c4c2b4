"""SIGINT, SIGTERM and a terminal that closes: the first one drains, the second one cancels."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""What comes when the terminal is closed; Windows has none."""


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and a terminal that closes end a command as Ctrl-C does: it cleans up, and says how far it came.

    What was ignored before, as by nohup(1), stays so.
    """
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in filter(None, (signal.SIGTERM, HANGUP)):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Signals:
    """Listens to SIGINT and SIGTERM, and to a terminal that closes, for as long as it is entered.

    Attributes:
        first: The signal that came first; None without one.
        is_second: Whether a second one came.
    """

    def __init__(
        self, drain: Callable[[], object], cancel: Callable[[], object], *, is_loop_free: bool = False
    ) -> None:
        """Say what to do.

        Args:
            drain: Called in the event loop at the first signal.
            cancel: Called in the event loop at the second, and at each further one.
            is_loop_free: Whether nothing ever holds the loop, so that nothing needs to be interrupted.
        """
        self._is_loop_free = is_loop_free
        self.first: signal.Signals | None = None
        self.is_second = False
        self._drain = drain
        self._cancel = cancel
        self._loop = asyncio.get_running_loop()
        self._before: dict[signal.Signals, Any] = {}
        self._numbers = itertools.count(1)
        self._answered = 0

    def __enter__(self) -> Self:
        # In the main thread only, says Python. Not by loop.add_signal_handler: what that calls waits for the
        # loop, which an Organ that never returns would hold for ever.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._came)
            if HANGUP is not None and signal.getsignal(HANGUP) is signal.SIG_DFL:
                self._before[HANGUP] = signal.signal(HANGUP, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, signum: int, _: FrameType | None) -> None:
        if signum == HANGUP == self.first:
            return  # it comes more than once, from the shell and from the system
        # Taken in one step: another signal may come between any two others, also in here.
        number = next(self._numbers)
        if number > self._answered + 1 and not self._is_loop_free:
            # The loop has not had its turn since the last one: a handler that does not await holds it.
            raise KeyboardInterrupt
        if number == 1:
            self.first = signal.Signals(signum)
            self._loop.call_soon_threadsafe(self._answer, self._drain)
        else:
            self.is_second = True
            self._loop.call_soon_threadsafe(self._answer, self._cancel)

    def _answer(self, action: Callable[[], object]) -> None:
        self._answered += 1
        action()

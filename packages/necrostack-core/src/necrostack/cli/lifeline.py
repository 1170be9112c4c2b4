"""The line to the process that started this one: orders come down it, and its end says that nobody is there now."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable

GRACE = 10.0
"""Seconds beyond `drain_timeout` that a process gets to cancel what still runs, to commit, and to call its hooks."""

SUPERVISOR = "NECROSTACK_SUPERVISOR"
WATCHER = "NECROSTACK_WATCHER"
"""Environment variables: the file descriptor of the line to a supervisor, and to a watcher."""


class Lifeline:
    """The lower end of the line. At its end this process drains, and ends in any case after a while.

    Lines that come down are orders; they wait until somebody listens.

    Attributes:
        patience: Seconds that the drain may take.
    """

    def __init__(self, descriptor: int) -> None:
        """Hold the line, in a thread of its own: the event loop may be busy with a handler that never ends."""
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._waiting: list[str] = []
        self._listener: Callable[[str], object] | None = None
        self.patience = 2 * GRACE
        threading.Thread(target=self._hold, name="necrostack-lifeline", daemon=True).start()

    @classmethod
    def to(cls, starter: str) -> Lifeline | None:
        """Take hold of the line to who started this process, `SUPERVISOR` or `WATCHER`; None when nobody did."""
        # Taken out: what this process starts has no part in it.
        descriptor = os.environ.pop(starter, None)
        return None if descriptor is None else cls(int(descriptor))

    def listen(self, listener: Callable[[str], object]) -> None:
        """Have `listener` called with each order, in the line's own thread, beginning with those that came already."""
        with self._lock:
            self._listener = listener
            for order in self._waiting:
                listener(order)

    def tell(self, line: bytes, *, may_be_lost: bool = False) -> None:
        """Write a line upwards, from any thread. When nobody is there any more it is lost.

        Args:
            line: It, without its end.
            may_be_lost: Whether it is left out rather than waited for. Only for short ones, which go whole or not.
        """
        # Two that are written at once would be mixed up.
        if self._telling.acquire(blocking=not may_be_lost):
            try:
                self._socket.sendall(line + b"\n", socket.MSG_DONTWAIT if may_be_lost else 0)
            except OSError:
                return
            finally:
                self._telling.release()

    def _hold(self) -> None:
        # A signal that the system gives to this thread does not wake the main one, where Python answers it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            with self._socket, self._socket.makefile("r") as lines:
                for line in lines:
                    self._hear(line.strip())
        except OSError:
            pass  # cut off: as if it had ended
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self.patience)
        os.kill(os.getpid(), signal.SIGKILL)

    def _hear(self, order: str) -> None:
        with self._lock:
            if self._listener is None:
                self._waiting.append(order)
            else:
                self._listener(order)

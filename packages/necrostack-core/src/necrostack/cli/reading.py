"""Reading in a thread, so that the event loop lives while a feed makes it wait."""

from __future__ import annotations

import asyncio
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class BackgroundReader(Generic[T]):
    """Asks an iterator that blocks for its items, one at a time, in a thread of its own.

    Nothing is read ahead. The thread ends at `close()`. It is a daemon: one that waits for an endless stdin
    does not keep the process alive.
    """

    def __init__(self, items: Iterator[T]) -> None:
        """Begin to wait for questions."""
        self._items = items
        self._questions: queue.SimpleQueue[asyncio.Future[T | None] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, name="necrostack-feed", daemon=True).start()

    async def next(self) -> T | None:
        """Return the next item; None at the end.

        Raises:
            Exception: Whatever the iterator raised.
        """
        answer: asyncio.Future[T | None] = self._loop.create_future()
        self._questions.put(answer)
        return await answer

    def close(self) -> None:
        """Let the thread end."""
        self._questions.put(None)

    def _work(self) -> None:
        if sys.platform != "win32":
            # A signal that the system gives to this thread does not wake the main one, where Python answers it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        while (answer := self._questions.get()) is not None:
            try:
                item = next(self._items, None)
            except Exception as error:  # noqa: BLE001 -- raised by whoever asked
                self._tell(answer, None, error)
            else:
                self._tell(answer, item, None)

    def _tell(self, answer: asyncio.Future[T | None], item: T | None, error: Exception | None) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            self._loop.call_soon_threadsafe(_resolve, answer, item, error)


def _resolve(answer: asyncio.Future[T | None], item: T | None, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(item)

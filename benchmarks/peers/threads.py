"""For systems whose handlers run in threads of their own."""

import asyncio
import time
from threading import Lock

from benchmarks.durable.progress import Progress


class Threads:
    """Lets handlers report to a `Progress` that belongs to an event loop in another thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()

    def handle(self, name: str) -> None:
        """See `Progress.handle`."""
        time.sleep(self._progress.pause)
        with self._lock:
            self._progress.count(name)
        if self._progress.done.is_set():
            self._loop.call_soon_threadsafe(bool)  # a loop that sleeps does not notice what other threads set

"""`python -m benchmarks.workers.worker MODULE URL PAUSE [CONCURRENCY]`: a worker that its parent watches.

It says READY, begins with the first byte of its stdin, writes the id of each order that it handled, and ends with
its stdin. Without a concurrency it has its adapter's own.
"""

import asyncio
import os
import sys

from benchmarks.durable.progress import Progress
from benchmarks.process import function

READY = "ready"


class _Told(Progress):
    """Tells the parent what is handled; the parent counts."""

    def __init__(self, pause: float) -> None:
        super().__init__(0, steps=1, on_first=lambda: None)
        self.pause = pause

    def count(self, name: str, step: int = 0) -> None:
        """See `Progress.count`."""
        os.write(1, f"{name}\n".encode())


async def _work(module: str, url: str, pause: float, *concurrency: int) -> None:
    progress = _Told(pause)
    asyncio.get_running_loop().add_reader(0, progress.done.set)
    await function(f"{module}:consume")(url, progress, *concurrency)


def main() -> None:
    """Work until stdin ends."""
    module, url, pause, *concurrency = sys.argv[1:]
    function(f"{module}:consume")  # imports what it needs
    os.write(1, f"{READY}\n".encode())
    os.read(0, 1)
    asyncio.run(_work(module, url, float(pause), *map(int, concurrency)))


if __name__ == "__main__":
    main()

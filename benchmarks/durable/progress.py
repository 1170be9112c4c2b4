"""What the handlers of a run report to: the counts, when the first one ran, and when none is left to run."""

import asyncio
import time
from collections.abc import Callable

from benchmarks.orders import order_id


class Progress:
    """Counts, for each step of a chain, how often the handler ran for each order.

    Attributes:
        n: How many orders there are.
        done: Set when every handler call was made.
        pause: Seconds that each handler waits, as if for somebody else's answer.
    """

    pause = 0.0

    def __init__(self, n: int, *, steps: int, on_first: Callable[[], None]) -> None:
        """Make one.

        Args:
            n: How many orders there are.
            steps: How many handlers each of them passes.
            on_first: Called when the first handler runs.
        """
        self.n = n
        self.done = asyncio.Event()
        self._goal = self._left = steps * n
        self._counts: list[dict[str, int]] = [{} for _ in range(steps)]
        self._on_first = on_first

    def count(self, name: str, step: int = 0) -> None:
        """Say that the handler of this step ran for this order."""
        if self._left == self._goal:
            self._on_first()
        counts = self._counts[step]
        counts[name] = counts.get(name, 0) + 1
        self._left -= 1
        if not self._left:
            self.done.set()

    async def handle(self, name: str, step: int = 0) -> None:
        """Do what a handler has to do."""
        if self.pause:
            await asyncio.sleep(self.pause)
        self.count(name, step)

    def is_exact(self) -> bool:
        """Whether each order, and no other, passed each step exactly once."""
        once = {order_id(number): 1 for number in range(self.n)}
        return all(counts == once for counts in self._counts)


class Arrivals(Progress):
    """Notes as well when each order arrived, by the machine's monotonic clock.

    Attributes:
        times: By order.
    """

    def __init__(self, n: int) -> None:
        super().__init__(n, steps=1, on_first=lambda: None)
        self.times: dict[str, float] = {}

    def count(self, name: str, step: int = 0) -> None:
        """See `Progress.count`."""
        self.times[name] = time.monotonic()
        super().count(name, step)

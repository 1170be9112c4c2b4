"""What the handlers of a run report to: the counts, when the first one ran, and when none is left to run."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from benchmarks.durable import BATCH
from benchmarks.orders import order_id, order_number
from benchmarks.process import rss


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
        cpu: Seconds of this process from the first to the last.
    """

    def __init__(self, n: int) -> None:
        super().__init__(n, steps=1, on_first=self._begin)
        self.times: dict[str, float] = {}
        self.cpu = 0.0

    def _begin(self) -> None:
        self.cpu = -time.process_time()

    def count(self, name: str, step: int = 0) -> None:
        """See `Progress.count`."""
        self.times[name] = time.monotonic()
        super().count(name, step)
        if not self._left:
            self.cpu += time.process_time()


@dataclass(frozen=True, slots=True)
class Reading:
    """Wall time, CPU time and bytes of memory of this process at one moment."""

    wall: float
    cpu: float
    rss: int

    @classmethod
    def now(cls) -> Self:
        """Read them."""
        return cls(time.perf_counter(), time.process_time(), rss())


class Marks(Progress):
    """Looks at the time and the memory after some of the handler calls and after all; grows by nothing in between.

    Attributes:
        first: What was read after the first hundredth of all calls.
        last: What was read after the last.
    """

    def __init__(self, n: int, *, steps: int, on_batch: Callable[[], object] = lambda: None) -> None:
        """Make one.

        Args:
            n: How many orders there are.
            steps: How many handlers each of them passes.
            on_batch: Called after each `BATCH` calls.
        """
        super().__init__(n, steps=steps, on_first=lambda: None)
        self.first = self.last = Reading.now()
        self.first_calls = max(steps * n // 100, 1)
        self._seen = [bytearray(n) for _ in range(steps)]
        self._on_batch = on_batch

    def count(self, name: str, step: int = 0) -> None:
        """See `Progress.count`."""
        self._seen[step][order_number(name)] += 1
        self._left -= 1
        calls = self._goal - self._left
        if calls == self.first_calls:
            self.first = Reading.now()
        if not calls % BATCH:
            self._on_batch()
        if not self._left:
            self.last = Reading.now()
            self.done.set()

    def is_exact(self) -> bool:
        """See `Progress.is_exact`."""
        return all(seen.count(1) == self.n for seen in self._seen)

    def figures(self) -> dict[str, float]:
        """Say what the memory was, and what a call between the two readings took."""
        calls = max(self._goal - self.first_calls, 1)
        return {
            "rss_mb": self.last.rss / 2**20,
            "first_rss_mb": self.first.rss / 2**20,
            "growth": 100 * (self.last.rss / self.first.rss - 1),
            "wall_us": (self.last.wall - self.first.wall) / calls * 1e6,
            "cpu_us": (self.last.cpu - self.first.cpu) / calls * 1e6,
        }

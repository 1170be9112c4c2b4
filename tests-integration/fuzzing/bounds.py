"""How much time and memory an input may take, however large it is.

Time is that of the thread on its processor, the least of several tries: another process that is busy does not count.
A line of a file has a price of its own, however short it is. Memory is what Python allocates at the most at one moment.

JSON's own price is high. A list takes two bytes of text and sixty-four of memory, so nested lists are thirty-two times
as large as their text before anybody looks at them. What is beside that is ours: at the most as much again.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic_core import from_json

from fuzzing.finding import expect
from fuzzing.targets import Target

MIB: Final = 2**20

SECONDS_PER_MIB: Final = 2.0
"""Of a thread's own time: three times what the dearest known input takes on the machine of the docs."""

SECONDS_PER_LINE: Final = 30e-6
"""Of a line of a file that is wrong: an error is made, and told."""

SECONDS_FOR_ANY: Final = 0.2
"""What a small input may take: imports, a garbage collection that was due."""

BYTES_PER_BYTE: Final = 25

BYTES_FOR_ANY: Final = 10 * MIB


@dataclass(frozen=True)
class Cost:
    """What an input took.

    Attributes:
        size: How many bytes it has, or holds when it is packed.
        seconds: For how long a processor worked on it.
        peak: How many bytes were allocated at the most.
        parser: How many of them a JSON parser alone would have taken.
    """

    size: int
    seconds: float
    peak: int
    parser: int

    @property
    def seconds_per_mib(self) -> float:
        """How long a mebibyte of such bytes takes."""
        return self.seconds / max(self.size, 1) * MIB

    @property
    def times_its_size(self) -> float:
        """How often it would have fitted into what it took."""
        return self.peak / max(self.size, 1)


def seconds_of(target: Target, data: bytes, tries: int = 3) -> float:
    """Measure the time of an input; not more often than it takes to see that it is little."""
    least = float("inf")
    for _ in range(tries):
        before = time.thread_time()
        target.measured(data)
        least = min(least, time.thread_time() - before)
        if least <= SECONDS_FOR_ANY / 2:
            break
    return least


def cost_of(target: Target, data: bytes) -> Cost:
    """Measure time and memory of an input."""
    target.measured(b"")  # what is done once, such as importing, is not its own
    held = target.unpacked(data)
    parser = _peak(_parse, max(held.split(b"\n"), key=len))
    return Cost(len(held), seconds_of(target, data), _peak(target.measured, data), parser)


def check_seconds(target: Target, data: bytes) -> None:
    """Find an input that takes too long."""
    seconds, held = seconds_of(target, data), target.unpacked(data)
    limit = SECONDS_FOR_ANY + SECONDS_PER_MIB * len(held) / MIB + SECONDS_PER_LINE * held.count(b"\n")
    expect(seconds <= limit, f"{len(held)} bytes take {seconds:.2f} s, more than {limit:.2f}")


def check_cost(target: Target, data: bytes) -> Cost:
    """Find an input that takes too long, or too much memory; return what it took."""
    check_seconds(target, data)
    cost = cost_of(target, data)
    limit = max(BYTES_PER_BYTE * cost.size, 2 * cost.parser) + BYTES_FOR_ANY
    expect(cost.peak <= limit, f"{cost.size} bytes take {cost.peak / MIB:.1f} MiB, more than {limit / MIB:.1f}")
    return cost


def _peak(work: Callable[[bytes], object], data: bytes) -> int:
    tracemalloc.start()
    try:
        work(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _parse(data: bytes) -> object:
    try:
        return from_json(data)
    except ValueError:
        return None


def grown(data: bytes, start: int, end: int, size: int) -> bytes:
    """Repeat a piece of an input until it has about so many bytes: what costs more than its share shows."""
    piece = data[start:end]
    times = max(1, (size - len(data)) // max(len(piece), 1))
    return data[:start] + piece * times + data[end:]

"""W2, W3 and W4: events that a Redis server keeps, handled by one worker."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from benchmarks.orders import Order

Emit = Callable[[Order], Awaitable[None]]
"""States one event about an order, and returns when it is kept."""

EmitMany = Callable[[Sequence[Order]], Awaitable[None]]
"""States one event about each order, and returns when all are kept."""

CONCURRENCY: Final = 100
"""How many handlers run at once, where they do."""

TIMEOUT: Final = 30.0
"""Seconds that each of those has."""

BATCH: Final = 100
"""How many orders a producer emits together at most, where more than one is due."""

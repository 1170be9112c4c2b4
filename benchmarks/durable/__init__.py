"""W2, W3 and W4: events that a Redis server keeps, handled by one worker."""

from collections.abc import Awaitable, Callable

from benchmarks.orders import Order

Emit = Callable[[Order], Awaitable[None]]
"""States one event about an order, and returns when it is kept."""

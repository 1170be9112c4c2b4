"""W3f: chains through Redis that widen, and that come together again.

* `fan_out(url, progress)`: each order's handler emits `PARTS` events, and each of those is handled: steps 1 to PARTS.
* `join(url, progress)`: each order's handler emits two events; who takes both keeps the first of an order, and with the
  second emits one, which is handled: steps 1, 2 and 3.
"""

from typing import Final

from pydantic import BaseModel

from benchmarks.orders import Order

PARTS: Final = 10
"""How many events an order widens to."""


class Part(BaseModel, frozen=True):
    """One of those, which carries its whole order, as a snapshot."""

    number: int
    order: Order


class Join:
    """Remembers of which orders one half has come."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()

    def completes(self, name: str) -> bool:
        """Whether this half is the second of its order."""
        if name in self._waiting:
            self._waiting.remove(name)
            return True
        self._waiting.add(name)
        return False

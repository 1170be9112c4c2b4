"""Who counts: reads the stream itself, entry by entry, and knows nothing of the code that is under test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from soak.load import STAGES

AT_ONCE = 2000
"""How many entries one call reads."""


@dataclass(frozen=True)
class Count:
    """What became of the orders.

    Attributes:
        orders: How many were stated.
        events: How many events they must have led to, themselves included.
        lost: How many of these are nowhere.
        doubled: How many are there once too often.
        strange: How many are there that nobody should have emitted.
    """

    orders: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    strange: int = 0


class Witness:
    """Counts how often each order has come to each stage. What is forgotten it has seen before.

    Attributes:
        entries: How many entries it has read.
    """

    def __init__(self, redis: Redis, stream: str) -> None:
        self.entries = 0
        self._redis = redis
        self._stream = stream
        self._last = "0-0"
        # A byte for each order: an hour has a million of them.
        self._seen = {stage: bytearray() for stage in STAGES}
        self._strange = 0

    async def read(self) -> int:
        """Read what is new; return how many entries that was, 0 at the end of the stream."""
        found: Any = await self._redis.xrange(self._stream, f"({self._last}", "+", count=AT_ONCE)
        for entry, fields in found:
            self.see(fields["type"], json.loads(fields["payload"])["n"])
            self._last = entry
        self.entries += len(found)
        return len(found)

    def see(self, stage: str, order: int) -> None:
        """Count an event."""
        if stage not in self._seen:
            self._strange += 1
            return
        seen = self._seen[stage]
        if order >= len(seen):
            seen.extend(bytes(order + 1 - len(seen)))
        seen[order] = min(seen[order] + 1, 255)

    def count(self, orders: int) -> Count:
        """Say what became of the orders, of which so many were stated, when all is handled."""
        lost = sum(orders - len(seen[:orders]) + seen[:orders].count(0) for seen in self._seen.values())
        doubled = sum(
            sum(seen[:orders]) - (len(seen[:orders]) - seen[:orders].count(0)) for seen in self._seen.values()
        )
        strange = self._strange + sum(sum(seen[orders:]) for seen in self._seen.values())
        return Count(orders, orders * len(STAGES), lost, doubled, strange)

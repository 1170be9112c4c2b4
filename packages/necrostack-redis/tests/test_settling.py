"""Settling: one call at a time, so that the server remembers what a call ended whose reply was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from necrostack import Delivery, Event, Settlement
from necrostack_redis.config import RedisSettings
from necrostack_redis.keys import Keys
from necrostack_redis.link import Link
from necrostack_redis.reader import EVENTS, Receipt
from necrostack_redis.scripts import Script
from necrostack_redis.settling import Settler
from necrostack_redis.wire import FormatError


class CountingLink:
    """Counts how many calls are under way at once; each takes a few turns of the event loop."""

    def __init__(self) -> None:
        self.calls = self.most = 0
        self._under_way = 0

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> list[int]:
        self.calls += 1
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        for _ in range(5):
            await asyncio.sleep(0)
        self._under_way -= 1
        return [1] * int(args[2])


async def test_what_cannot_be_read_is_buried_in_turn_with_what_is_settled() -> None:
    async def join() -> None:
        raise AssertionError

    link = CountingLink()
    receipts = [Receipt(EVENTS, b"%d-0" % number, False, 0.0) for number in range(3)]
    delivery = Delivery(Event(event_type="NUMBER", payload={}), receipt=receipts[0])
    misfits = [(receipt, [b"v", b"2"], FormatError("another version")) for receipt in receipts[1:]]
    settler = Settler(cast(Link, link), Keys("shop", "default"), RedisSettings(), "worker", set(receipts), set(), join)

    await asyncio.gather(settler.bury(misfits), settler.settle([Settlement(delivery)]))

    assert (link.calls, link.most) == (3, 1)

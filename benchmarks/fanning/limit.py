"""The limit: 100 are read at a time, and one script keeps what each emitted where its acknowledgement was the first."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis.asyncio

from benchmarks.durable.limit import CONSUMER, COUNT, GROUP, STREAM, fill
from benchmarks.durable.progress import Progress
from benchmarks.envelope import Envelope, OrderPlaced, OrderShipped
from benchmarks.fanning import PARTS, Join, Part
from benchmarks.fanning.envelope import OrderPacked, OrderPaid, PartReserved
from benchmarks.peers.settled import create_group

__all__ = ["fan_out", "fill", "join"]

# ARGV: group, then for each delivery its id, how many events it emitted, and the type and the JSON of each of those.
_GUARD = """
local accepted, at = 0, 2
while at <= #ARGV do
  local last = at + 1 + 2 * ARGV[at + 1]
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[at]) == 1 then
    accepted = accepted + 1
    for out = at + 2, last, 2 do
      redis.call('XADD', KEYS[1], '*', 't', ARGV[out], 'e', ARGV[out + 1])
    end
  end
  at = last + 1
end
return accepted
"""

# Any: which handler takes which class is known from the event type alone.
Handlers = dict[bytes, tuple[type[Envelope], Callable[[Any], Awaitable[Sequence[Envelope]]]]]


async def fan_out(url: str, progress: Progress) -> None:
    """One order, many parts."""

    async def on_placed(event: OrderPlaced) -> Sequence[Envelope]:
        progress.count(event.payload.order_id, 0)
        parts = (Part(number=number, order=event.payload) for number in range(1, PARTS + 1))
        return [PartReserved(payload=part) for part in parts]

    async def on_reserved(event: PartReserved) -> Sequence[Envelope]:
        progress.count(event.payload.order.order_id, event.payload.number)
        return ()

    handlers: Handlers = {b"ORDER_PLACED": (OrderPlaced, on_placed), b"PART_RESERVED": (PartReserved, on_reserved)}
    await _work(url, handlers, (1 + PARTS) * progress.n)


async def join(url: str, progress: Progress) -> None:
    """One order, two halves, one end."""
    halves = Join()

    async def on_placed(event: OrderPlaced) -> Sequence[Envelope]:
        progress.count(event.payload.order_id, 0)
        return OrderPaid(payload=event.payload), OrderPacked(payload=event.payload)

    async def on_half(event: OrderPaid | OrderPacked) -> Sequence[Envelope]:
        progress.count(event.payload.order_id, 1 if isinstance(event, OrderPaid) else 2)
        return [OrderShipped(payload=event.payload)] if halves.completes(event.payload.order_id) else ()

    async def on_shipped(event: OrderShipped) -> Sequence[Envelope]:
        progress.count(event.payload.order_id, 3)
        return ()

    handlers: Handlers = {
        b"ORDER_PLACED": (OrderPlaced, on_placed),
        b"ORDER_PAID": (OrderPaid, on_half),
        b"ORDER_PACKED": (OrderPacked, on_half),
        b"ORDER_SHIPPED": (OrderShipped, on_shipped),
    }
    await _work(url, handlers, 4 * progress.n)


async def _work(url: str, handlers: Handlers, deliveries: int) -> None:
    await create_group(url, STREAM, GROUP)
    streams: dict[Any, Any] = {STREAM: ">"}
    async with redis.asyncio.Redis.from_url(url) as client:
        guard, accepted = client.register_script(_GUARD), 0
        while accepted < deliveries:
            found: Any = await client.xreadgroup(GROUP, CONSUMER, streams, count=COUNT, block=1000)
            for _, entries in found or ():
                args: list[Any] = [GROUP]
                for entry_id, fields in entries:
                    cls, handle = handlers[fields[b"t"]]
                    emitted = await handle(cls.model_validate_json(fields[b"e"]))
                    args += entry_id, len(emitted)
                    for event in emitted:
                        args += event.event_type, event.model_dump_json().encode()
                accepted += await guard(keys=[STREAM], args=args)

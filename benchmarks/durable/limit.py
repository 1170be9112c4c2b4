"""The limit: loops on redis-py and hiredis, with nothing around them.

An event is an entry of two fields: its type, and all of it as JSON. No recovery of what a dead worker left, no retries,
no dead letters, no lineage, no lease, no error handling, no inspection of what a handler returns.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import redis.asyncio
from redis.exceptions import ResponseError

from benchmarks.durable import Emit, EmitMany
from benchmarks.durable.progress import Progress
from benchmarks.envelope import Envelope, OrderConfirmed, OrderPlaced, OrderShipped
from benchmarks.orders import Order
from benchmarks.peers.settled import fill_in_bulk

STREAM, GROUP, CONSUMER = "orders", "workers", "worker"
COUNT = 100
"""How many entries are read, and acknowledged, at a time."""

# Acknowledges deliveries, and keeps what each emitted, but only where the acknowledgement was the first.
# ARGV: group, then for each delivery its id, and the type and the JSON of what it emitted, or '' and ''.
_GUARD = """
local accepted = 0
for at = 2, #ARGV, 3 do
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[at]) == 1 then
    accepted = accepted + 1
    if ARGV[at + 1] ~= '' then redis.call('XADD', KEYS[1], '*', 't', ARGV[at + 1], 'e', ARGV[at + 2]) end
  end
end
return accepted
"""

# Any: which handler takes which class is known from the event type alone.
Handlers = dict[bytes, tuple[type[Envelope], Callable[[Any], Awaitable[Envelope | None]]]]


def _client(url: str) -> Any:
    return redis.asyncio.Redis.from_url(url)


def _fields(event: Envelope) -> dict[str, bytes | str]:
    return {"t": event.event_type, "e": event.model_dump_json().encode()}


async def fill(url: str, n: int) -> None:
    """Enqueue n orders."""
    await fill_in_bulk(bulk_emitter, url, n, COUNT)


@asynccontextmanager
async def bulk_emitter(url: str) -> AsyncIterator[EmitMany]:
    """Emit through pipelines."""
    client = _client(url)

    async def emit(orders: Sequence[Order]) -> None:
        async with client.pipeline(transaction=False) as pipeline:
            for order in orders:
                pipeline.xadd(STREAM, _fields(OrderPlaced(payload=order)))
            await pipeline.execute()

    yield emit
    await client.aclose()


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Emit one by one."""
    client = _client(url)

    async def emit(order: Order) -> None:
        await client.xadd(STREAM, _fields(OrderPlaced(payload=order)))

    yield emit
    await client.aclose()


async def consume(url: str, progress: Progress) -> None:
    """Read COUNT at a time, handle each, acknowledge all of them with one XACK."""

    async def on_placed(event: OrderPlaced) -> None:
        progress.count(event.payload.order_id)

    handlers: Handlers = {b"ORDER_PLACED": (OrderPlaced, on_placed)}
    client = await _worker(url)
    acked = 0
    while acked < progress.n:
        for _, entries in await _read(client):
            for _, fields in entries:
                cls, handle = handlers[fields[b"t"]]
                await handle(cls.model_validate_json(fields[b"e"]))
            acked += await client.xack(STREAM, GROUP, *[entry_id for entry_id, _ in entries])
    await client.aclose()


async def chain(url: str, progress: Progress) -> None:
    """Read COUNT at a time, handle each, acknowledge and emit with one call of a script."""

    async def on_placed(event: OrderPlaced) -> OrderConfirmed:
        progress.count(event.payload.order_id, 0)
        return OrderConfirmed(payload=event.payload)

    async def on_confirmed(event: OrderConfirmed) -> OrderShipped:
        progress.count(event.payload.order_id, 1)
        return OrderShipped(payload=event.payload)

    async def on_shipped(event: OrderShipped) -> None:
        progress.count(event.payload.order_id, 2)

    handlers: Handlers = {
        b"ORDER_PLACED": (OrderPlaced, on_placed),
        b"ORDER_CONFIRMED": (OrderConfirmed, on_confirmed),
        b"ORDER_SHIPPED": (OrderShipped, on_shipped),
    }
    client = await _worker(url)
    guard = client.register_script(_GUARD)
    accepted = 0
    while accepted < 3 * progress.n:
        for _, entries in await _read(client):
            args: list[str | bytes] = [GROUP]
            for entry_id, fields in entries:
                cls, handle = handlers[fields[b"t"]]
                emitted = await handle(cls.model_validate_json(fields[b"e"]))
                args += (entry_id, *(_fields(emitted).values() if emitted else ("", "")))
            accepted += await guard(keys=[STREAM], args=args)
    await client.aclose()


async def _worker(url: str) -> Any:
    client = _client(url)
    with suppress(ResponseError):  # the group is there
        await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    return client


async def _read(client: Any) -> Any:
    return await client.xreadgroup(GROUP, CONSUMER, {STREAM: ">"}, count=COUNT, block=1000) or ()

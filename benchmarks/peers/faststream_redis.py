"""FastStream: subscribers read a stream each, with a group; the event is acknowledged after its handler."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from faststream.redis import RedisBroker, StreamSub

from benchmarks.durable import Emit, EmitMany
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderConfirmed, OrderPlaced, OrderShipped
from benchmarks.orders import Order
from benchmarks.peers.settled import create_group, fill_in_bulk, until_none_pending

STREAM, GROUP = "orders", "workers"
_BULK = 100


def new_broker(url: str) -> RedisBroker:
    """Make one that does not log each event."""
    return RedisBroker(url, logger=None)  # type: ignore[arg-type]  # it silences it


def reading(stream: str, *, batch: bool = False) -> StreamSub[Any]:
    """Say how a subscriber reads a stream."""
    # last_id=">" with a group that is there: any other id would be read again and again by a second worker.
    return StreamSub(
        stream,
        group=GROUP,
        consumer=f"worker-{os.getpid()}",
        last_id=">",
        max_records=100,
        batch=batch,
    )


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Publish one by one."""
    async with new_broker(url) as broker:

        async def emit(order: Order) -> None:
            await broker.publish(OrderPlaced(payload=order), stream=STREAM)

        yield emit


async def fill(url: str, n: int) -> None:
    """Publish all."""
    await fill_in_bulk(bulk_emitter, url, n, _BULK)


@asynccontextmanager
async def bulk_emitter(url: str) -> AsyncIterator[EmitMany]:
    """Publish through redis-py pipelines."""
    async with new_broker(url) as broker:
        client = await broker.connect()

        async def emit(orders: Sequence[Order]) -> None:
            async with client.pipeline(transaction=False) as pipeline:
                for order in orders:
                    await broker.publish(OrderPlaced(payload=order), stream=STREAM, pipeline=pipeline)
                await pipeline.execute()

        yield emit


async def chain(url: str, progress: Progress) -> None:
    """Publish what a handler returns, to a stream for each step; that and the acknowledgement are two commands."""
    confirmed, shipped = "confirmed", "shipped"

    async def on_placed(event: OrderPlaced) -> OrderConfirmed:
        progress.count(event.payload.order_id, 0)
        return OrderConfirmed(payload=event.payload)

    async def on_confirmed(event: OrderConfirmed) -> OrderShipped:
        progress.count(event.payload.order_id, 1)
        return OrderShipped(payload=event.payload)

    async def on_shipped(event: OrderShipped) -> None:
        progress.count(event.payload.order_id, 2)

    def subscribe(broker: RedisBroker) -> None:
        broker.subscriber(stream=reading(STREAM))(broker.publisher(stream=confirmed)(on_placed))
        broker.subscriber(stream=reading(confirmed))(broker.publisher(stream=shipped)(on_confirmed))
        broker.subscriber(stream=reading(shipped))(on_shipped)

    await work(url, progress, subscribe, STREAM, confirmed, shipped)


async def consume(url: str, progress: Progress, concurrency: int = 1) -> None:
    """Call the handler with one event at a time, or with as many as asked for."""

    async def on_placed(event: OrderPlaced) -> None:
        await progress.handle(event.payload.order_id)

    workers = concurrency if concurrency > 1 else None

    def subscribe(broker: RedisBroker) -> None:
        broker.subscriber(stream=reading(STREAM), max_workers=workers)(on_placed)

    await work(url, progress, subscribe, STREAM)


async def work(url: str, progress: Progress, subscribe: Callable[[RedisBroker], Any], *streams: str) -> None:
    """Run a broker on some streams until all is handled and acknowledged."""
    # They are there before the first subscriber publishes; a group that it makes itself begins with what comes then.
    for stream in streams:
        await create_group(url, stream, GROUP)
    broker = new_broker(url)
    subscribe(broker)
    await broker.start()
    await progress.done.wait()
    for stream in streams:
        await until_none_pending(url, stream, GROUP)

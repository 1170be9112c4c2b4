"""FastStream, a stream for each event type: what a handler emits is published first, then its event acknowledged."""

from faststream.redis import RedisBroker

from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced, OrderShipped
from benchmarks.fanning import PARTS, Join, Part
from benchmarks.fanning.envelope import OrderPacked, OrderPaid, PartReserved
from benchmarks.peers.faststream_redis import STREAM, fill, reading, work

__all__ = ["fan_out", "fill", "join"]

RESERVED, PAID, PACKED, SHIPPED = "parts-reserved", "orders-paid", "orders-packed", "orders-shipped"


async def fan_out(url: str, progress: Progress) -> None:
    """One order, many parts, which go in one pipeline."""

    def subscribe(broker: RedisBroker) -> None:
        @broker.subscriber(stream=reading(STREAM))
        async def on_placed(event: OrderPlaced) -> None:
            progress.count(event.payload.order_id, 0)
            client = await broker.connect()
            async with client.pipeline(transaction=False) as pipeline:
                for number in range(1, PARTS + 1):
                    part = PartReserved(payload=Part(number=number, order=event.payload))
                    await broker.publish(part, stream=RESERVED, pipeline=pipeline)
                await pipeline.execute()

        @broker.subscriber(stream=reading(RESERVED))
        async def on_reserved(event: PartReserved) -> None:
            progress.count(event.payload.order.order_id, event.payload.number)

    await work(url, progress, subscribe, STREAM, RESERVED)


async def join(url: str, progress: Progress) -> None:
    """One order, two halves, one end."""
    halves = Join()

    def subscribe(broker: RedisBroker) -> None:
        async def ship(half: OrderPaid | OrderPacked) -> None:
            if halves.completes(half.payload.order_id):
                await broker.publish(OrderShipped(payload=half.payload), stream=SHIPPED)

        @broker.subscriber(stream=reading(STREAM))
        async def on_placed(event: OrderPlaced) -> None:
            progress.count(event.payload.order_id, 0)
            await broker.publish(OrderPaid(payload=event.payload), stream=PAID)
            await broker.publish(OrderPacked(payload=event.payload), stream=PACKED)

        @broker.subscriber(stream=reading(PAID))
        async def on_paid(event: OrderPaid) -> None:
            progress.count(event.payload.order_id, 1)
            await ship(event)

        @broker.subscriber(stream=reading(PACKED))
        async def on_packed(event: OrderPacked) -> None:
            progress.count(event.payload.order_id, 2)
            await ship(event)

        @broker.subscriber(stream=reading(SHIPPED))
        async def on_shipped(event: OrderShipped) -> None:
            progress.count(event.payload.order_id, 3)

    await work(url, progress, subscribe, STREAM, PAID, PACKED, SHIPPED)

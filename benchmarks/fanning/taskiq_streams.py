"""taskiq with taskiq-redis' RedisStreamBroker: what a task emits is kicked at once, then the task acknowledged."""

import asyncio

from taskiq_redis import RedisStreamBroker

from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced, OrderShipped
from benchmarks.fanning import PARTS, Join, Part
from benchmarks.fanning.envelope import OrderPacked, OrderPaid, PartReserved
from benchmarks.peers.taskiq_streams import TASK, fill, work

__all__ = ["fan_out", "fill", "join"]


async def fan_out(url: str, progress: Progress) -> None:
    """One order, many parts."""

    def register(broker: RedisStreamBroker) -> None:
        @broker.task(task_name="PART_RESERVED")
        async def on_reserved(event: PartReserved) -> None:
            progress.count(event.payload.order.order_id, event.payload.number)

        @broker.task(task_name=TASK)
        async def on_placed(event: OrderPlaced) -> None:
            progress.count(event.payload.order_id, 0)
            parts = [Part(number=number, order=event.payload) for number in range(1, PARTS + 1)]
            await asyncio.gather(*[on_reserved.kiq(PartReserved(payload=part)) for part in parts])

    await work(url, progress, register)


async def join(url: str, progress: Progress) -> None:
    """One order, two halves, one end."""
    halves = Join()

    def register(broker: RedisStreamBroker) -> None:
        @broker.task(task_name="ORDER_SHIPPED")
        async def on_shipped(event: OrderShipped) -> None:
            progress.count(event.payload.order_id, 3)

        async def ship(half: OrderPaid | OrderPacked) -> None:
            if halves.completes(half.payload.order_id):
                await on_shipped.kiq(OrderShipped(payload=half.payload))

        @broker.task(task_name="ORDER_PAID")
        async def on_paid(event: OrderPaid) -> None:
            progress.count(event.payload.order_id, 1)
            await ship(event)

        @broker.task(task_name="ORDER_PACKED")
        async def on_packed(event: OrderPacked) -> None:
            progress.count(event.payload.order_id, 2)
            await ship(event)

        @broker.task(task_name=TASK)
        async def on_placed(event: OrderPlaced) -> None:
            progress.count(event.payload.order_id, 0)
            paid, packed = OrderPaid(payload=event.payload), OrderPacked(payload=event.payload)
            await asyncio.gather(on_paid.kiq(paid), on_packed.kiq(packed))

    await work(url, progress, register)

"""taskiq with taskiq-redis' RedisStreamBroker: a call of a function, acknowledged when it has returned."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

from benchmarks.durable import Emit
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderConfirmed, OrderPlaced, OrderShipped
from benchmarks.orders import Order
from benchmarks.peers.settled import fill_by_emitting, until_none_pending

QUEUE, GROUP, TASK = "orders", "workers", "ORDER_PLACED"


def _broker(url: str) -> RedisStreamBroker:
    return RedisStreamBroker(url, queue_name=QUEUE, consumer_group_name=GROUP, consumer_id="0")


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Kick one task at a time."""
    broker = _broker(url)

    async def on_placed(event: OrderPlaced) -> None: ...

    placed = broker.register_task(on_placed, task_name=TASK)
    await broker.startup()

    async def emit(order: Order) -> None:
        await placed.kiq(OrderPlaced(payload=order))

    yield emit
    await broker.shutdown()


async def fill(url: str, n: int) -> None:
    """It has no bulk call."""
    await fill_by_emitting(emitter, url, n)


async def consume(url: str, progress: Progress, concurrency: int = 100) -> None:
    """Run its receiver, with 100 tasks at once unless told otherwise, which is its default."""

    def register(broker: RedisStreamBroker) -> None:
        @broker.task(task_name=TASK)
        async def on_placed(event: OrderPlaced) -> None:
            await progress.handle(event.payload.order_id)

    await work(url, progress, register, concurrency)


async def chain(url: str, progress: Progress) -> None:
    """Let each task kick the next; that and the acknowledgement are two commands."""

    def register(broker: RedisStreamBroker) -> None:
        @broker.task(task_name="ORDER_SHIPPED")
        async def on_shipped(event: OrderShipped) -> None:
            progress.count(event.payload.order_id, 2)

        @broker.task(task_name="ORDER_CONFIRMED")
        async def on_confirmed(event: OrderConfirmed) -> None:
            progress.count(event.payload.order_id, 1)
            await on_shipped.kiq(OrderShipped(payload=event.payload))

        @broker.task(task_name=TASK)
        async def on_placed(event: OrderPlaced) -> None:
            progress.count(event.payload.order_id, 0)
            await on_confirmed.kiq(OrderConfirmed(payload=event.payload))

    await work(url, progress, register)


async def work(
    url: str,
    progress: Progress,
    register: Callable[[RedisStreamBroker], None],
    concurrency: int = 100,
) -> None:
    """Run a receiver until all is handled and acknowledged."""
    broker = _broker(url)
    broker.is_worker_process = True
    register(broker)
    await broker.startup()
    receiver = Receiver(broker, max_async_tasks=concurrency, max_prefetch=concurrency, run_startup=False)
    listening = asyncio.create_task(receiver.listen(asyncio.Event()))
    await progress.done.wait()
    await until_none_pending(url, QUEUE, GROUP)
    listening.cancel()

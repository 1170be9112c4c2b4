"""taskiq with taskiq-redis' RedisStreamBroker: a call of a function, acknowledged when it has returned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

from benchmarks.durable import Emit
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced
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

    async def on_placed(event: OrderPlaced) -> None:
        await progress.handle(event.payload.order_id)

    broker = _broker(url)
    broker.is_worker_process = True
    broker.register_task(on_placed, task_name=TASK)
    await broker.startup()
    receiver = Receiver(broker, max_async_tasks=concurrency, max_prefetch=concurrency, run_startup=False)
    listening = asyncio.create_task(receiver.listen(asyncio.Event()))
    await progress.done.wait()
    await until_none_pending(url, QUEUE, GROUP)
    listening.cancel()

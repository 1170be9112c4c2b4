"""streaQ: a call of a function, with a lock, a result and a lease for each; on coredis instead of redis-py."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from streaq import Worker

from benchmarks.durable import Emit, EmitMany
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderConfirmed, OrderPlaced, OrderShipped
from benchmarks.orders import Order
from benchmarks.peers.settled import fill_in_bulk

TASK = "ORDER_PLACED"
_BULK = 100


def _worker(url: str, concurrency: int = 16) -> Worker[None]:
    return Worker(redis_url=url, concurrency=concurrency, handle_signals=False)


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Enqueue one by one."""
    async with _worker(url) as worker:

        async def emit(order: Order) -> None:
            await worker.enqueue_unsafe(TASK, OrderPlaced(payload=order))

        yield emit


async def fill(url: str, n: int) -> None:
    """Enqueue all."""
    await fill_in_bulk(bulk_emitter, url, n, _BULK)


@asynccontextmanager
async def bulk_emitter(url: str) -> AsyncIterator[EmitMany]:
    """Enqueue with `enqueue_many`."""
    async with _worker(url) as worker:

        async def emit(orders: Sequence[Order]) -> None:
            events = [OrderPlaced(payload=order) for order in orders]
            await worker.enqueue_many([worker.enqueue_unsafe(TASK, event) for event in events])

        yield emit


async def consume(url: str, progress: Progress, concurrency: int = 100) -> None:
    """Run its worker, which keeps no results here."""

    async def on_placed(event: OrderPlaced) -> None:
        await progress.handle(event.payload.order_id)

    worker = _worker(url, concurrency)
    worker.task(name=TASK, ttl=0)(on_placed)
    await _work(worker, url, progress)


async def chain(url: str, progress: Progress) -> None:
    """Let each task enqueue the next, before it is done itself."""

    async def on_placed(event: OrderPlaced) -> None:
        progress.count(event.payload.order_id, 0)
        await confirmed.enqueue(OrderConfirmed(payload=event.payload))

    async def on_confirmed(event: OrderConfirmed) -> None:
        progress.count(event.payload.order_id, 1)
        await shipped.enqueue(OrderShipped(payload=event.payload))

    async def on_shipped(event: OrderShipped) -> None:
        progress.count(event.payload.order_id, 2)

    worker = _worker(url, 100)
    worker.task(name=TASK, ttl=0)(on_placed)
    confirmed = worker.task(name="ORDER_CONFIRMED", ttl=0)(on_confirmed)
    shipped = worker.task(name="ORDER_SHIPPED", ttl=0)(on_shipped)
    await _work(worker, url, progress)


async def _work(worker: Worker[None], url: str, progress: Progress) -> None:
    working = asyncio.create_task(worker.run_async())
    await progress.done.wait()
    async with _worker(url) as observer:
        while await observer.queue_size():  # noqa: ASYNC110 -- only the server knows
            await asyncio.sleep(0.001)
    working.cancel()

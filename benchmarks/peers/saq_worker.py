"""saq: jobs in a list, moved to another while they run; a state of its own for each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue, Worker

from benchmarks.durable import Emit
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced
from benchmarks.orders import Order
from benchmarks.peers.settled import fill_by_emitting

TASK = "ORDER_PLACED"


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Enqueue one by one, its arguments as JSON."""
    queue = Queue.from_url(url)
    await queue.connect()

    async def emit(order: Order) -> None:
        await queue.enqueue(TASK, event=OrderPlaced(payload=order).model_dump(mode="json"), ttl=-1)

    yield emit
    await queue.disconnect()


async def fill(url: str, n: int) -> None:
    """Its bulk call waits for results."""
    await fill_by_emitting(emitter, url, n)


async def consume(url: str, progress: Progress, concurrency: int = 100) -> None:
    """Run its worker, which keeps no results here."""

    async def on_placed(ctx: dict[str, Any], *, event: dict[str, Any]) -> None:
        await progress.handle(OrderPlaced.model_validate(event).payload.order_id)

    queue = Queue.from_url(url)
    worker = Worker(queue, functions=[(TASK, on_placed)], concurrency=concurrency)
    working = asyncio.create_task(worker.start())
    await progress.done.wait()
    while await queue.count("incomplete"):  # noqa: ASYNC110 -- only the server knows
        await asyncio.sleep(0.001)
    working.cancel()

"""arq: jobs in a sorted set, polled; a lock, a retry count and a result for each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.constants import default_queue_name
from arq.worker import Worker

from benchmarks.durable import Emit
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced
from benchmarks.orders import Order
from benchmarks.peers.settled import fill_by_emitting, until_zero

TASK = "ORDER_PLACED"


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Enqueue one by one."""
    pool = await create_pool(RedisSettings.from_dsn(url))

    async def emit(order: Order) -> None:
        await pool.enqueue_job(TASK, OrderPlaced(payload=order))

    yield emit
    await pool.aclose()


async def fill(url: str, n: int) -> None:
    """It has no bulk call."""
    await fill_by_emitting(emitter, url, n)


async def consume(url: str, progress: Progress, concurrency: int = 100) -> None:
    """Run its worker; it looks for jobs twice a second by default, which is the most that it would ever handle."""

    async def on_placed(ctx: dict[str, Any], event: OrderPlaced) -> None:
        await progress.handle(event.payload.order_id)

    worker = Worker(
        functions=[func(on_placed, name=TASK)],
        redis_settings=RedisSettings.from_dsn(url),
        max_jobs=concurrency,
        queue_read_limit=max(concurrency, 100),
        poll_delay=0.05,
        keep_result=0,
        handle_signals=False,
    )
    working = asyncio.create_task(worker.async_run())
    await progress.done.wait()
    await until_zero(url, lambda client: client.zcard(default_queue_name))
    working.cancel()

"""dramatiq: messages in a list, fetched ahead by a thread of its own; actors run in threads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dramatiq
import dramatiq.worker
from dramatiq.brokers.redis import RedisBroker

from benchmarks.durable import Emit
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced
from benchmarks.orders import Order
from benchmarks.peers.settled import fill_by_emitting, until_zero
from benchmarks.peers.threads import Threads

QUEUE, ACTOR = "orders", "ORDER_PLACED"
_PREFETCH = 1000
"""What its guide names `dramatiq_queue_prefetch`; fewer make it wait for the server more often."""


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Send one by one; the call blocks."""
    broker = RedisBroker(url=url)

    @dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)
    def placed(event: dict[str, Any]) -> None: ...

    async def emit(order: Order) -> None:
        placed.send(OrderPlaced(payload=order).model_dump(mode="json"))

    yield emit
    broker.close()


async def fill(url: str, n: int) -> None:
    """It has no bulk call."""
    await fill_by_emitting(emitter, url, n)


async def consume(url: str, progress: Progress, concurrency: int = 8) -> None:
    """Run its worker, with as many threads as it has by default unless told otherwise."""
    threads = Threads(progress)

    broker = RedisBroker(url=url)

    @dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)
    def placed(event: dict[str, Any]) -> None:
        threads.handle(OrderPlaced.model_validate(event).payload.order_id)

    dramatiq.worker.QUEUE_PREFETCH = _PREFETCH
    worker = dramatiq.Worker(broker, worker_threads=concurrency)
    worker.start()
    await progress.done.wait()
    await until_zero(url, lambda client: client.hlen(f"dramatiq:{QUEUE}.msgs"))

"""celery, with a pool of threads and late acknowledgement: without it, a task is lost with its worker."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from celery import Celery

from benchmarks.durable import Emit
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced
from benchmarks.orders import Order
from benchmarks.peers.settled import fill_by_emitting, until_zero
from benchmarks.peers.threads import Threads

TASK = "ORDER_PLACED"


def _app(url: str) -> Celery:
    app = Celery("orders", broker=url)
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=100,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Send one by one; the call blocks."""
    with _app(url) as app:

        async def emit(order: Order) -> None:
            app.send_task(TASK, (OrderPlaced(payload=order).model_dump(mode="json"),))

        yield emit


async def fill(url: str, n: int) -> None:
    """It has no bulk call."""
    await fill_by_emitting(emitter, url, n)


async def consume(url: str, progress: Progress, concurrency: int = 1) -> None:
    """Run its worker in this process: `solo` for one task at a time, threads for more."""
    threads = Threads(progress)
    app = _app(url)

    @app.task(name=TASK, pydantic=True)
    def on_placed(event: OrderPlaced) -> None:
        threads.handle(event.payload.order_id)

    worker = app.WorkController(pool="threads" if concurrency > 1 else "solo", concurrency=concurrency)
    threading.Thread(target=worker.start, daemon=True).start()
    await progress.done.wait()
    await until_zero(url, lambda client: client.hlen("unacked"))

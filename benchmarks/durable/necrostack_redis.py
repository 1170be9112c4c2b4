"""NecroStack with its Redis backend, everything at its defaults unless the shape says otherwise."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from benchmarks.durable import CONCURRENCY, TIMEOUT, Emit, EmitMany
from benchmarks.durable.progress import Progress
from benchmarks.orders import Order
from benchmarks.peers.settled import fill_in_bulk
from necrostack import Event, Organ, Spine
from necrostack_redis import RedisBackend

_BULK = 500
"""How many events one call enqueues."""


class OrderPlaced(Event):
    """Emitted by the producer."""

    event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED"
    payload: Order


class OrderConfirmed(Event):
    """Emitted by the organ that takes OrderPlaced, where an order goes on."""

    event_type: Literal["ORDER_CONFIRMED"] = "ORDER_CONFIRMED"
    payload: Order


class OrderShipped(Event):
    """Emitted by the organ that takes OrderConfirmed."""

    event_type: Literal["ORDER_SHIPPED"] = "ORDER_SHIPPED"
    payload: Order


class Archivist(Organ[OrderPlaced]):
    """Takes what was placed, and emits nothing."""

    listens_to = (OrderPlaced,)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    async def handle(self, event: OrderPlaced) -> None:
        """Count the event."""
        self.progress.count(event.payload.order_id)


class TimedArchivist(Archivist):
    """The same, with a timeout."""

    timeout = TIMEOUT


class Confirmer(Organ[OrderPlaced]):
    """Confirms what was placed."""

    listens_to = (OrderPlaced,)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    async def handle(self, event: OrderPlaced) -> OrderConfirmed:
        """Count the event and emit the next."""
        self.progress.count(event.payload.order_id, 0)
        return OrderConfirmed(payload=event.payload)


class Shipper(Organ[OrderConfirmed]):
    """Ships what was confirmed."""

    listens_to = (OrderConfirmed,)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    async def handle(self, event: OrderConfirmed) -> OrderShipped:
        """Count the event and emit the next."""
        self.progress.count(event.payload.order_id, 1)
        return OrderShipped(payload=event.payload)


class Biller(Organ[OrderShipped]):
    """Takes what was shipped, the last step."""

    listens_to = (OrderShipped,)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    async def handle(self, event: OrderShipped) -> None:
        """Count the event."""
        self.progress.count(event.payload.order_id, 2)


async def fill(url: str, n: int) -> None:
    """Enqueue n orders."""
    await fill_in_bulk(bulk_emitter, url, n, _BULK)


@asynccontextmanager
async def bulk_emitter(url: str) -> AsyncIterator[EmitMany]:
    """Emit all of them with one call."""
    async with RedisBackend(url) as backend:

        async def emit(orders: Sequence[Order]) -> None:
            await backend.enqueue(*[OrderPlaced(payload=order) for order in orders])

        yield emit


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Emit one by one."""
    async with RedisBackend(url) as backend:

        async def emit(order: Order) -> None:
            await backend.enqueue(OrderPlaced(payload=order))

        yield emit


async def consume(url: str, progress: Progress) -> None:
    """Run until all is handled and settled."""
    await run(url, progress, Archivist(progress))


async def consume_at_once(url: str, progress: Progress) -> None:
    """The same with CONCURRENCY handlers at once, each with a timeout."""
    await run(url, progress, TimedArchivist(progress), concurrency=CONCURRENCY)


async def chain(url: str, progress: Progress) -> None:
    """Run until all is handled and settled."""
    await run(url, progress, Confirmer(progress), Shipper(progress), Biller(progress))


async def run(url: str, progress: Progress, *organs: Organ[Any], concurrency: int = 1) -> None:
    """Run until all is handled and settled, and nothing else is left."""
    async with RedisBackend(url) as backend:
        spine = Spine(organs=organs, backend=backend, concurrency=concurrency)
        async with asyncio.TaskGroup() as tasks:  # so that a run that ends early is not waited for
            running = tasks.create_task(spine.run())
            await progress.done.wait()
            spine.stop()
        report = running.result()
        stats = await backend.admin.stats()
    if report.lost or report.failed or not stats.idle:
        msg = f"{report.lost} settlements lost, {report.failed} handlers failed, and the server owes {stats}"
        raise AssertionError(msg)

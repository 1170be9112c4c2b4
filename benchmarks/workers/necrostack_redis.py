"""NecroStack with its Redis backend, everything at its defaults but the concurrency."""

import asyncio

from benchmarks.durable.necrostack_redis import OrderPlaced, fill
from benchmarks.durable.progress import Progress
from necrostack import Organ, Spine
from necrostack_redis import RedisBackend

__all__ = ["consume", "fill"]


class Archivist(Organ[OrderPlaced]):
    """Takes what was placed, and emits nothing."""

    listens_to = (OrderPlaced,)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    async def handle(self, event: OrderPlaced) -> None:
        """Do what a handler has to do."""
        await self.progress.handle(event.payload.order_id)


async def consume(url: str, progress: Progress, concurrency: int = 1) -> None:
    """Run until it is told to stop."""
    async with RedisBackend(url) as backend:
        spine = Spine(organs=[Archivist(progress)], backend=backend, concurrency=concurrency)
        running = asyncio.create_task(spine.run())
        await progress.done.wait()
        spine.stop()
        report = await running
    if report.lost or report.failed:
        msg = f"{report.lost} settlements lost, {report.failed} handlers failed"
        raise AssertionError(msg)

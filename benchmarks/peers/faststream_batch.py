"""FastStream with `batch=True`: the handler gets a list, and all of it is acknowledged at once."""

from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced
from benchmarks.peers.faststream_redis import STREAM, emitter, fill, reading, work

__all__ = ["consume", "emitter", "fill"]


async def consume(url: str, progress: Progress, concurrency: int = 1) -> None:
    """Call the handler with up to 100 events."""

    async def on_placed(events: list[OrderPlaced]) -> None:
        for event in events:
            await progress.handle(event.payload.order_id)

    await work(url, progress, lambda broker: broker.subscriber(stream=reading(STREAM, batch=True))(on_placed), STREAM)

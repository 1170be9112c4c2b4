"""The limit: one loop that reads, as many that handle as asked for, and one XACK for all that is done."""

import asyncio
import os
from typing import Any

import redis.asyncio

from benchmarks.durable.limit import COUNT, GROUP, STREAM, fill
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced
from benchmarks.peers.settled import create_group

__all__ = ["consume", "fill"]


async def consume(url: str, progress: Progress, concurrency: int = 1) -> None:
    """Handle as many at once as asked for, and read as many ahead."""
    await create_group(url, STREAM, GROUP)
    client = redis.asyncio.Redis.from_url(url)
    queue: asyncio.Queue[tuple[bytes, dict[bytes, bytes]]] = asyncio.Queue(concurrency)
    handled: list[bytes] = []

    async def read() -> None:
        streams: dict[Any, Any] = {STREAM: ">"}
        while True:
            found: Any = await client.xreadgroup(GROUP, f"worker-{os.getpid()}", streams, count=COUNT, block=1000)
            for _, entries in found or ():
                for entry in entries:
                    await queue.put(entry)

    async def work() -> None:
        while True:
            entry_id, fields = await queue.get()
            event = OrderPlaced.model_validate_json(fields[b"e"])
            await progress.handle(event.payload.order_id)
            handled.append(entry_id)
            if len(handled) >= COUNT or queue.empty():
                done = [*handled]
                handled.clear()
                await client.xack(STREAM, GROUP, *done)

    tasks = [asyncio.create_task(loop) for loop in (read(), *[work() for _ in range(concurrency)])]
    await progress.done.wait()
    for task in tasks:
        task.cancel()
    await client.aclose()

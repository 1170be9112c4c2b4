"""repid: streams with a group; an event is acknowledged after its actor."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from repid import FullPayload, Repid, Router
from repid.connections.redis import RedisServer

from benchmarks.durable import Emit
from benchmarks.durable.progress import Progress
from benchmarks.envelope import OrderPlaced
from benchmarks.orders import Order
from benchmarks.peers.settled import fill_by_emitting, until_none_pending

CHANNEL, ACTOR = "orders", "ORDER_PLACED"


def _app(url: str) -> Repid:
    app = Repid()
    app.servers.register_server("default", RedisServer(url), is_default=True)
    return app


@asynccontextmanager
async def emitter(url: str) -> AsyncIterator[Emit]:
    """Send one by one."""
    app = _app(url)
    async with app.servers.default.connection():

        async def emit(order: Order) -> None:
            payload = OrderPlaced(payload=order).model_dump_json().encode()
            await app.send_message(channel=CHANNEL, payload=payload, headers={"topic": ACTOR})

        yield emit


async def fill(url: str, n: int) -> None:
    """It has no bulk call."""
    await fill_by_emitting(emitter, url, n)


async def consume(url: str, progress: Progress, concurrency: int = 1000) -> None:
    """Run its worker, with as many tasks at once as it has by default unless told otherwise."""
    router = Router()

    @router.actor(name=ACTOR, channel=CHANNEL)
    async def on_placed(event: Annotated[OrderPlaced, FullPayload()]) -> None:
        await progress.handle(event.payload.order_id)

    app = _app(url)
    app.include_router(router)
    async with app.servers.default.connection():
        working = asyncio.create_task(app.run_worker(tasks_limit=concurrency, register_signals=[]))
        await progress.done.wait()
        await until_none_pending(url, f"repid:{CHANNEL}", f"repid:{CHANNEL}:group")
        working.cancel()

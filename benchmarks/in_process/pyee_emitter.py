"""pyee: an emitter that starts one asyncio task per handler call. The loop's own queue is the only one."""

from pyee.asyncio import AsyncIOEventEmitter

from benchmarks.envelope import OrderConfirmed, OrderPlaced
from benchmarks.in_process import BOUND
from benchmarks.orders import Tally, new_order, order_id


def _emitter(tally: Tally) -> AsyncIOEventEmitter:
    emitter = AsyncIOEventEmitter()

    async def on_placed(event: OrderPlaced) -> None:
        name = event.payload.order_id
        tally.count(name)
        emitter.emit("ORDER_CONFIRMED", OrderConfirmed(payload=new_order(name)))

    async def on_confirmed(event: OrderConfirmed) -> None:
        tally.count(event.payload.order_id, 1)

    emitter.on("ORDER_PLACED", on_placed)
    emitter.on("ORDER_CONFIRMED", on_confirmed)
    return emitter


async def _finish(emitter: AsyncIOEventEmitter) -> None:
    while not emitter.complete:
        await emitter.wait_for_complete()


async def prefilled(n: int, tally: Tally) -> None:
    """Start all tasks, then wait until they and those they start are done."""
    emitter = _emitter(tally)
    for number in range(n):
        emitter.emit("ORDER_PLACED", OrderPlaced(payload=new_order(order_id(number))))
    await _finish(emitter)


async def streamed(n: int, tally: Tally) -> None:
    """Wait after each BOUND events, which is what the emitter offers for holding a producer back."""
    emitter = _emitter(tally)
    for number in range(n):
        emitter.emit("ORDER_PLACED", OrderPlaced(payload=new_order(order_id(number))))
        if number % BOUND == BOUND - 1:
            await _finish(emitter)
    await _finish(emitter)

"""The limit: an `asyncio.Queue` and a dictionary of handlers, with nothing around them.

No retries, no dead letters, no lineage, no hooks, no error handling, no inspection of what a handler returns.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.envelope import OrderConfirmed, OrderPlaced
from benchmarks.in_process import BOUND
from benchmarks.orders import Tally, new_order, order_id

Queue = asyncio.Queue[OrderPlaced | OrderConfirmed]
# Any: which handler takes which class is known from the event type alone.
Handlers = dict[str, Callable[[Any], Awaitable[OrderConfirmed | None]]]


def _handlers(tally: Tally) -> Handlers:
    async def on_placed(event: OrderPlaced) -> OrderConfirmed:
        name = event.payload.order_id
        tally.count_placed(name)
        return OrderConfirmed(payload=new_order(name))

    async def on_confirmed(event: OrderConfirmed) -> None:
        tally.count_confirmed(event.payload.order_id)

    return {"ORDER_PLACED": on_placed, "ORDER_CONFIRMED": on_confirmed}


async def _drain(queue: Queue, handlers: Handlers) -> None:
    while not queue.empty():
        event = queue.get_nowait()
        emitted = await handlers[event.event_type](event)
        if emitted is not None:
            queue.put_nowait(emitted)


async def filled(n: int) -> Queue:
    """Queue n events."""
    queue: Queue = asyncio.Queue()
    for number in range(n):
        queue.put_nowait(OrderPlaced(payload=new_order(order_id(number))))
    return queue


async def prefilled(n: int, tally: Tally) -> None:
    """Queue everything, then run until the queue is empty."""
    await _drain(await filled(n), _handlers(tally))


async def streamed(n: int, tally: Tally) -> None:
    """Run while a producer keeps at most BOUND events ahead."""
    # Looking at qsize() is a few per cent cheaper here than Queue(BOUND), whose put() is a coroutine.
    queue: Queue = asyncio.Queue()
    handlers = _handlers(tally)

    async def produce() -> None:
        for number in range(n):
            while queue.qsize() >= BOUND:  # noqa: ASYNC110 -- cheaper than an asyncio.Event
                await asyncio.sleep(0)
            queue.put_nowait(OrderPlaced(payload=new_order(order_id(number))))

    producer = asyncio.create_task(produce())
    for _ in range(2 * n):
        try:
            event = queue.get_nowait()
        except asyncio.QueueEmpty:
            event = await queue.get()
        emitted = await handlers[event.event_type](event)
        if emitted is not None:
            queue.put_nowait(emitted)
    await producer


async def inline(n: int, tally: Tally) -> None:
    """Await the handler of each event as it is stated."""
    handlers = _handlers(tally)

    async def emit(event: OrderPlaced | OrderConfirmed) -> None:
        emitted = await handlers[event.event_type](event)
        if emitted is not None:
            await emit(emitted)

    for number in range(n):
        await emit(OrderPlaced(payload=new_order(order_id(number))))

"""The limit: an `asyncio.Queue` and a dictionary of handlers, with nothing around them.

No retries, no dead letters, no lineage, no hooks, no error handling, no inspection of what a handler returns.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.envelope import Envelope, OrderConfirmed, OrderPlaced, Untyped
from benchmarks.in_process import BOUND, CONCURRENCY, TIMEOUT
from benchmarks.orders import Tally, new_order, order_fields, order_id

Queue = asyncio.Queue[Envelope]
# Any: which handler takes which class is known from the event type alone.
Handler = Callable[[Any], Awaitable[Envelope | None]]
Handlers = dict[str, Handler]


def _placed(name: str) -> OrderPlaced:
    return OrderPlaced(payload=new_order(name))


def _handlers(tally: Tally) -> Handlers:
    async def on_placed(event: OrderPlaced) -> OrderConfirmed:
        name = event.payload.order_id
        tally.count(name)
        return OrderConfirmed(payload=new_order(name))

    async def on_confirmed(event: OrderConfirmed) -> None:
        tally.count(event.payload.order_id, 1)

    return {"ORDER_PLACED": on_placed, "ORDER_CONFIRMED": on_confirmed}


async def filled(n: int) -> Queue:
    """Queue n events."""
    queue: Queue = asyncio.Queue()
    for number in range(n):
        queue.put_nowait(_placed(order_id(number)))
    return queue


async def drain(queue: Queue, tally: Tally) -> None:
    """Run until the queue is empty."""
    handlers = _handlers(tally)
    while not queue.empty():
        event = queue.get_nowait()
        emitted = await handlers[event.event_type](event)
        if emitted is not None:
            queue.put_nowait(emitted)


async def prefilled(n: int, tally: Tally) -> None:
    """Queue everything, then run until the queue is empty."""
    await drain(await filled(n), tally)


async def _produce(queue: Queue, n: int, place: Callable[[str], Envelope]) -> None:
    # Looking at qsize() is a few per cent cheaper here than Queue(BOUND), whose put() is a coroutine.
    for number in range(n):
        while queue.qsize() >= BOUND:  # noqa: ASYNC110 -- cheaper than an asyncio.Event
            await asyncio.sleep(0)
        queue.put_nowait(place(order_id(number)))


async def _stream(n: int, place: Callable[[str], Envelope], handlers: Handlers) -> None:
    queue: Queue = asyncio.Queue()
    producer = asyncio.create_task(_produce(queue, n, place))
    for _ in range(2 * n):
        try:
            event = queue.get_nowait()
        except asyncio.QueueEmpty:
            event = await queue.get()
        emitted = await handlers[event.event_type](event)
        if emitted is not None:
            queue.put_nowait(emitted)
    await producer


async def streamed(n: int, tally: Tally) -> None:
    """Run while a producer keeps at most BOUND events ahead."""
    await _stream(n, _placed, _handlers(tally))


async def untyped(n: int, tally: Tally) -> None:
    """The same with an envelope for any JSON."""

    def place(name: str) -> Untyped:
        return Untyped(event_type="ORDER_PLACED", payload=order_fields(name))

    async def on_placed(event: Untyped) -> Untyped:
        name = str(event.payload["order_id"])
        tally.count(name)
        return Untyped(event_type="ORDER_CONFIRMED", payload=order_fields(name))

    async def on_confirmed(event: Untyped) -> None:
        tally.count(str(event.payload["order_id"]), 1)

    await _stream(n, place, {"ORDER_PLACED": on_placed, "ORDER_CONFIRMED": on_confirmed})


async def listened(n: int, tally: Tally) -> None:
    """Run a list of handlers for each event."""

    def handler(number: int) -> Handler:
        async def handle(event: OrderPlaced) -> None:
            tally.count(event.payload.order_id, number)

        return handle

    handlers = {"ORDER_PLACED": [handler(number) for number in range(tally.handlers)]}
    queue: Queue = asyncio.Queue()
    producer = asyncio.create_task(_produce(queue, n, _placed))
    for _ in range(n):
        try:
            event = queue.get_nowait()
        except asyncio.QueueEmpty:
            event = await queue.get()
        for handle in handlers[event.event_type]:
            await handle(event)
    await producer


def _waiting(handle: Handler) -> Handler:
    async def wait(event: Any) -> Envelope | None:
        await asyncio.sleep(0)
        return await handle(event)

    return wait


async def concurrent(n: int, tally: Tally) -> None:
    """Run CONCURRENCY loops on one queue, with a timeout around each handler."""
    queue: Queue = asyncio.Queue()
    handlers = {event_type: _waiting(handle) for event_type, handle in _handlers(tally).items()}
    left, done = 2 * n, asyncio.Event()

    async def work() -> None:
        nonlocal left
        while True:
            event = await queue.get()
            async with asyncio.timeout(TIMEOUT):
                emitted = await handlers[event.event_type](event)
            if emitted is not None:
                queue.put_nowait(emitted)
            left -= 1
            if not left:
                done.set()

    workers = [asyncio.create_task(work()) for _ in range(CONCURRENCY)]
    await _produce(queue, n, _placed)
    await done.wait()
    for worker in workers:
        worker.cancel()


async def inline(n: int, tally: Tally) -> None:
    """Await the handler of each event as it is stated."""
    handlers = _handlers(tally)

    async def emit(event: Envelope) -> None:
        emitted = await handlers[event.event_type](event)
        if emitted is not None:
            await emit(emitted)

    for number in range(n):
        await emit(_placed(order_id(number)))

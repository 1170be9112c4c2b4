"""taskiq's InMemoryBroker: a call is serialised, its arguments are validated again, and it runs as a task."""

from collections.abc import Coroutine
from typing import Any

from taskiq import InMemoryBroker
from taskiq.decor import AsyncTaskiqDecoratedTask

from benchmarks.envelope import OrderConfirmed, OrderPlaced
from benchmarks.in_process import BOUND
from benchmarks.orders import Tally, new_order, order_id

PlacedTask = AsyncTaskiqDecoratedTask[[OrderPlaced], Coroutine[Any, Any, None]]


def _register(broker: InMemoryBroker, tally: Tally) -> PlacedTask:
    async def on_confirmed(event: OrderConfirmed) -> None:
        tally.count(event.payload.order_id, 1)

    confirmed = broker.register_task(on_confirmed, task_name="ORDER_CONFIRMED")

    async def on_placed(event: OrderPlaced) -> None:
        name = event.payload.order_id
        tally.count(name)
        await confirmed.kiq(OrderConfirmed(payload=new_order(name)))

    return broker.register_task(on_placed, task_name="ORDER_PLACED")


async def _finish(broker: InMemoryBroker) -> None:
    # It waits for the tasks that exist by then: first the placed ones, then the confirmed ones they started.
    await broker.wait_all()
    await broker.wait_all()


async def prefilled(n: int, tally: Tally) -> None:
    """Start all tasks, then wait until they and those they start are done."""
    broker = InMemoryBroker()
    placed = _register(broker, tally)
    for number in range(n):
        await placed.kiq(OrderPlaced(payload=new_order(order_id(number))))
    await _finish(broker)
    await broker.shutdown()


async def streamed(n: int, tally: Tally) -> None:
    """Wait after each BOUND events, which is what the broker offers for holding a producer back."""
    broker = InMemoryBroker()
    placed = _register(broker, tally)
    for number in range(n):
        await placed.kiq(OrderPlaced(payload=new_order(order_id(number))))
        if number % BOUND == BOUND - 1:
            await _finish(broker)
    await _finish(broker)
    await broker.shutdown()


async def inline(n: int, tally: Tally) -> None:
    """Await each call in place (`await_inplace=True`)."""
    broker = InMemoryBroker(await_inplace=True)
    placed = _register(broker, tally)
    for number in range(n):
        await placed.kiq(OrderPlaced(payload=new_order(order_id(number))))
    await broker.shutdown()

"""NecroStack with its in-memory backend, everything at its defaults."""

import asyncio
from typing import Literal

from benchmarks.in_process import BOUND
from benchmarks.orders import Order, Tally, new_order, order_id
from necrostack import BackendFull, Event, InMemoryBackend, Organ, RunReport, Spine


class OrderPlaced(Event):
    """Emitted by the producer."""

    event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED"
    payload: Order


class OrderConfirmed(Event):
    """Emitted by the organ that takes OrderPlaced."""

    event_type: Literal["ORDER_CONFIRMED"] = "ORDER_CONFIRMED"
    payload: Order


class Confirmer(Organ[OrderPlaced]):
    """Confirms what was placed."""

    listens_to = (OrderPlaced,)

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally = tally

    async def handle(self, event: OrderPlaced) -> OrderConfirmed:
        """Count the event and emit the next."""
        name = event.payload.order_id
        self.tally.count_placed(name)
        return OrderConfirmed(payload=new_order(name))


class Archivist(Organ[OrderConfirmed]):
    """Takes what was confirmed."""

    listens_to = (OrderConfirmed,)

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally = tally

    async def handle(self, event: OrderConfirmed) -> None:
        """Count the event."""
        self.tally.count_confirmed(event.payload.order_id)


def _spine(backend: InMemoryBackend, tally: Tally) -> Spine:
    return Spine(organs=[Confirmer(tally), Archivist(tally)], backend=backend)


def _check(n: int, report: RunReport) -> None:
    if (report.handled, report.emitted) != (2 * n, n):
        msg = f"{report.handled} handled and {report.emitted} emitted events instead of {2 * n} and {n}"
        raise AssertionError(msg)


async def filled(n: int) -> InMemoryBackend:
    """Queue n events."""
    backend = InMemoryBackend()
    await backend.enqueue(*[OrderPlaced(payload=new_order(order_id(number))) for number in range(n)])
    return backend


async def prefilled(n: int, tally: Tally) -> None:
    """Queue everything, then run until idle."""
    _check(n, await _spine(await filled(n), tally).run_until_idle())


async def streamed(n: int, tally: Tally) -> None:
    """Run while a producer keeps at most BOUND events ahead."""
    backend = InMemoryBackend(max_size=BOUND)
    spine = _spine(backend, tally)

    running = asyncio.create_task(spine.run())
    await asyncio.sleep(0)  # it has begun
    for number in range(n):
        event = OrderPlaced(payload=new_order(order_id(number)))
        while not await _accepted(backend, event):  # noqa: ASYNC110 -- the documented way to wait for room
            await asyncio.sleep(0)
    spine.stop_when_idle()
    _check(n, await running)


async def _accepted(backend: InMemoryBackend, event: OrderPlaced) -> bool:
    try:
        await backend.enqueue(event)
    except BackendFull:
        return False
    return True

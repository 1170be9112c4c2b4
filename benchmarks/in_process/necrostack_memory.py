"""NecroStack with its in-memory backend, everything at its defaults unless the shape says otherwise."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from benchmarks.in_process import BOUND, CONCURRENCY, TIMEOUT
from benchmarks.orders import Order, Tally, new_order, order_fields, order_id
from necrostack import BackendFull, Event, InMemoryBackend, Organ, RunReport, Spine

_BULK = 100
"""How many events one call enqueues where many are queued first."""


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
        self.tally.count(name)
        return OrderConfirmed(payload=new_order(name))


class Archivist(Organ[OrderConfirmed]):
    """Takes what was confirmed."""

    listens_to = (OrderConfirmed,)

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally = tally

    async def handle(self, event: OrderConfirmed) -> None:
        """Count the event."""
        self.tally.count(event.payload.order_id, 1)


class WaitingConfirmer(Confirmer):
    """Waits, then confirms what was placed."""

    timeout = TIMEOUT

    async def handle(self, event: OrderPlaced) -> OrderConfirmed:
        """Let the others run first."""
        await asyncio.sleep(0)
        return await super().handle(event)


class WaitingArchivist(Archivist):
    """Waits, then takes what was confirmed."""

    timeout = TIMEOUT

    async def handle(self, event: OrderConfirmed) -> None:
        """Let the others run first."""
        await asyncio.sleep(0)
        await super().handle(event)


class UntypedConfirmer(Organ):
    """Confirms what was placed, on plain events."""

    listens_to = ("PLAIN_ORDER_PLACED",)

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally = tally

    async def handle(self, event: Event) -> Event:
        """Count the event and emit the next."""
        name = event.payload["order_id"]
        self.tally.count(name)
        return Event(event_type="PLAIN_ORDER_CONFIRMED", payload=order_fields(name))


class UntypedArchivist(Organ):
    """Takes what was confirmed, on plain events."""

    listens_to = ("PLAIN_ORDER_CONFIRMED",)

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally = tally

    async def handle(self, event: Event) -> None:
        """Count the event."""
        self.tally.count(event.payload["order_id"], 1)


class Listener(Organ[OrderPlaced]):
    """One of several that take what was placed."""

    listens_to = (OrderPlaced,)

    def __init__(self, tally: Tally, number: int) -> None:
        super().__init__(name=f"Listener{number}")
        self.tally = tally
        self.number = number

    async def handle(self, event: OrderPlaced) -> None:
        """Count the event."""
        self.tally.count(event.payload.order_id, self.number)


def _placed(name: str) -> Event:
    return OrderPlaced(payload=new_order(name))


def _check(report: RunReport, *, handled: int, emitted: int) -> None:
    if (report.handled, report.emitted) != (handled, emitted):
        msg = f"{report.handled} handled and {report.emitted} emitted events instead of {handled} and {emitted}"
        raise AssertionError(msg)


async def filled(n: int) -> InMemoryBackend:
    """Queue n events, some at a time: who calls holds none of those that are queued."""
    backend = InMemoryBackend()
    for start in range(0, n, _BULK):
        await backend.enqueue(*[_placed(order_id(number)) for number in range(start, min(start + _BULK, n))])
    return backend


async def drain(backend: InMemoryBackend, tally: Tally) -> None:
    """Run until idle."""
    queued = (await backend.admin.stats()).queued
    report = await Spine(organs=[Confirmer(tally), Archivist(tally)], backend=backend).run_until_idle()
    _check(report, handled=2 * queued, emitted=queued)


async def prefilled(n: int, tally: Tally) -> None:
    """Queue everything, then run until idle."""
    await drain(await filled(n), tally)


async def _stream(n: int, place: Callable[[str], Event], *organs: Organ[Any], concurrency: int = 1) -> RunReport:
    backend = InMemoryBackend(max_size=BOUND)
    spine = Spine(organs=organs, backend=backend, concurrency=concurrency)
    running = asyncio.create_task(spine.run())
    await asyncio.sleep(0)  # it has begun
    for number in range(n):
        event = place(order_id(number))
        while not await _accepted(backend, event):  # noqa: ASYNC110 -- the documented way to wait for room
            await asyncio.sleep(0)
    spine.stop_when_idle()
    return await running


async def _accepted(backend: InMemoryBackend, event: Event) -> bool:
    try:
        await backend.enqueue(event)
    except BackendFull:
        return False
    return True


async def streamed(n: int, tally: Tally) -> None:
    """Run while a producer keeps at most BOUND events ahead."""
    _check(await _stream(n, _placed, Confirmer(tally), Archivist(tally)), handled=2 * n, emitted=n)


async def untyped(n: int, tally: Tally) -> None:
    """The same with plain events."""

    def place(name: str) -> Event:
        return Event(event_type="PLAIN_ORDER_PLACED", payload=order_fields(name))

    report = await _stream(n, place, UntypedConfirmer(tally), UntypedArchivist(tally))
    _check(report, handled=2 * n, emitted=n)


async def concurrent(n: int, tally: Tally) -> None:
    """The same with CONCURRENCY handlers at once, each with a timeout."""
    organs = WaitingConfirmer(tally), WaitingArchivist(tally)
    _check(await _stream(n, _placed, *organs, concurrency=CONCURRENCY), handled=2 * n, emitted=n)


async def listened(n: int, tally: Tally) -> None:
    """The same with several organs for each event."""
    organs = [Listener(tally, number) for number in range(tally.handlers)]
    _check(await _stream(n, _placed, *organs), handled=n, emitted=0)

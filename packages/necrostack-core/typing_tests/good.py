"""Correct programs: neither mypy nor pyright finds anything wrong. Read by type checkers, never run."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, assert_type
from uuid import UUID

from pydantic import BaseModel
from typing_extensions import TypeVar

from necrostack import (
    Backend,
    DeadLetter,
    Delivery,
    Event,
    GiveUp,
    InMemoryBackend,
    MaxStepsExceeded,
    Organ,
    RetryLater,
    RetryPolicy,
    RunReport,
    Settlement,
    Spine,
    open_backend,
)

# --- events -------------------------------------------------------------------------------------------------


class Order(BaseModel, frozen=True, extra="forbid"):
    order_id: str
    amount: Decimal
    lines: tuple[str, ...] = ()


class OrderPlaced(Event):
    event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED"
    payload: Order


class Invoice(BaseModel, frozen=True):
    order_id: str


class Invoiced(Event):
    event_type: Literal["INVOICED"] = "INVOICED"
    payload: Invoice


class Noted(Event):
    event_type: Literal["NOTED"] = "NOTED"


class Tally(Event):
    event_type: Literal["TALLY"] = "TALLY"
    payload: dict[str, int]


PayloadT = TypeVar("PayloadT", bound=BaseModel)


class Wrapped(Event, Generic[PayloadT]):
    event_type: Literal["WRAPPED"] = "WRAPPED"
    payload: PayloadT


plain = Event(event_type="ORDER_PLACED", payload={"order_id": "1"})
placed = OrderPlaced(payload=Order(order_id="1", amount=Decimal(1)))
full = OrderPlaced(
    id=placed.id,
    timestamp=placed.timestamp,
    payload=placed.payload,
    correlation_id=placed.id,
    causation_id=None,
    hops=0,
    headers={"traceparent": "00"},
)
noted = Noted(payload={"text": "anything"})

assert_type(plain.payload, Any)
assert_type(plain.id, UUID)
assert_type(plain.timestamp, datetime)
assert_type(plain.event_type, str)
assert_type(plain.hops, int)
assert_type(plain.causation_id, UUID | None)
assert_type(plain.headers["traceparent"], str)
assert_type(placed.payload, Order)
assert_type(placed.payload.amount, Decimal)
assert_type(placed.event_type, Literal["ORDER_PLACED"])
assert_type(Tally(payload={"a": 1}).payload["a"], int)
assert_type(Wrapped(payload=Invoice(order_id="1")).payload, Invoice)
assert_type(placed.to_json(), bytes)
assert_type(Event.from_json(b"{}"), Event)
assert_type(OrderPlaced.from_json(b"{}"), OrderPlaced)
assert_type(OrderPlaced.model_validate({}), OrderPlaced)
assert_type(placed.model_copy(update={"hops": 1}), OrderPlaced)


# --- organs -------------------------------------------------------------------------------------------------


class Plain(Organ):
    listens_to = ["ORDER_PLACED"]

    def handle(self, event: Event) -> Event | None:
        assert_type(event.payload, Any)
        return Event(event_type="X", payload={"a": 1})


class Billing(Organ[OrderPlaced]):
    listens_to = [OrderPlaced]
    retry = RetryPolicy(max_attempts=5, base_delay=0.5, retry_on=(TimeoutError,), give_up_on=(KeyError,))
    timeout = 30.0

    async def handle(self, event: OrderPlaced) -> Invoiced | None:
        assert_type(event.payload.amount, Decimal)
        if event.payload.amount < 0:
            raise GiveUp("nothing to invoice")
        if not event.payload.lines:
            raise RetryLater(after=30.0)
        return Invoiced(payload=Invoice(order_id=event.payload.order_id))


class Audit(Organ[OrderPlaced | Invoiced]):
    listens_to = [OrderPlaced, Invoiced, "LEGACY"]

    def handle(self, event: OrderPlaced | Invoiced) -> list[Invoiced]:
        if event.event_type == "ORDER_PLACED":
            assert_type(event, OrderPlaced)
            return []
        assert_type(event, Invoiced)
        return [event]


class Tuples(Organ[OrderPlaced]):
    listens_to = (OrderPlaced, "X")

    async def handle(self, placed: OrderPlaced) -> tuple[Invoiced, OrderPlaced] | None:  # another name
        return None


class Sets(Organ[OrderPlaced]):
    listens_to = {OrderPlaced}

    def handle(self, event: OrderPlaced) -> Sequence[Event]:
        return ()


class Wide(Organ[OrderPlaced]):
    listens_to = [OrderPlaced]

    def handle(self, event: Event) -> None: ...


class Eager(Organ[OrderPlaced]):
    listens_to = [OrderPlaced]

    def handle(self, event: OrderPlaced) -> Awaitable[Invoiced | None]:
        return Billing().handle(event)


class Matching(Organ):
    listens_to = [OrderPlaced, Invoiced]

    def handle(self, event: Event) -> Event | list[Event] | None:
        match event:
            case OrderPlaced(payload=payload):
                assert_type(payload, Order)
                return None
            case Invoiced():
                return [event]
            case _:
                return None


EventT = TypeVar("EventT", bound=Event)


class Counting(Organ[EventT], Generic[EventT]):
    def __init__(self, start: int) -> None:
        super().__init__(name=f"counting from {start}")
        self.count = start

    def handle(self, event: EventT) -> None:
        self.count += 1


class CountingOrders(Counting[OrderPlaced]):
    listens_to = [OrderPlaced]


class WithHooks(Organ):
    listens_to = ["X"]

    async def startup(self) -> None:
        self.seen: list[Event] = []

    async def handle(self, event: Event) -> None:
        self.seen.append(event)

    async def shutdown(self) -> None:
        self.seen.clear()


# --- the spine and backends ---------------------------------------------------------------------------------

organs: list[Organ[Any]] = [Plain(), Billing(), CountingOrders(1)]
spine = Spine(
    organs=[Billing(), Audit(), Tuples(), Sets(), Wide(), Eager(), Matching(), WithHooks(), *organs],
    backend=InMemoryBackend(max_size=10, history=5),
    max_steps=None,
    max_hops=1000,
    deduplicate=False,
    retry=RetryPolicy(max_attempts=1),
    concurrency=1,
)
assert_type(Billing().name, str)
assert_type(open_backend("memory://"), Backend)


async def main() -> None:
    async with Spine([Plain(name="first"), Plain(name="second")]) as one:
        assert_type(await one.run_until_idle(plain, placed), RunReport)
        await one.emit(placed)
        one.stop()
    try:
        report = await spine.run()
    except MaxStepsExceeded as error:
        report = error.report
    assert_type(report.handled, int)
    assert_type(report.organs["Billing"].failed, int)


async def look(backend: Backend) -> None:
    await backend.enqueue(plain, placed, delay=1.5)
    for delivery in await backend.pull(limit=10, timeout=0.5):
        assert_type(delivery, Delivery)
        assert_type(delivery.event, Event)
        assert_type(await backend.settle(Settlement(delivery, emitted=[placed])), Sequence[bool])
        assert_type(await backend.ack(delivery), bool)
        await backend.release(delivery)
    async for letter in backend.admin.dead_letters(organ="Billing"):
        assert_type(letter, DeadLetter)
        assert_type(letter.event, Event | None)
        assert_type(await backend.admin.redrive(letter.id, payload={"a": 1}), int)
    assert_type((await backend.admin.stats()).queued, int)
    await backend.aclose()

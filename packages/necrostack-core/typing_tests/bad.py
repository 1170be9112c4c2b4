"""Usual mistakes: each line that ends with a mark is found wrong by mypy and by pyright, and no other one is.

Read by type checkers, never run.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from necrostack import Event, Organ, RetryLater, RetryPolicy, Spine


class Order(BaseModel, frozen=True, extra="forbid"):
    order_id: str
    amount: int


class OrderPlaced(Event):
    event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED"
    payload: Order


class Invoiced(Event):
    event_type: Literal["INVOICED"] = "INVOICED"
    payload: Order


class Billing(Organ[OrderPlaced]):
    listens_to = [OrderPlaced]

    def handle(self, event: OrderPlaced) -> None: ...


# --- handle -------------------------------------------------------------------------------------------------


class TakesAnother(Organ[OrderPlaced]):
    listens_to = [OrderPlaced]

    def handle(self, event: Invoiced) -> None: ...  # wrong


class TakesLess(Organ[OrderPlaced | Invoiced]):
    listens_to = [OrderPlaced, Invoiced]

    def handle(self, event: OrderPlaced) -> None: ...  # wrong


class TakesNoEvent(Organ):
    listens_to = ["X"]

    def handle(self, event: int) -> None: ...  # wrong


class TakesTheClass(Organ):
    listens_to = ["X"]

    def handle(self, event: type[Event]) -> None: ...  # wrong


class NarrowsWithoutSaying(Organ):
    listens_to = [OrderPlaced]

    def handle(self, event: OrderPlaced) -> None: ...  # wrong


class TakesTwo(Organ):
    listens_to = ["X"]

    def handle(self, event: Event, other: int) -> None: ...  # wrong


class TakesNone(Organ):
    listens_to = ["X"]

    def handle(self) -> None: ...  # wrong


class TakesByName(Organ):
    listens_to = ["X"]

    def handle(self, *, event: Event) -> None: ...  # wrong


class ReturnsNumber(Organ):
    listens_to = ["X"]

    def handle(self, event: Event) -> int:  # wrong
        return 1


class ReturnsText(Organ[OrderPlaced]):
    listens_to = [OrderPlaced]

    async def handle(self, event: OrderPlaced) -> str:  # wrong
        return ""


class ReturnsTheClass(Organ):
    listens_to = ["X"]

    def handle(self, event: Event) -> type[Invoiced]:  # wrong
        return Invoiced


class ReturnsTexts(Organ):
    listens_to = ["X"]

    def handle(self, event: Event) -> list[str]:  # wrong
        return []


class ReturnsPayload(Organ):
    listens_to = ["X"]

    def handle(self, event: Event) -> Order | None:  # wrong
        return None


class ReturnsDict(Organ):
    listens_to = ["X"]

    def handle(self, event: Event) -> dict[str, Any]:  # wrong
        return {}


class Yields(Organ):
    listens_to = ["X"]

    async def handle(self, event: Event):  # wrong
        yield event


class ReturnsSomethingElse(Organ):
    listens_to = ["X"]

    def handle(self, event: Event) -> Invoiced | None:
        return event  # wrong


class Untyped(Organ):
    listens_to = ["X"]

    def handle(self, event):  # wrong
        return None


class Missing(Organ):
    listens_to = ["X"]


Missing()  # wrong


class ReadsWhatIsNotThere(Organ[OrderPlaced]):
    listens_to = [OrderPlaced]

    def handle(self, event: OrderPlaced) -> None:
        print(event.payload.total)  # wrong


# --- the rest of an Organ -----------------------------------------------------------------------------------


class BareString(Organ):
    listens_to = "ORDER_PLACED"  # wrong

    def handle(self, event: Event) -> None: ...


class OneClass(Organ):
    listens_to = OrderPlaced  # wrong

    def handle(self, event: Event) -> None: ...


class Numbers(Organ):
    listens_to = [1, 2]  # wrong

    def handle(self, event: Event) -> None: ...


class OtherClasses(Organ):
    listens_to = [Order]  # wrong

    def handle(self, event: Event) -> None: ...


class RetryByNumber(Organ):
    listens_to = ["X"]
    retry = 3  # wrong

    def handle(self, event: Event) -> None: ...


class TimeoutAsText(Organ):
    listens_to = ["X"]
    timeout = "5 s"  # wrong

    def handle(self, event: Event) -> None: ...


class SyncHook(Organ):
    listens_to = ["X"]

    def startup(self) -> None: ...  # wrong

    def handle(self, event: Event) -> None: ...


class OfNoEvent(Organ[int]): ...  # wrong


Billing("billing")  # wrong
Billing(name=5)  # wrong
Spine([Billing])  # wrong
Spine([Order(order_id="1", amount=1)])  # wrong
Spine(Billing())  # wrong
Spine([Billing()], retry=3)  # wrong
Spine([Billing()], unrouted="drop")  # wrong
Spine([Billing()], max_step=5)  # wrong
RetryPolicy(max_attempts="3")  # wrong
RetryPolicy(retry_on=(int,))  # wrong
RetryLater()  # wrong


# --- events -------------------------------------------------------------------------------------------------

order = Order(order_id="1", amount=2)
placed = OrderPlaced(payload=order)
placed.event_type = "ORDER_PLACED"  # wrong
placed.payload = order  # wrong
placed.hops = 3  # wrong
plain = Event(event_type="X", payload={})
plain.payload = {}  # wrong
plain.event_type = "Y"  # wrong
placed.headers["trace"] = "1"  # wrong
OrderPlaced()  # wrong
OrderPlaced(order)  # wrong
OrderPlaced(event_type="NOPE", payload=order)  # wrong
OrderPlaced(payload=Billing())  # wrong
OrderPlaced(payload={"order_id": "1", "amount": 1})  # wrong
Event(payload={})  # wrong
Event(event_type="X", payload={}, bogus=1)  # wrong
Event(event_type=5, payload={})  # wrong
OrderPlaced(id="3f2b8a36-6d3c-4a67-9b53-0dc4a02b1a09", payload=order)  # wrong
OrderPlaced(timestamp="2024-01-01T00:00:00Z", payload=order)  # wrong
OrderPlaced(headers={"a": 1}, payload=order)  # wrong
OrderPlaced.from_json({})  # wrong


async def main() -> None:
    spine = Spine([Billing()])
    await spine.emit(OrderPlaced)  # wrong
    await spine.run(order)  # wrong
    await spine.emit([placed])  # wrong
    handled: str = (await spine.run(placed)).handled  # wrong
    print(handled)

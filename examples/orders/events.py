"""What happens in the shop. Money is in cents; nothing here knows who listens."""

from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field

from necrostack import Event


class Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Card(Fact):
    kind: Literal["card"] = "card"
    number: str


class Transfer(Fact):
    """The customer sends the money: later, or never."""

    kind: Literal["transfer"] = "transfer"
    iban: str


class GiftCard(Fact):
    kind: Literal["gift card"] = "gift card"
    code: str


class Line(Fact):
    sku: str
    pieces: int = Field(gt=0)
    price: int = Field(ge=0)


class Order(Fact):
    order: int
    customer: str
    lines: tuple[Line, ...] = Field(min_length=1)
    means: Annotated[Card | Transfer | GiftCard, Field(discriminator="kind")]

    @property
    def total(self) -> int:
        return sum(line.pieces * line.price for line in self.lines)


class OrderReceived(Event):
    event_type: Literal["ORDER_RECEIVED"] = "ORDER_RECEIVED"
    payload: Order


class Money(Fact):
    """An amount for an order, and the account of ours that it is on; with the card, if it is on the provider's."""

    order: int
    cents: int = Field(ge=0)
    account: Literal["provider", "bank", "gift cards"] = "bank"
    card: str = ""


class MoneyArrived(Event):
    event_type: Literal["MONEY_ARRIVED"] = "MONEY_ARRIVED"
    payload: Money


class PaymentTaken(Event):
    event_type: Literal["PAYMENT_TAKEN"] = "PAYMENT_TAKEN"
    payload: Money


class Refusal(Fact):
    order: int
    why: str


class PaymentRefused(Event):
    event_type: Literal["PAYMENT_REFUSED"] = "PAYMENT_REFUSED"
    payload: Refusal


class StockShort(Event):
    event_type: Literal["STOCK_SHORT"] = "STOCK_SHORT"
    payload: Refusal


class Number(Fact):
    order: int


class StockReserved(Event):
    event_type: Literal["STOCK_RESERVED"] = "STOCK_RESERVED"
    payload: Number


class OrderShipped(Event):
    event_type: Literal["ORDER_SHIPPED"] = "ORDER_SHIPPED"
    payload: Money


class OrderCancelled(Event):
    event_type: Literal["ORDER_CANCELLED"] = "ORDER_CANCELLED"
    payload: Money


class Refunded(Event):
    event_type: Literal["REFUNDED"] = "REFUNDED"
    payload: Money


class PaymentOverdue(Event):
    event_type: Literal["PAYMENT_OVERDUE"] = "PAYMENT_OVERDUE"
    payload: Number


def after(cause: Event, what: str) -> UUID:
    """The id of the event that says `what` followed from `cause`.

    The same cause gives the same id: also when it is handled again, and when a feed brings it a second time. So whoever
    has entered an event under its id need not ask where it came from.
    """
    return uuid5(cause.id, what)

"""Where money moves. Each of these may run twice for one event, and moves the money once."""

from dataclasses import dataclass
from typing import Final

from examples.orders.events import (
    Card,
    GiftCard,
    Money,
    MoneyArrived,
    OrderCancelled,
    OrderReceived,
    PaymentRefused,
    PaymentTaken,
    Refunded,
    Refusal,
    after,
)
from examples.orders.provider import CardDeclinedError, Provider
from necrostack import Event, Organ, RetryPolicy

PATIENTLY: Final = RetryPolicy(max_attempts=6, base_delay=0.02, max_delay=0.3, retry_on=(ConnectionError, TimeoutError))
"""For a provider that comes back. Any other error, such as an unknown card, is a dead letter at once."""


def key_of(event: Event) -> str:
    """The key by which the provider knows a request again: the event's id is the same on every attempt."""
    return str(event.id)


@dataclass
class Payments(Organ[OrderReceived | MoneyArrived]):
    """Takes the money for an order: from a card, from a gift card, or from the bank, where it comes by itself."""

    provider: Provider

    listens_to = [OrderReceived, MoneyArrived]
    retry = PATIENTLY

    async def handle(self, event: OrderReceived | MoneyArrived) -> PaymentTaken | PaymentRefused | None:
        if isinstance(event, MoneyArrived):
            return PaymentTaken(id=after(event, "paid"), payload=event.payload)
        order = event.payload
        match order.means:
            case Card(number=card):
                money = Money(order=order.order, cents=order.total, account="provider", card=card)
            case GiftCard():
                money = Money(order=order.order, cents=order.total, account="gift cards")
            case _:  # a transfer: MONEY_ARRIVED comes, or never does
                return None
        try:
            if money.card:
                await self.provider.move(key_of(event), money.card, money.cents)
        except CardDeclinedError:
            refusal = Refusal(order=order.order, why="the card was declined")
            return PaymentRefused(id=after(event, "refused"), payload=refusal)
        return PaymentTaken(id=after(event, "paid"), payload=money)


@dataclass
class Refunds(Organ[OrderCancelled]):
    """Gives back what was paid for an order that is cancelled."""

    provider: Provider

    listens_to = [OrderCancelled]
    retry = PATIENTLY

    async def handle(self, event: OrderCancelled) -> Refunded | None:
        money = event.payload
        if money.cents == 0:
            return None
        if money.card:
            await self.provider.move(key_of(event), money.card, -money.cents)
        return Refunded(id=after(event, "refunded"), payload=money)

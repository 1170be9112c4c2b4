"""The rest of the shop: its shelves, the meeting of payment and stock, the reminder, and the ledger."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from examples.orders.books import Books
from examples.orders.events import (
    Money,
    Number,
    OrderCancelled,
    OrderReceived,
    OrderShipped,
    PaymentOverdue,
    PaymentRefused,
    PaymentTaken,
    Refunded,
    Refusal,
    StockReserved,
    StockShort,
    Transfer,
    after,
)
from necrostack import Organ, RetryLater, RetryPolicy

BUSY: Final = RetryPolicy(max_attempts=10, base_delay=0.05, retry_on=(sqlite3.OperationalError,))
"""For books in which another worker is writing for long."""


@dataclass
class Stock(Organ[OrderReceived]):
    """Puts the pieces of an order aside."""

    books: Books

    listens_to = [OrderReceived]
    retry = BUSY

    def handle(self, event: OrderReceived) -> StockReserved | StockShort:
        order = event.payload
        missing = self.books.reserve(order)
        if missing is not None:
            refusal = Refusal(order=order.order, why=f"{missing} is sold out")
            return StockShort(id=after(event, "short"), payload=refusal)
        return StockReserved(id=after(event, "reserved"), payload=Number(order=order.order))


@dataclass
class Fulfilment(Organ[PaymentTaken | PaymentRefused | StockReserved | StockShort]):
    """Waits for two events of each order, which come in any order, from any worker. The second decides."""

    books: Books

    listens_to = [PaymentTaken, PaymentRefused, StockReserved, StockShort]
    retry = BUSY

    def handle(
        self, event: PaymentTaken | PaymentRefused | StockReserved | StockShort
    ) -> OrderShipped | OrderCancelled | None:
        number = event.payload.order
        match event:
            case PaymentTaken(payload=money):
                decided = self.books.note_payment(event.id, money)
            case PaymentRefused():
                decided = self.books.note_payment(event.id, Money(order=number, cents=0))
            case StockReserved() | StockShort():
                decided = self.books.note_stock(event.id, number, in_stock=isinstance(event, StockReserved))
        if decided is None:
            return None
        money, in_stock = decided
        if in_stock and money.cents:
            return OrderShipped(id=after(event, "shipped"), payload=money)
        return OrderCancelled(id=after(event, "cancelled"), payload=money)


@dataclass
class Restock(Organ[OrderCancelled]):
    """Puts the pieces of a cancelled order back."""

    books: Books

    listens_to = [OrderCancelled]
    retry = BUSY

    def handle(self, event: OrderCancelled) -> None:
        self.books.put_back(event.payload.order)


@dataclass
class Deadline(Organ[OrderReceived]):
    """Looks after some time whether the money for an order came. `RetryLater` is the alarm clock.

    Attributes:
        books: Where it looks.
        patience: How long a customer has for a transfer.
        now: What time it is.
    """

    books: Books
    patience: timedelta
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    listens_to = [OrderReceived]

    def handle(self, event: OrderReceived) -> PaymentOverdue | None:
        if not isinstance(event.payload.means, Transfer):
            return None
        left = event.timestamp + self.patience - self.now()
        if left > timedelta():
            raise RetryLater(left.total_seconds(), "it is not time yet")
        if not self.books.is_waiting(event.payload.order):
            return None
        return PaymentOverdue(id=after(event, "overdue"), payload=Number(order=event.payload.order))


@dataclass
class Reminders(Organ[PaymentOverdue]):
    """Reminds the customer; here, notes that it would."""

    books: Books

    listens_to = [PaymentOverdue]
    retry = BUSY

    def handle(self, event: PaymentOverdue) -> None:
        self.books.note_reminder(event.payload.order)


@dataclass
class Ledger(Organ[PaymentTaken | OrderShipped | Refunded]):
    """Enters what moved, in double entry: money that came belongs to the customer until the goods have left.

    Attributes:
        books: Where it enters it.
        when_done: Called when a run is over.
    """

    books: Books
    when_done: Callable[[], object] = lambda: None

    listens_to = [PaymentTaken, OrderShipped, Refunded]
    retry = BUSY

    def handle(self, event: PaymentTaken | OrderShipped | Refunded) -> None:
        money = event.payload
        match event:
            case PaymentTaken():
                self.books.post(event.id, money.account, "customers", money.cents)
            case OrderShipped():
                self.books.post(event.id, "customers", "sales", money.cents)
            case Refunded():
                self.books.post(event.id, "customers", money.account, money.cents)

    async def shutdown(self) -> None:
        self.when_done()

"""lato: a mediator that awaits the handlers of each event inside a transaction context. It keeps no queue."""

from datetime import datetime
from uuid import UUID, uuid4

import lato
from pydantic import Field

from benchmarks.envelope import utc_now
from benchmarks.orders import Order, Tally, new_order, order_id


class OrderPlaced(lato.Event):
    """Published by the producer."""

    id: UUID = Field(default_factory=uuid4)
    timestamp: datetime = Field(default_factory=utc_now)
    payload: Order


class OrderConfirmed(lato.Event):
    """Published by the handler of OrderPlaced."""

    id: UUID = Field(default_factory=uuid4)
    timestamp: datetime = Field(default_factory=utc_now)
    payload: Order


async def inline(n: int, tally: Tally) -> None:
    """Await the handlers of each event as it is published."""
    app = lato.Application("orders")

    async def on_placed(event: OrderPlaced, ctx: lato.TransactionContext) -> None:
        name = event.payload.order_id
        tally.count(name)
        await ctx.publish_async(OrderConfirmed(payload=new_order(name)))

    async def on_confirmed(event: OrderConfirmed) -> None:
        tally.count(event.payload.order_id, 1)

    app.handler(OrderPlaced)(on_placed)
    app.handler(OrderConfirmed)(on_confirmed)
    for number in range(n):
        await app.publish_async(OrderPlaced(payload=new_order(order_id(number))))

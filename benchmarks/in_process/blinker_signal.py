"""blinker: signals whose receivers are awaited one after the other. It keeps no queue and no events."""

from blinker import Signal

from benchmarks.envelope import OrderConfirmed, OrderPlaced
from benchmarks.orders import Tally, new_order, order_id


async def inline(n: int, tally: Tally) -> None:
    """Await the receivers of each signal as it is sent."""
    placed, confirmed = Signal("ORDER_PLACED"), Signal("ORDER_CONFIRMED")

    async def on_placed(sender: object, event: OrderPlaced) -> None:
        name = event.payload.order_id
        tally.count(name)
        await confirmed.send_async(event=OrderConfirmed(payload=new_order(name)))

    async def on_confirmed(sender: object, event: OrderConfirmed) -> None:
        tally.count(event.payload.order_id, 1)

    placed.connect(on_placed)
    confirmed.connect(on_confirmed)
    for number in range(n):
        await placed.send_async(event=OrderPlaced(payload=new_order(order_id(number))))

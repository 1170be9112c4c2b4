"""bubus: an event bus with a queue, and a history of events and results; its events are envelopes too."""

from bubus import BaseEvent, EventBus

from benchmarks.orders import Order, Tally, new_order, order_id


class OrderPlaced(BaseEvent[None]):
    """Dispatched by the producer."""

    payload: Order


class OrderConfirmed(BaseEvent[None]):
    """Dispatched by the handler of OrderPlaced."""

    payload: Order


def _subscribe(bus: EventBus, tally: Tally) -> None:
    async def on_placed(event: OrderPlaced) -> None:
        name = event.payload.order_id
        tally.count(name)
        bus.dispatch(OrderConfirmed(payload=new_order(name)))

    async def on_confirmed(event: OrderConfirmed) -> None:
        tally.count(event.payload.order_id, 1)

    bus.on(OrderPlaced, on_placed)
    bus.on(OrderConfirmed, on_confirmed)


async def prefilled(n: int, tally: Tally) -> None:
    """Dispatch everything, then wait until idle; a bounded history would refuse more than 100 events."""
    bus = EventBus(max_history_size=None)
    _subscribe(bus, tally)
    for number in range(n):
        bus.dispatch(OrderPlaced(payload=new_order(order_id(number))))
    await bus.wait_until_idle()
    await bus.stop()


async def streamed(n: int, tally: Tally) -> None:
    """Wait after each 40 events: the bus takes no more than 50, and each is a walk through its history."""
    bus = EventBus(max_history_size=5)
    _subscribe(bus, tally)
    for number in range(n):
        bus.dispatch(OrderPlaced(payload=new_order(order_id(number))))
        if number % 40 == 39:
            await bus.wait_until_idle()
    await bus.wait_until_idle()
    await bus.stop()

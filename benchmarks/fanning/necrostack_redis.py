"""NecroStack with its Redis backend, everything at its defaults."""

from collections.abc import Sequence
from typing import Literal

from benchmarks.durable.necrostack_redis import OrderPlaced, OrderShipped, fill, run
from benchmarks.durable.progress import Progress
from benchmarks.fanning import PARTS, Join, Part
from benchmarks.orders import Order
from necrostack import Event, Organ

__all__ = ["fan_out", "fill", "join"]


class PartReserved(Event):
    """Emitted for each part of an order."""

    event_type: Literal["PART_RESERVED"] = "PART_RESERVED"
    payload: Part


class OrderPaid(Event):
    """One half of what must be there before an order goes."""

    event_type: Literal["ORDER_PAID"] = "ORDER_PAID"
    payload: Order


class OrderPacked(Event):
    """The other half."""

    event_type: Literal["ORDER_PACKED"] = "ORDER_PACKED"
    payload: Order


class Reserver(Organ[OrderPlaced]):
    """Takes an order apart."""

    listens_to = (OrderPlaced,)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    async def handle(self, event: OrderPlaced) -> Sequence[PartReserved]:
        """Count the event and emit its parts."""
        self.progress.count(event.payload.order_id, 0)
        parts = (Part(number=number, order=event.payload) for number in range(1, PARTS + 1))
        return [PartReserved(payload=part) for part in parts]


class Storekeeper(Organ[PartReserved]):
    """Takes each part."""

    listens_to = (PartReserved,)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    async def handle(self, event: PartReserved) -> None:
        """Count the part."""
        self.progress.count(event.payload.order.order_id, event.payload.number)


class Splitter(Organ[OrderPlaced]):
    """Starts both halves."""

    listens_to = (OrderPlaced,)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    async def handle(self, event: OrderPlaced) -> Sequence[OrderPaid | OrderPacked]:
        """Count the event and emit both."""
        self.progress.count(event.payload.order_id, 0)
        return OrderPaid(payload=event.payload), OrderPacked(payload=event.payload)


class Shipper(Organ[OrderPaid | OrderPacked]):
    """Ships what is both paid and packed."""

    listens_to = (OrderPaid, OrderPacked)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress
        self.halves = Join()

    async def handle(self, event: OrderPaid | OrderPacked) -> OrderShipped | None:
        """Count the half; emit with the second."""
        name = event.payload.order_id
        self.progress.count(name, 1 if isinstance(event, OrderPaid) else 2)
        return OrderShipped(payload=event.payload) if self.halves.completes(name) else None


class Closer(Organ[OrderShipped]):
    """Takes what was shipped, the last step."""

    listens_to = (OrderShipped,)

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    async def handle(self, event: OrderShipped) -> None:
        """Count the event."""
        self.progress.count(event.payload.order_id, 3)


async def fan_out(url: str, progress: Progress) -> None:
    """One order, many parts."""
    await run(url, progress, Reserver(progress), Storekeeper(progress))


async def join(url: str, progress: Progress) -> None:
    """One order, two halves, one end."""
    await run(url, progress, Splitter(progress), Shipper(progress), Closer(progress))

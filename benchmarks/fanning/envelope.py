"""The events of W3f for whoever brings no envelope."""

from typing import Literal

from benchmarks.envelope import Envelope
from benchmarks.fanning import Part
from benchmarks.orders import Order


class PartReserved(Envelope, frozen=True):
    """Emitted for each part of an order."""

    event_type: Literal["PART_RESERVED"] = "PART_RESERVED"
    payload: Part


class OrderPaid(Envelope, frozen=True):
    """One half of what must be there before an order goes."""

    event_type: Literal["ORDER_PAID"] = "ORDER_PAID"
    payload: Order


class OrderPacked(Envelope, frozen=True):
    """The other half."""

    event_type: Literal["ORDER_PACKED"] = "ORDER_PACKED"
    payload: Order

"""The least that an event needs, hand-written: for the limit, and for peers that bring no envelope."""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, Field, JsonValue

from benchmarks.orders import Order


def utc_now() -> datetime:
    """Say what time it is."""
    return datetime.now(UTC)


class Envelope(BaseModel, frozen=True):
    """An id, a time and a routing key; subclasses say the payload."""

    id: UUID = Field(default_factory=uuid4)
    timestamp: datetime = Field(default_factory=utc_now)
    event_type: str


class Untyped(Envelope, frozen=True):
    """One class for every event type; its payload is any JSON object."""

    payload: dict[str, JsonValue]


class OrderPlaced(Envelope, frozen=True):
    """Emitted by the producer."""

    event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED"
    payload: Order


class OrderConfirmed(Envelope, frozen=True):
    """Emitted by the handler of OrderPlaced."""

    event_type: Literal["ORDER_CONFIRMED"] = "ORDER_CONFIRMED"
    payload: Order


class OrderShipped(Envelope, frozen=True):
    """Emitted by the handler of OrderConfirmed, where an order goes on."""

    event_type: Literal["ORDER_SHIPPED"] = "ORDER_SHIPPED"
    payload: Order

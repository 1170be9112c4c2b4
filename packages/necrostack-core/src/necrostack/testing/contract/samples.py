"""The events and Organs of the contract suite."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel

from necrostack.event import Event

NUMBERED = "necrostack.contract.numbered"
CHILD = "necrostack.contract.child"


class Line(BaseModel, frozen=True):
    """One line of an order."""

    sku: str
    quantity: int
    price: Decimal


class Order(BaseModel, frozen=True):
    """What is not only made of JSON's own types."""

    number: int
    placed_at: datetime
    lines: tuple[Line, ...]


class Ordered(Event):
    """A typed event."""

    event_type: Literal["necrostack.contract.ordered"] = "necrostack.contract.ordered"
    payload: Order


def numbered(number: int, event_type: str = NUMBERED, **more: Any) -> Event:
    """Make a plain event."""
    return Event(event_type=event_type, payload={"number": number, **more})


def several(count: int, event_type: str = NUMBERED) -> list[Event]:
    """Make plain events with the numbers from 0."""
    return [numbered(number, event_type) for number in range(count)]


def ordered(number: int = 1) -> Ordered:
    """Make a typed event."""
    line = Line(sku="käse-🧀", quantity=2, price=Decimal("19.90"))
    moment = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    return Ordered(payload=Order(number=number, placed_at=moment, lines=(line, line)))


def ordered_plainly(number: int = 1) -> Event:
    """Make the plain event that is the same as a typed one."""
    return Event.model_validate(ordered(number).model_dump(mode="json"))


def misfit() -> Event:
    """Make a plain event that is not what its event type says."""
    return Event(event_type="necrostack.contract.ordered", payload={"number": "no number"})

"""Declared events of many kinds, so that what is read is not always a plain one."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from necrostack import Event


class Card(BaseModel, frozen=True):
    by: Literal["card"]
    number: str


class Invoice(BaseModel, frozen=True):
    by: Literal["invoice"]
    due: date


class Line(BaseModel, frozen=True):
    sku: str
    count: int
    price: Decimal


class Order(BaseModel, frozen=True):
    number: UUID
    at: datetime
    lines: tuple[Line, ...]
    payment: Annotated[Card | Invoice, Field(discriminator="by")]
    tags: frozenset[str] = frozenset()
    waits: timedelta | None = None


class Ordered(Event):
    event_type: Literal["FUZZ_ORDERED"] = "FUZZ_ORDERED"
    payload: Order


class Measure(BaseModel, frozen=True):
    value: float
    beside: Any = None


class Measured(Event):
    """Its payload admits what JSON has not, so it is looked at again."""

    event_type: Literal["FUZZ_MEASURED"] = "FUZZ_MEASURED"
    payload: Measure


class Counted(Event):
    event_type: Literal["FUZZ_COUNTED"] = "FUZZ_COUNTED"
    payload: dict[str, list[int]]

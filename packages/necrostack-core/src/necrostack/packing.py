"""Events that wait in numbers: packed into what the garbage collector passes by.

An event is a dozen objects that the collector walks again and again while they wait: with a million queued, for seconds
at a time. What an event is packed into are numbers, text and bytes, which it does not look at.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from pydantic_core import from_json

from necrostack.event import Event, can_be_read_from_parts, event_from_parts
from necrostack.ids import id_of
from necrostack.payload import NO_HEADERS, FrozenDict

Packed: TypeAlias = tuple[str, bytes, datetime, int, int, int | None, int, tuple[str, ...]]
"""Event type, payload as JSON, timestamp, id, correlation id, causation id, hops; the headers' names and values.

No class: only of exact tuples does the collector find out that there is nothing in them to walk.
"""


def pack(event: Event, payload: bytes) -> Packed | Event:
    """Pack an event, or return it where more than reading its payload may be needed to have it again.

    Args:
        event: One of its declared class.
        payload: Its payload as JSON.
    """
    if not can_be_read_from_parts(event):
        return event
    causation_id, headers = event.causation_id, event.headers
    return (
        event.event_type,
        payload,
        event.timestamp,
        event.id.int,
        event.correlation_id.int,
        None if causation_id is None else causation_id.int,
        event.hops,
        tuple(part for pair in headers.items() for part in pair) if headers else (),
    )


def unpack(packed: Packed) -> Event:
    """Return the event: of its declared class, or else a plain one that `as_declared` has to look at."""
    event_type, payload, timestamp, number, correlation, causation, hops, parts = packed
    event_id = id_of(number)
    correlation_id = event_id if correlation == number else id_of(correlation)
    causation_id = None if causation is None else id_of(causation)
    headers = FrozenDict(zip(parts[::2], parts[1::2], strict=True)) if parts else NO_HEADERS
    event = event_from_parts(event_type, payload, timestamp, event_id, correlation_id, causation_id, hops, headers)
    if event is not None:
        return event
    return Event.model_construct(
        event_type=event_type,
        payload=from_json(payload),
        timestamp=timestamp,
        id=event_id,
        correlation_id=correlation_id,
        causation_id=causation_id,
        hops=hops,
        headers=headers,
    )

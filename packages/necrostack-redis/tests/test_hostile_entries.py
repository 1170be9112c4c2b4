"""What anybody may have put into a stream: told what it is, as what it must be, before memory is spent on it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack import Event
from necrostack.delivery import Attempt, DeadLetter
from necrostack.errors import EventError, EventTooLarge
from necrostack.event import MAX_EVENT_SIZE, admit
from necrostack_redis.wire import (
    FormatError,
    Record,
    event_record,
    read_delivery,
    read_event,
    read_kept_event,
    read_letter,
    size_to_look_at,
)

LARGE = 50 * 2**20
"""Bytes of what somebody put there."""

NAMES = (b"v", b"id", b"type", b"time", b"lineage", b"headers", b"payload")


def entry(record: Record) -> list[bytes]:
    return [part if isinstance(part, bytes) else part.encode() for part in record]


def an_event(**changes: bytes) -> list[bytes]:
    """The entry of an event, with other values in some fields."""
    fields = entry(event_record(*admit(Event(event_type="A", payload={"a": 1}), MAX_EVENT_SIZE)))
    for name, value in changes.items():
        fields[fields.index(name.encode()) + 1] = value
    return fields


@contextmanager
def at_most(size: float) -> Iterator[None]:
    """Fail if it takes more bytes of memory at any time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size


# --- sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [b"id", b"type", b"time", b"lineage", b"headers", b"payload"])
def test_an_entry_that_is_far_too_large_is_refused_before_anything_is_made_of_it(field: bytes) -> None:
    fields = an_event(**{field.decode(): b"x" * LARGE})
    # Some are made text of, and looked at: that is all.
    most = 1.1 * LARGE if field in (b"id", b"time", b"lineage") else 100_000

    with at_most(most), pytest.raises(EventError, match=r"too large|bytes; 255 characters are allowed"):
        read_event(fields, MAX_EVENT_SIZE)
    with at_most(most):
        assert read_kept_event(fields) is None


def test_long_event_types_are_not_remembered() -> None:
    with at_most(5 * 2**20):
        for number in range(50):
            with pytest.raises(FormatError, match="the event type has 1000000 bytes; 255 characters are allowed"):
                read_event(an_event(type=b"%06d" % number + b"x" * 999_994), 2 * MAX_EVENT_SIZE)


@pytest.mark.parametrize("letter", ["A", "é", "€", "😀", '"', "\\"])
@pytest.mark.parametrize("headers", [{}, {"trace": "on"}])
def test_what_is_admitted_is_read_however_its_type_is_written(letter: str, headers: dict[str, str]) -> None:
    size = len(json.dumps(headers, separators=(",", ":"))) if headers else 0
    event = Event(
        event_type=letter * 255, payload={"a": "x" * (MAX_EVENT_SIZE - size - len('{"a":""}'))}, headers=headers
    )

    fields = entry(event_record(*admit(event, MAX_EVENT_SIZE)))

    assert read_event(fields, MAX_EVENT_SIZE) == event


def test_what_is_beside_an_event_is_bounded_too() -> None:
    fields = [*an_event(), b"delivery", b"[" + b"{}," * (LARGE // 3) + b"{}]"]

    with at_most(100_000):
        delivery = read_delivery(fields, MAX_EVENT_SIZE, None, recovered=False)

    with pytest.raises(EventError, match=r"its field 'delivery' cannot be read: it has .* bytes; 4194304 are allowed"):
        _ = delivery.event


def test_what_is_in_a_letter_is_bounded_too() -> None:
    large = [*an_event(), b"letter", b"[" * LARGE, b"dead_at", b"1"]
    many = [b"packed", b"[" + b"[]," * (LARGE // 3) + b"[]]"]

    with at_most(100_000):
        letter, packed = read_letter(b"1-1", large, None), read_letter(b"1-1", many, None)

    assert (letter.reason, letter.event is None) == ("undecodable", False)
    assert "4194304 are allowed" in letter.error
    assert packed.raw is not None
    assert [*packed.raw] == [b"packed"]


def test_a_large_event_is_looked_at_though_it_could_not_be_handled() -> None:
    large = Event(event_type="A", payload={"a": "x" * 3 * MAX_EVENT_SIZE})
    fields = entry(event_record(*admit(large, 4 * MAX_EVENT_SIZE)))

    with pytest.raises(EventTooLarge):
        read_event(fields, MAX_EVENT_SIZE)
    assert read_kept_event(fields, size_to_look_at(MAX_EVENT_SIZE)) == large
    assert size_to_look_at(64 * MAX_EVENT_SIZE) == 64 * MAX_EVENT_SIZE


# --- kinds --------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
attempts = st.lists(
    st.tuples(st.sampled_from(["2026-03-01T12:00:00", "2026-03-01T12:00:00Z", "never"]), anything, anything)
)
facts = st.fixed_dictionaries(
    {name: st.text(max_size=5) | anything for name in ("reason", "organ", "error_type", "error", "traceback")}
    | {"attempts": attempts | anything}
)
ids = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)).map(lambda parts: b"%d-%d" % parts)


@given(ids, facts, st.sampled_from([b"1", b"", b"x", b"9" * 5000, b"-1", str(10**30).encode(), b"-" + b"9" * 20]))
def test_a_letter_is_what_it_must_be_whoever_wrote_it(letter_id: bytes, told: dict[str, Any], dead_at: bytes) -> None:
    letter = read_letter(letter_id, [*an_event(), b"letter", json.dumps(told).encode(), b"dead_at", dead_at], None)

    assert_as_declared(letter)
    assert letter.event is not None


@given(ids, st.lists(st.sampled_from([*NAMES, b"letter", b"delivery", b"dead_at", b"packed"]) | st.binary(max_size=9)))
def test_any_entry_may_be_looked_at_as_a_letter(letter_id: bytes, fields: Sequence[bytes]) -> None:
    assert_as_declared(read_letter(letter_id, fields, None))


def assert_as_declared(letter: DeadLetter) -> None:
    for name in ("id", "reason", "error_type", "error", "traceback"):
        assert type(getattr(letter, name)) is str
    assert letter.organ is None or type(letter.organ) is str
    assert type(letter.dead_at) is datetime
    assert letter.dead_at.tzinfo is not None
    for attempt in letter.attempts:
        assert type(attempt) is Attempt
        assert (type(attempt.time), type(attempt.error)) == (datetime, str)
        assert attempt.delay is None or type(attempt.delay) is float

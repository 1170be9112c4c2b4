"""Entries of streams: what is written can be read, and what cannot be read says why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, Self
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, model_validator

from necrostack import Event
from necrostack.delivery import Attempt, Failure
from necrostack.errors import EventError, EventTooLarge
from necrostack.event import MAX_EVENT_SIZE, admit, declared_class, event_from_json
from necrostack_redis.wire import (
    FormatError,
    Record,
    _envelope,
    _event_of,
    call_digest,
    check_fits,
    delivery_record,
    event_record,
    letter_record,
    milliseconds,
    moment,
    read_delivery,
    read_event,
    read_kept_event,
    read_letter,
    scheduled_entry,
    until,
)


class Price(BaseModel, frozen=True):
    amount: Decimal


class Priced(Event):
    event_type: Literal["wire.priced"] = "wire.priced"
    payload: Price


TIME = datetime(2026, 3, 4, 5, 6, 7, 891, tzinfo=UTC)
ATTEMPTS = (Attempt(TIME, "TimeoutError: lone \ud800 surrogate", 1.5), Attempt(TIME, "ValueError: «nein»", None))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def is_free(text: str) -> bool:
    """Whether a text may be an event type, and no class of another test declares it."""
    return bool(text.strip()) and text.isprintable() and declared_class(text.strip()) is Event


events = st.builds(
    Event,
    event_type=st.text(min_size=1, max_size=255).filter(is_free),
    payload=st.dictionaries(st.text(), json_values, max_size=4),
    headers=st.dictionaries(st.text(), st.text(), max_size=3),
    timestamp=st.datetimes(timezones=st.just(UTC)),
    correlation_id=st.uuids(),
    causation_id=st.none() | st.uuids(),
    hops=st.integers(0, 2**53 - 1),
)

# With lone surrogates, as an error's text may have them.
texts = st.text(max_size=10) | st.sampled_from(["\ud800", "\0", "«nein»"])
attempts = st.lists(
    st.builds(
        Attempt,
        time=st.datetimes(timezones=st.just(UTC)),
        error=texts,
        delay=st.none() | st.floats(0, 1e9),
    ),
    max_size=3,
).map(tuple)


def written(event: Event) -> Record:
    return event_record(*admit(event, MAX_EVENT_SIZE))


def entry(record: Record) -> list[bytes]:
    """What a server makes of a record."""
    return [part if isinstance(part, bytes) else part.encode() for part in record]


def changed(record: Record, **values: bytes | None) -> list[bytes]:
    """A record's entry with fields changed, or left out."""
    found = dict(zip(entry(record)[::2], entry(record)[1::2], strict=True))
    for name, value in values.items():
        if value is None:
            del found[name.encode()]
        else:
            found[name.encode()] = value
    return [part for pair in found.items() for part in pair]


@given(events)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    again = read_event(entry(written(event)), MAX_EVENT_SIZE)

    assert again == event
    assert dict(again.headers) == dict(event.headers)


def test_a_typed_event_is_read_as_its_class() -> None:
    event = Priced(payload=Price(amount=Decimal("19.90")))

    again = read_event(entry(written(event)), MAX_EVENT_SIZE)

    assert type(again) is Priced
    assert again == event


class Item(BaseModel, frozen=True):
    name: str
    price: Price | None = None


class Cart(BaseModel, frozen=True):
    items: list[Item] = []
    weight: float = Field(default=0.0, ge=0)


class Filled(Event):
    event_type: Literal["wire.filled"] = "wire.filled"
    payload: Cart


class Checked(Event):
    event_type: Literal["wire.checked"] = "wire.checked"
    payload: Item

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if not self.payload.name:
            msg = "an item has a name"
            raise ValueError(msg)
        return self


# What an entry may hold, most of it right.
parts = st.fixed_dictionaries(
    {
        "v": st.sampled_from([b"1"] * 9 + [b"2"]),
        "id": st.uuids().map(lambda made: str(made).encode())
        | st.sampled_from([b"{67e55044-10b1-426f-9247-bb680e5fe0c8}", b"67e5504410b1426f9247bb680e5fe0c8", b"x" * 16]),
        "type": st.sampled_from([b"wire.filled"] * 3 + [b"wire.checked", b" wire.filled", b"wire.plain", b"\xff"]),
        "time": st.datetimes(timezones=st.just(UTC)).map(lambda made: made.isoformat().encode())
        | st.sampled_from(
            [
                b"2026-11-25T18:46:18Z",
                b"2026-11-25T18:46:18.5Z",
                b"2026-11-25 18:46:18+00:00",
                b"2026-11-25T18:46:18-00:00",
                b"2026-11-25T20:46:18.000001+02:00",
                b"2026-W48-3T18:46:18.000001+00:00",
                b"2026-11-25T24:00:00Z",
                b"2026-11-25T18:46:60Z",
                b"2026-02-30T18:46:18Z",
                b"0000-01-01T00:00:00Z",
                b"2026-11-25T18:46:18",
                b"20261125T184618Z",
                b"20261125",
            ]
        ),
        "lineage": st.builds(
            lambda *made: " ".join(map(str, made)).encode(),
            st.uuids(),
            st.uuids() | st.just("-"),
            st.integers(0, 1100) | st.sampled_from([-1, 2**53, "007", "1_0", "+1", "1.0", "x", ""]),
        )
        | st.sampled_from([b"", b"", b"a", b"- - 1", b"a b c d"]),
        "headers": st.sampled_from([b""] * 9 + [b"{}", b'{"a": "b"}', b"["]),
        "payload": st.builds(
            lambda names, weight: json.dumps({"items": [{"name": name} for name in names], "weight": weight}).encode(),
            st.lists(st.text(max_size=5), max_size=3),
            st.floats(-1, 9),
        )
        | st.sampled_from(
            [b"{}", b'{"name": ""}', b'{"name": "x"}', b"[]", b"", b'{}, "hops": 1', b"{} ", b'{"x": 1}']
        ),
    }
)


@given(parts)
def test_what_is_read_part_by_part_is_what_pydantic_reads_at_once(fields: dict[str, bytes]) -> None:
    at_once: Event | EventError
    try:
        values = [fields[name] for name in ("v", "id", "type", "time", "lineage", "headers", "payload")]
        envelope = _envelope(values, MAX_EVENT_SIZE)
        at_once = event_from_json(envelope, fields["type"].decode(errors="replace"), MAX_EVENT_SIZE)
    except EventError as error:
        at_once = error

    read: Event | EventError
    try:
        read = read_event(changed([], **fields), MAX_EVENT_SIZE)
    except EventError as found:
        read = found

    if isinstance(at_once, EventError) or isinstance(read, EventError):
        assert str(read) == str(at_once) or "the event type is no UTF-8" in str(read)
    else:
        assert read == at_once
        assert repr(read) == repr(at_once)
        assert read.to_json() == at_once.to_json()
        assert read.timestamp.tzinfo is UTC
        assert read.model_fields_set == at_once.model_fields_set


def test_an_event_without_headers_is_read_part_by_part() -> None:
    for event in (
        Filled(payload=Cart(items=[Item(name="a")], weight=1.5)),
        Priced(payload=Price(amount=Decimal(1)), hops=3),
    ):
        values = entry(written(event))[1::2]

        assert _event_of(values, MAX_EVENT_SIZE) == event


def test_a_class_with_a_validator_of_its_own_is_read_at_once() -> None:
    values = entry(written(Checked(payload=Item(name="a"))))[1::2]

    assert _event_of(values, MAX_EVENT_SIZE) is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"id": None}, "has no field 'id'"),
        ({"type": None}, "has no field 'type'"),
        ({"payload": None}, "has no field 'payload'"),
        ({"v": b"2"}, "in format b'2', this worker reads 1"),
        ({"type": b"\xff"}, "the event type is no UTF-8"),
        ({"id": b"no-uuid"}, "id: "),
        ({"id": b'", "id": "'}, "holds a quotation mark"),
        ({"time": b"yesterday"}, "timestamp: "),
        ({"lineage": b"one"}, "the lineage has 1 parts instead of 3"),
        ({"payload": b""}, "Invalid JSON"),
        ({"payload": b"[1]"}, "payload"),
        ({"payload": b'{"a": NaN}'}, "payload"),
        ({"payload": b'{}, "extra": 1'}, "extra"),
        ({"headers": b"[]"}, "headers"),
    ],
)
def test_an_entry_that_is_no_event_says_why(fields: dict[str, Any], problem: str) -> None:
    broken = changed(written(Event(event_type="x", payload={"a": 1})), **fields)

    with pytest.raises(EventError, match=problem):
        read_event(broken, MAX_EVENT_SIZE)


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_no_bytes_do_anything_but_not_being_an_event(fields: list[bytes]) -> None:
    with pytest.raises(EventError):
        _ = read_delivery(fields, MAX_EVENT_SIZE, None, recovered=False).event
    assert read_kept_event(fields) is None


@pytest.mark.parametrize("payload", [b"9" * 5000, b"[" * 100_000, b'{"a":' * 300 + b"1" + b"}" * 300, b'"\\ud800"'])
def test_payloads_that_break_parsers_are_only_undecodable(payload: bytes) -> None:
    broken = changed(written(Event(event_type="x", payload={})), payload=b'{"a": ' + payload + b"}")

    with pytest.raises(EventError):
        read_event(broken, MAX_EVENT_SIZE)


def test_an_event_over_the_size_limit_is_not_read() -> None:
    large = written(Event(event_type="x", payload={"a": "x" * 5000}))

    with pytest.raises(EventError, match="too large"):
        read_event(entry(large), 1000)


def test_what_is_not_what_its_type_says_is_read_plain_where_it_is_looked_at() -> None:
    misfit = changed(written(Priced(payload=Price(amount=Decimal(1)))), payload=b'{"amount": "much"}')

    with pytest.raises(EventError, match=r"payload\.amount"):
        read_event(misfit, MAX_EVENT_SIZE)
    kept = read_kept_event(misfit)

    assert kept is not None
    assert (type(kept), kept.payload) == (Event, {"amount": "much"})


# --- calls ---------------------------------------------------------------------------------------------------


def digest(*found: Event, delay: float = 0.0) -> str:
    return call_digest([admit(event, MAX_EVENT_SIZE) for event in found], delay)


def test_only_identical_calls_have_one_name() -> None:
    event, other = Event(event_type="x", payload={"a": 1}), Event(event_type="x", payload={"a": 1})
    edited = event.model_copy(update={"payload": {"a": 2}})
    traced = event.model_copy(update={"headers": {"trace": "1"}})
    calls: list[Sequence[Event]] = [
        [event],
        [other],
        [edited],
        [traced],
        [event, event],
        [event, other],
        [other, event],
    ]

    names = {digest(*call) for call in calls} | {digest(event, delay=1.0)}

    assert len(names) == len(calls) + 1
    assert digest(event, other) == digest(event.model_copy(), other.model_copy())


# --- deliveries ----------------------------------------------------------------------------------------------


def test_a_new_event_is_live_or_recovered() -> None:
    event = Event(event_type="x", payload={})

    origins = [
        read_delivery(entry(written(event)), MAX_EVENT_SIZE, 1, recovered=recovered).origin
        for recovered in (False, True)
    ]

    assert origins == ["live", "recovered"]


@pytest.mark.parametrize("recovered", [False, True])
@pytest.mark.parametrize("organs", [None, (), ("Billing",), ("Billing", "Ärger \ud800")])
def test_what_goes_again_keeps_for_whom_and_why(organs: tuple[str, ...] | None, recovered: bool) -> None:
    event = Event(event_type="x", payload={})
    record = delivery_record(written(event), 7, "retry", organs, ATTEMPTS)

    found = read_delivery(entry(record), MAX_EVENT_SIZE, "receipt", recovered=recovered)

    said = (found.event, found.attempt, found.origin, found.organs, found.attempts, found.receipt)
    assert said == (event, 7, "retry", organs, ATTEMPTS, "receipt")


@given(events, st.integers(1, 2**53), st.none() | st.lists(texts, max_size=3).map(tuple), attempts)
def test_whatever_goes_again_is_read_as_it_was_written(
    event: Event, attempt: int, organs: tuple[str, ...] | None, failed: tuple[Attempt, ...]
) -> None:
    record = delivery_record(written(event), attempt, "retry", organs, failed)

    found = read_delivery(entry(record), MAX_EVENT_SIZE, "receipt", recovered=False)

    assert (found.event, found.attempt, found.organs, found.attempts) == (event, attempt, organs, failed)


@pytest.mark.parametrize(
    "facts",
    [
        b"",
        b"[]",
        b"{}",
        b'{"attempt": 1}',
        b'{"attempt": "1", "origin": "retry", "organs": null, "attempts": []}',
        b'{"attempt": 0, "origin": "retry", "organs": null, "attempts": []}',
        b'{"attempt": 1, "origin": "nowhere", "organs": null, "attempts": []}',
        b'{"attempt": 1, "origin": [], "organs": null, "attempts": []}',
        b'{"attempt": 1, "origin": "retry", "organs": "Billing", "attempts": []}',
        b'{"attempt": 1, "origin": "retry", "organs": [1], "attempts": []}',
        b'{"attempt": 1, "origin": "retry", "organs": null, "attempts": [["2026-03-01T12:00:00Z", "", 1%b]]}'
        % (b"0" * 400),
        b"[" * 100_000,
    ],
    ids=lambda facts: facts[:60].decode(),
)
def test_a_delivery_without_its_facts_cannot_be_read(facts: bytes) -> None:
    record = delivery_record(written(Event(event_type="x", payload={})), 1, "retry", None)

    delivery = read_delivery(changed(record, delivery=facts), MAX_EVENT_SIZE, None, recovered=False)

    with pytest.raises(FormatError, match="'delivery' cannot be read"):
        _ = delivery.event


def test_an_event_is_read_when_it_is_asked_for_and_kept_until_it_is_sealed() -> None:
    delivery = read_delivery(entry(written(Event(event_type="x", payload={}))), MAX_EVENT_SIZE, 1, recovered=False)

    was_read = "event" in vars(delivery)
    first = delivery.event
    again = delivery.event
    delivery.seal()
    delivery.seal()
    anew = delivery.event

    assert not was_read
    assert again is first
    assert anew is not first
    assert anew == first


# --- dead letters --------------------------------------------------------------------------------------------

FAILURE = Failure(
    reason="gave up", organ="Billing", error_type="E", error="é \ud800", traceback="…\n", attempts=ATTEMPTS
)


def test_a_letter_keeps_every_fact() -> None:
    event = Priced(payload=Price(amount=Decimal("19.90")), causation_id=uuid4())
    record = [*entry(letter_record(written(event), FAILURE)), b"dead_at", b"1772600767000891"]

    letter = read_letter(b"1-2", record, None)

    facts = (letter.id, letter.event, letter.raw, letter.dead_at, letter.redriven_at)
    assert facts == ("1-2", event, None, datetime(2026, 3, 4, 5, 6, 7, 891, tzinfo=UTC), None)
    for fact in ("reason", "organ", "error_type", "error", "traceback", "attempts"):
        assert getattr(letter, fact) == getattr(FAILURE, fact)


@given(
    events, st.builds(Failure, reason=texts, organ=st.none() | texts, error=texts, traceback=texts, attempts=attempts)
)
def test_whatever_is_given_up_is_read_as_it_was_written(event: Event, failure: Failure) -> None:
    record = [*entry(letter_record(written(event), failure)), b"dead_at", b"1772600767000891"]

    letter = read_letter(b"1-2", record, None)

    assert letter.event == event
    for fact in ("reason", "organ", "error", "traceback", "attempts"):
        assert getattr(letter, fact) == getattr(failure, fact)


def test_a_letter_of_what_is_no_event_holds_the_bytes() -> None:
    record = [b"a", b"\xff", b"b", b"", *entry(letter_record([], FAILURE)), b"dead_at", b"0"]

    letter = read_letter(b"1-2", record, None)

    assert (letter.event, letter.raw) == (None, {b"a": b"\xff", b"b": b""})


def test_a_letter_of_what_has_too_many_fields_holds_the_bytes_all_the_same() -> None:
    parts = [part for number in range(3_000) for part in (b"%d" % number, bytes([number % 256, 34, 0]))]

    record = [*entry(letter_record(parts, FAILURE)), b"dead_at", b"0"]

    assert len(record) < 10
    assert read_letter(b"1-2", record, None).raw == dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("packed", [b"", b"{}", b"[1]", '["Ā"]'.encode(), b"[" * 100_000])
def test_a_letter_that_only_looks_packed_is_shown_all_the_same(packed: bytes) -> None:
    assert read_letter(b"1-2", [b"packed", packed], None).raw is not None


def test_a_letter_that_somebody_else_wrote_is_shown_all_the_same() -> None:
    letter = read_letter(b"1772600767000-0", [b"a", b"b"], None)

    assert (letter.reason, letter.raw) == ("undecodable", {b"a": b"b"})
    assert "the letter itself cannot be read" in letter.error
    assert letter.dead_at == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_times_are_those_of_the_server() -> None:
    assert moment(1772600767000891) == TIME
    assert milliseconds(TIME) == 1772600767000
    assert milliseconds(moment(-1)) == -1


def test_what_no_server_takes_in_one_call_is_refused_with_what_to_do() -> None:
    check_fits([b"x"] * 1_000_000, "this is")

    with pytest.raises(EventTooLarge, match="this is too many, 1 MiB, more than Redis takes as one step; give it less"):
        check_fits([b"x"] * 1_000_001, "this is too many")
    with pytest.raises(EventTooLarge, match="this is too large, 300 MiB"):
        check_fits([b"x" * 2**20] * 300, "this is too large")


@pytest.mark.parametrize(("delay", "milliseconds"), [(0.0, 0), (0.0001, 1), (1.0, 1000), (1e308, 3_162_240_000_000)])
def test_a_delay_is_never_cut_short_but_a_hundred_years_are_enough(delay: float, milliseconds: int) -> None:
    assert until(delay) == milliseconds


# --- what is due later ------------------------------------------------------------------------------------


def packed(*parts: bytes) -> bytes:
    """What cmsgpack makes of strings, behind a number of 16 digits."""
    begin = bytes([0x90 | len(parts)]) if len(parts) < 16 else b"\xdc" + len(parts).to_bytes(2, "big")
    return b"0" * 16 + begin + b"".join(map(packed_string, parts))


def packed_string(part: bytes) -> bytes:
    size = len(part)
    if size < 32:
        return bytes([0xA0 | size]) + part
    return (b"\xda" + size.to_bytes(2, "big") if size < 65_536 else b"\xdb" + size.to_bytes(4, "big")) + part


@pytest.mark.parametrize("sizes", [(0, 1), (31, 32), (255, 256, 65_535, 65_536), tuple(range(18)), ()])
def test_what_is_due_later_is_read_whatever_its_size(sizes: tuple[int, ...]) -> None:
    parts = [b"x" * size for size in sizes]

    assert scheduled_entry(packed(*parts)) == parts


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"0" * 16,
        packed(b"a"),
        packed(b"a", b"b")[:-1],
        packed(b"a", b"b") + b"c",
        b"0" * 16 + b"\x92\x01\x02",
        b"0" * 16 + b"\xdd\xff\xff\xff\xff",
        b"0" * 16 + b"\x92\xa1a\xdb\xff\xff\xff\xff",
    ],
)
def test_what_somebody_else_put_there_is_refused(member: bytes) -> None:
    with pytest.raises(ValueError, match="this is no array of strings"):
        scheduled_entry(member)

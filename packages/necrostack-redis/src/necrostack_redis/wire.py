"""Stream entries and what they mean: events, deliveries and dead letters as fields of bytes, and back."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, get_args, overload
from uuid import UUID

from pydantic import TypeAdapter

from necrostack.delivery import Attempt, DeadLetter, Delivery, Failure, Origin, restored_event
from necrostack.errors import EventError, EventTooLarge
from necrostack.event import Event, admit, event_from_json, event_from_parts, payload_json
from necrostack.payload import json_bytes

Record = Sequence[bytes | str]
"""A stream entry as XADD takes it: name, value, name, value."""

FORMAT = b"1"
"""The version of what is written here. An entry in another one becomes a dead letter."""

_MOST_OF_A_CALL, _MOST_BYTES_OF_A_CALL = 1_000_000, 256 * 2**20
"""What one call may have: Redis 6.2 takes 1,048,576 strings, and every server at most 1 GiB, with copies on its way."""

_ENVELOPE = 2048
"""Bytes that an event never exceeds beside its payload and headers."""

_LONGEST_TYPE = 255 * 4
"""Bytes of an event type of 255 characters."""

_MOST_FACTS = 4 * 2**20
"""Bytes of what stands beside an event: JSON, of which a few bytes may become twenty times as many in memory."""

_LARGEST_KEPT = 4 * 2**20
"""Bytes up to which what is only looked at is read as an event, though it may be too large to be handled."""

_LONGEST_DELAY = 100 * 366 * 86_400.0
"""Seconds: a hundred years, for whom "later" means never. More would not fit into the server's numbers."""


class FormatError(EventError):
    """An entry that no worker wrote, or one in another version."""


# --- events ----------------------------------------------------------------------------------------------


def event_record(event: Event, payload: bytes) -> Record:
    """Write an event.

    Args:
        event: What `admit` returned.
        payload: The bytes that it returned with it.
    """
    return (
        "v",
        FORMAT,
        "id",
        _write_id(event.id),
        "type",
        event.event_type,
        "time",
        _write_moment(event.timestamp),
        "lineage",
        _lineage(event),
        "headers",
        json_bytes(event.headers) if event.headers else b"",
        "payload",
        payload,
    )


class Records(Sequence[Event]):
    """Events as they are written. Each is read again for whoever asks for it.

    Attributes:
        records: What `event_record` returned, for each.
    """

    __slots__ = ("records",)

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        if isinstance(index, slice):
            return Records(self.records[index])
        entry = [part if isinstance(part, bytes) else part.encode() for part in self.records[index]]
        return read_event(entry, sys.maxsize)


def counted(record: Record) -> Sequence[Any]:
    """Put a record as scripts take it: its length first."""
    return (len(record), *record)


def bytes_of(parts: Sequence[Any]) -> int:
    """About how many bytes records have: payloads and headers, beside which the rest is small."""
    return sum([len(part) for part in parts if type(part) is bytes])


def as_records(events: Sequence[Event], beside: Sequence[Event], max_size: int) -> Records:
    """Write events, unless they are written.

    Args:
        events: What was emitted.
        beside: What was emitted before, and is written.
        max_size: How many bytes of JSON payload and headers may have.

    Raises:
        EventError: See `necrostack.event.admit`.
    """
    if type(events) is Records and not beside:
        return events
    records = [event_record(*admit(event, max_size)) for event in events]
    return Records([*as_records(beside, (), max_size).records, *records] if beside else records)


def check_fits(parts: Sequence[Any], what: str, *facts: object) -> int:
    """Refuse what no server takes in one call.

    Args:
        parts: What is to be sent.
        what: What it is, with a `%s` for each of the facts.
        facts: Of which text is made only where it is needed.

    Returns:
        About how many bytes it has. See `bytes_of`.

    Raises:
        EventTooLarge: It is too much.
    """
    size = bytes_of(parts)
    if len(parts) > _MOST_OF_A_CALL or size > _MOST_BYTES_OF_A_CALL:
        msg = f"{what % facts}, {size / 2**20:.0f} MiB, more than Redis takes as one step; give it less at once"
        raise EventTooLarge(msg)
    return size


def until(delay: float) -> int:
    """Return the milliseconds of a delay, which end no earlier than it does."""
    return math.ceil(min(delay, _LONGEST_DELAY) * 1000)


def read_event(entry: Sequence[bytes], max_size: int) -> Event:
    """Read an event, as the class that is declared for its event type.

    Args:
        entry: The fields of an entry: name, value, name, value.
        max_size: How many bytes of JSON its payload and headers may have.

    Raises:
        EventError: It is none, too large, or not what its event type says.
    """
    values = entry[1::2] if entry[::2] == _FIELDS else _values(entry)
    event = _event_of(values, max_size)
    return event_from_json(_envelope(values, max_size), _text(values[2]), max_size) if event is None else event


def size_to_look_at(max_event_size: int) -> int:
    """Return how many bytes of payload and headers an event may have that is only looked at."""
    return max(max_event_size, _LARGEST_KEPT)


def read_kept_event(entry: Sequence[bytes], max_size: int = _LARGEST_KEPT) -> Event | None:
    """Read an event; plain where it is not what its type says, None where there is none, or one that is too large."""
    try:
        return read_event(entry, max_size)
    except EventError:
        with suppress(ValueError):
            return Event.model_validate_json(_envelope(_values(entry), max_size))
    return None


def call_digest(admitted: Sequence[tuple[Event, bytes]], delay: float) -> str:
    """Name an `enqueue` call by what it holds: two calls have one name if they are identical."""
    digest = sha256(repr(float(delay)).encode())
    for event, payload in admitted:
        for part in (event.id.bytes, event.event_type.encode(), json_bytes(event.headers), payload):
            digest.update(b"%d:%b" % (len(part), part))
    return digest.hexdigest()


def _lineage(event: Event) -> str:
    if event.causation_id is None and not event.hops and event.correlation_id.int == event.id.int:
        return ""
    causation = "-" if event.causation_id is None else _write_id(event.causation_id)
    return f"{_write_id(event.correlation_id)} {causation} {event.hops}"


def _event_of(values: Sequence[bytes], max_size: int) -> Event | None:
    """Read an event part by part. None where one is not exactly as `event_record` writes it, or there are headers."""
    version, event_id, event_type, moment, lineage, headers, payload = values
    if version != FORMAT or headers or len(payload) > max_size or len(event_type) > _LONGEST_TYPE:
        return None
    try:
        text = moment.decode()
        if text[4:20:3] != "--T::." or text[26:] != "Z":
            return None  # the one form in which pydantic and the standard library, which is faster, read the same time
        own_id = correlation_id = _read_id(event_id.decode())
        causation_id, hops = None, 0
        if lineage:
            correlation, causation, count = lineage.decode().split(" ")
            correlation_id = _read_id(correlation)
            causation_id = None if causation == "-" else _read_id(causation)
            hops = _HOPS[count]
        time = datetime.fromisoformat(text)
        return event_from_parts(_text(event_type), payload, time, own_id, correlation_id, causation_id, hops)
    except (ValueError, KeyError):
        return None


# pydantic reads what `Event` takes, and both ways it is three times as fast as UUID itself.
_IDS = TypeAdapter(UUID)
_read_id = _IDS.validator.validate_python
_write_id = partial(_IDS.serializer.to_python, mode="json")
_write_moment = partial(TypeAdapter(datetime).serializer.to_python, mode="json")

# As far as most runs let an event get.
_HOPS = {str(hops): hops for hops in range(1001)}


def _envelope(values: Sequence[bytes], max_size: int) -> bytes:
    """Put an event's JSON together from the values of its fields, for pydantic to read in one go.

    Raises:
        EventError: That cannot be an event: what is far too large is not even copied.
    """
    version, event_id, event_type, moment, lineage, headers, payload = values
    if (size := sum(map(len, values))) > max_size + _ENVELOPE:
        msg = f"an event of {size} bytes is too large: {max_size} are allowed for payload and headers"
        raise EventTooLarge(msg)
    if len(event_type) > _LONGEST_TYPE:
        raise FormatError(f"the event type has {len(event_type)} bytes; 255 characters are allowed")
    if version != FORMAT:
        msg = f"the entry is in format {version[:20]!r}, this worker reads {FORMAT.decode()}; is it older than others?"
        raise FormatError(msg)
    correlation_id, causation_id, hops = event_id, b"null", b"0"
    if lineage:
        parts = lineage.split(b" ")
        if len(parts) != 3:
            raise FormatError(f"the lineage has {len(parts)} parts instead of 3")
        correlation_id, causation, hops = parts
        causation_id = b"null" if causation == b"-" else b'"%b"' % causation
    if b'"' in event_id or b'"' in moment or b'"' in lineage:
        raise FormatError("the id, the time or the lineage holds a quotation mark")
    return (
        b'{"event_type":%b,"id":"%b","timestamp":"%b","correlation_id":"%b","causation_id":%b,"hops":%b,'
        b'"headers":%b,"payload":%b}'
        % (_json_string(event_type), event_id, moment, correlation_id, causation_id, hops, headers or b"{}", payload)
    )


def _values(entry: Sequence[bytes]) -> Sequence[bytes]:
    """Pick the values of an event's fields out of an entry, in the order of `_FIELDS`."""
    found = dict(zip(entry[::2], entry[1::2], strict=False))
    try:
        return [found[name] for name in _FIELDS]
    except KeyError as missing:
        name = missing.args[0].decode()
        raise FormatError(f"the entry has no field {name!r}, so it is no event") from None


# As `event_record` writes them.
_FIELDS = [b"v", b"id", b"type", b"time", b"lineage", b"headers", b"payload"]


@lru_cache(maxsize=1024)
def _json_string(text: bytes) -> bytes:
    # No escapes but the needed ones: it must not be longer than its reader allows.
    return json.dumps(_text(text), ensure_ascii=False).encode()


@lru_cache(maxsize=1024)
def _text(event_type: bytes) -> str:
    try:
        return event_type.decode()
    except UnicodeDecodeError as error:
        raise FormatError("the event type is no UTF-8") from error


# --- deliveries ------------------------------------------------------------------------------------------


def delivery_record(
    event: Record, attempt: int, origin: Origin, organs: Sequence[str] | None, attempts: Sequence[Attempt] = ()
) -> Record:
    """Write what goes again in one group: an event's record, and for whom it is."""
    facts = {"attempt": attempt, "origin": origin, "organs": organs, "attempts": _attempts_out(attempts)}
    return (*event, "delivery", json.dumps(facts))


class _EventOfEntry:
    """Reads a delivery's event when it is first asked for, into the instance's dict: it is found there from then on."""

    def __get__(self, delivery: StoredDelivery, owner: type) -> Event:
        if delivery.problem:
            raise FormatError(delivery.problem)
        event = delivery.__dict__["event"] = read_event(delivery.entry, delivery.max_size)
        return event


class StoredDelivery(Delivery):
    """A delivery as it stands in a stream. Its event is read when it is asked for, or else it is not.

    A hand of events takes some twenty objects each, which the garbage collector would walk again and again while they
    wait for their handlers, and for being settled. Their bytes take two.

    Attributes:
        entry: Its fields: name, value, name, value.
        max_size: See `read_event`.
        problem: What is wrong with what stands beside the event, if anything is.
    """

    entry: Sequence[bytes]
    max_size: int
    problem: str = ""

    # Asking for it raises EventError where there is no event in the entry.
    event = _EventOfEntry()

    def __init__(self, entry: Sequence[bytes], max_size: int, receipt: object, **facts: Any) -> None:
        # What is not said is as the class says: the first attempt, of a live event, for all who listen.
        fields = self.__dict__
        fields["entry"] = entry
        fields["max_size"] = max_size
        fields["receipt"] = receipt
        if facts:
            fields.update(facts)

    def seal(self) -> None:
        """See `Delivery.seal`."""
        self.__dict__.pop("event", None)


def read_delivery(entry: Sequence[bytes], max_size: int, receipt: object, *, recovered: bool) -> StoredDelivery:
    """Read what is handed over from either stream, but for its event.

    Args:
        entry: The fields of an entry.
        max_size: See `read_event`.
        receipt: The delivery's.
        recovered: Whether it was taken over from a dead worker. A retry, redrive or replay stays what it is.
    """
    if len(entry) < 2 or entry[-2] != b"delivery":
        facts = {"origin": "recovered"} if recovered else {}
        return StoredDelivery(entry, max_size, receipt, **facts)
    try:
        facts = _facts(entry[-1])
        attempt, origin, names = facts["attempt"], facts["origin"], facts["organs"]
        if type(attempt) is not int or attempt < 1 or origin not in get_args(Origin):
            msg = f"attempt {attempt!r:.40} of origin {origin!r:.40}"
            raise ValueError(msg)
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            msg = f"the Organs {names!r:.40}"
            raise ValueError(msg)
        organs = None if names is None else tuple(names)
        attempts = _attempts_in(facts["attempts"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        return StoredDelivery(entry, max_size, receipt, problem=f"its field 'delivery' cannot be read: {error}")
    return StoredDelivery(entry, max_size, receipt, attempt=attempt, origin=origin, organs=organs, attempts=attempts)


def scheduled_entry(member: bytes) -> Sequence[bytes]:
    """Read the fields of what is due later: a number that tells apart, and an array of strings in MessagePack.

    That is what cmsgpack writes: https://github.com/msgpack/msgpack/blob/master/spec.md

    Raises:
        ValueError: It is none: somebody else's.
    """
    count, at = _length(member, 16, 0x90, 0x0F, (0xDC, 0xDD))
    entry = []
    for _ in range(count):
        size, at = _length(member, at, 0xA0, 0x1F, (0xD9, 0xDA, 0xDB))
        entry.append(member[at : at + size])
        at += size
    if at != len(member) or count % 2:
        msg = "this is no array of strings"
        raise ValueError(msg)
    return entry


def _length(data: bytes, at: int, short: int, most: int, longer: Sequence[int]) -> tuple[int, int]:
    """Read how long a part is, and where it begins. The last of the longer forms has 4 bytes, each before it half."""
    first = data[at] if at < len(data) else -1
    if first & ~most == short:
        return first & most, at + 1
    if first in longer:
        size = 4 >> (len(longer) - 1 - longer.index(first))
        length, begin = int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size
        if begin + length <= len(data):
            return length, begin
    msg = "this is no array of strings"
    raise ValueError(msg)


def event_part(entry: Sequence[bytes]) -> Sequence[bytes]:
    """Leave out of an entry what says for whom it is, or why it was given up."""
    pairs = zip(entry[::2], entry[1::2], strict=False)
    return [part for pair in pairs if pair[0] not in _OURS for part in pair]


_OURS = (b"delivery", b"letter", b"dead_at")


# --- dead letters ----------------------------------------------------------------------------------------


def letter_facts(failure: Failure | DeadLetter) -> str:
    """Write why something is given up."""
    facts = {
        "reason": failure.reason,
        "organ": failure.organ,
        "error_type": failure.error_type,
        "error": failure.error,
        "traceback": failure.traceback,
        "attempts": _attempts_out(failure.attempts),
    }
    return json.dumps(facts)


def letter_record(entry: Record, failure: Failure) -> Record:
    """Write a dead letter: what was kept, as it was, and why it is given up. The server adds when."""
    if len(entry) > _MAX_PARTS:
        entry = _packed(entry)
    return (*entry, "letter", letter_facts(failure))


def restored_record(letter: DeadLetter) -> Record:
    """Write a dead letter again, with the time at which it was given up.

    Raises:
        EventError: It has no event.
    """
    event = restored_event(letter)
    dead_at = (letter.dead_at - _EPOCH) // timedelta(microseconds=1)
    return (*event_record(event, payload_json(event)), "letter", letter_facts(letter), "dead_at", str(dead_at))


def read_letter(
    letter_id: bytes, entry: Sequence[bytes], redriven_at: datetime | None, max_size: int = _LARGEST_KEPT
) -> DeadLetter:
    """Read a dead letter.

    Args:
        letter_id: The id of its entry.
        entry: The fields of its entry.
        redriven_at: When it went again.
        max_size: How many bytes of JSON its event's payload and headers may have.
    """
    event = read_kept_event(entry, max_size)
    part = event_part(entry)
    with suppress(ValueError, TypeError, AttributeError, RecursionError):
        part = _unpacked(part)
    raw = None if event is not None else dict(zip(part[::2], part[1::2], strict=False))
    found = dict(zip(entry[::2], entry[1::2], strict=False))
    try:
        facts = _facts(found[b"letter"])
        dead_at = moment(int(found[b"dead_at"]))
        return DeadLetter(
            id=letter_id.decode(),
            event=event,
            raw=raw,
            organ=None if facts["organ"] is None else _as_text(facts["organ"]),
            reason=_as_text(facts["reason"]),
            error_type=_as_text(facts["error_type"]),
            error=_as_text(facts["error"]),
            traceback=_as_text(facts["traceback"]),
            attempts=_attempts_in(facts["attempts"]),
            dead_at=dead_at,
            redriven_at=redriven_at,
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        # Not written by a worker. It is shown all the same, to be discarded.
        dead_at = moment(int(letter_id.split(b"-")[0]) * 1000)
        told = f"the letter itself cannot be read: {error!r}"
        return DeadLetter(
            id=letter_id.decode(),
            event=event,
            raw=raw,
            reason="undecodable",
            error=told,
            dead_at=dead_at,
            redriven_at=redriven_at,
        )


_PACKED = b"packed"
"""The one field of an entry that had too many: all its parts as a JSON array, each byte a character."""

_MAX_PARTS = 1000
"""More than any entry of ours has, and fewer than a script can hand to a command."""


def _packed(entry: Record) -> Record:
    parts = [part.decode("latin-1") if isinstance(part, bytes) else part for part in entry]
    return (_PACKED, json.dumps(parts, ensure_ascii=False).encode("latin-1"))


def _unpacked(part: Sequence[bytes]) -> Sequence[bytes]:
    if len(part) != 2 or part[0] != _PACKED or len(part[1]) > _LARGEST_KEPT:
        return part
    return [text.encode("latin-1") for text in json.loads(part[1].decode("latin-1"))]


def moment(microseconds: int) -> datetime:
    """Return the time at so many microseconds of the server's clock; of those beyond the year 9999, the last one."""
    return _EPOCH + timedelta(microseconds=min(microseconds, _LAST))


def milliseconds(moment: datetime) -> int:
    """Return the millisecond in which a time lies, as entry ids count them."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


# --- attempts --------------------------------------------------------------------------------------------


def _attempts_out(attempts: Sequence[Attempt]) -> list[Any]:
    return [[attempt.time.isoformat(), attempt.error, attempt.delay] for attempt in attempts]


def _attempts_in(found: Any) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(datetime.fromisoformat(time), _as_text(error), None if delay is None else float(delay))
        for time, error, delay in found
    )


# --- facts beside an event -------------------------------------------------------------------------------


def _facts(data: bytes) -> Any:
    """Read JSON of a size that a worker writes."""
    if len(data) > _MOST_FACTS:
        msg = f"it has {len(data)} bytes; {_MOST_FACTS} are allowed"
        raise ValueError(msg)
    return json.loads(data)


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        msg = f"a value of type {type(value).__name__} where text belongs"
        raise TypeError(msg)
    return value

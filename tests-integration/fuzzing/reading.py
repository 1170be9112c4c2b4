"""Targets that read what somebody else wrote: events, stream entries, feeds, exported dead letters."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from io import StringIO

from fuzzing import events  # noqa: F401 -- declares its classes
from fuzzing.finding import expect, read_or_none, unlike
from necrostack import Event
from necrostack.cli.facts import letter_facts
from necrostack.cli.feed import ENVELOPE, BadLine, batches, find_bad_lines, is_blank
from necrostack.cli.importing import longest_line, read_letter
from necrostack.cli.letters import show_letter, why
from necrostack.cli.lines import FeedBroken, Line, LineSplitter, Source
from necrostack.cli.terminal import Terminal
from necrostack.delivery import DeadLetter
from necrostack.errors import EventError
from necrostack.event import MAX_EVENT_SIZE, admit
from necrostack_redis import wire

# --- events ----------------------------------------------------------------------------------------------


def event(data: bytes) -> None:
    """`Event.from_json`, and `model_validate_json` of the plain class."""
    read_or_none(partial(Event.model_validate_json, data), ValueError)  # also of datetime, before pydantic 2.12
    found = read_or_none(partial(Event.from_json, data), EventError)
    if found is not None:
        _goes_through_json(found)


def measured_event(data: bytes) -> None:
    """What `event` is measured by."""
    read_or_none(partial(Event.from_json, data), EventError)


def _goes_through_json(found: Event) -> None:
    with unlike("what was read cannot be written and read again"):
        again = Event.from_json(found.to_json(), max_size=2 * MAX_EVENT_SIZE)
        _, payload = admit(found, 2 * MAX_EVENT_SIZE)
        through_redis = wire.read_event(_as_bytes(wire.event_record(found, payload)), 2 * MAX_EVENT_SIZE)
    for other in (again, through_redis):
        expect(type(other) is type(found), f"a {type(found).__name__} came back as a {type(other).__name__}")
        expect(other == found, "an event came back as another one")
        expect(other.headers == found.headers, "an event came back with other headers")


def _as_bytes(record: wire.Record) -> list[bytes]:
    return [part if isinstance(part, bytes) else part.encode() for part in record]


# --- stream entries --------------------------------------------------------------------------------------

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry_of(data: bytes) -> list[bytes]:
    """The fields of an entry: a line with a name, a line with its value, and so on. No name stands twice."""
    lines = data.split(b"\n")
    fields = dict(zip(lines[::2], lines[1::2], strict=False))
    return [part for field in fields.items() for part in field]


def fields(data: bytes) -> None:
    """What a worker and its `admin` read of an entry, whoever wrote it."""
    entry = entry_of(data)
    found = read_or_none(partial(wire.read_event, entry, MAX_EVENT_SIZE), EventError)
    if found is not None:
        _goes_through_json(found)
    for recovered in (False, True):
        delivery = wire.read_delivery(entry, MAX_EVENT_SIZE, None, recovered=recovered)
        read_or_none(lambda delivery=delivery: delivery.event, EventError)  # type: ignore[misc]
        expect(delivery.attempt >= 1, f"attempt {delivery.attempt}")
        delivery.seal()
    kept = wire.read_kept_event(entry)
    expect(found is None or kept == found, "an event is kept as another one")
    letter = wire.read_letter(b"1772366400000-0", entry, None)
    expect((letter.event is None) == (letter.raw is not None), "a letter without an event must show its bytes")
    _is_shown(letter)


def measured_fields(data: bytes) -> None:
    """What `fields` is measured by."""
    delivery = wire.read_delivery(entry_of(data), MAX_EVENT_SIZE, None, recovered=False)
    read_or_none(lambda: delivery.event, EventError)


def _is_shown(letter: DeadLetter) -> None:
    """What every command does with a letter."""
    with unlike("a letter cannot be shown"):
        letter.matches("A", "B", "C", _NOW, _NOW)
        why(letter)
        json.dumps(letter_facts(letter))
        with _unseen():
            show_letter(letter, Terminal())


@contextmanager
def _unseen() -> Iterator[None]:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield


# --- feeds -----------------------------------------------------------------------------------------------

PACKED = b"gzip:"
"""What stands before bytes that are to be packed: a packed input says little to whoever mutates it."""

_LONGEST = 4096 + ENVELOPE


class _InHand(Source):
    """A feed of which somebody holds the bytes, read so many at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__("-")
        self._data = data
        self._chunk = size

    def _read(self) -> Iterator[bytes]:
        for start in range(0, len(self._data), self._chunk):
            yield self._data[start : start + self._chunk]


def packed(data: bytes) -> bytes:
    """The bytes of a feed."""
    return gzip.compress(data.removeprefix(PACKED), 1, mtime=0) if data.startswith(PACKED) else data


def unpacked(data: bytes, most: int = 2**24) -> bytes:
    """What a feed holds, as far as it can be read, and little more than so many bytes of it."""
    found = bytearray()
    with suppress(FeedBroken):
        for chunk in _InHand(packed(data), 1 << 16).chunks():
            found += chunk
            if len(found) > most:
                break
    return bytes(found)


_LARGE = 2**17
"""Bytes to which a small input may unpack: to a thousand times its size, and then all that is told is their number."""


def feed(data: bytes) -> None:
    """The lines of `run --feed` and `emit --file`, however the bytes come."""
    if len(unpacked(data, _LARGE)) > _LARGE:
        return
    found = packed(data)
    (at_once, is_whole), (in_parts, is_whole_too) = (_lines_of(_InHand(found, size)) for size in (1 << 16, 7))
    if is_whole or is_whole_too:
        expect((at_once, is_whole) == (in_parts, is_whole_too), "what a feed holds depends on how its bytes come")
    else:  # how far it can be read before it is seen to be broken does depend on that
        shorter, longer = sorted((at_once, in_parts), key=len)
        expect(longer[: len(shorter)] == shorter, "lines before a break depend on how the bytes come")
    read_or_none(lambda: [*find_bad_lines(_InHand(found, 1 << 16), _LONGEST, 1)], FeedBroken)


def measured_feed(data: bytes) -> None:
    """What `feed` is measured by: a real file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(packed(data))
        file.flush()
        read_or_none(lambda: [0 for _ in find_bad_lines(Source(file.name), MAX_EVENT_SIZE + ENVELOPE, 1)], FeedBroken)


def _lines_of(source: Source) -> tuple[list[tuple[int, bytes, bool]], bool]:
    lines: list[tuple[int, bytes, bool]] = []
    splitter = LineSplitter(_LONGEST)
    try:
        for several in batches(source, splitter):
            lines += [(line.number, b"" if line.is_too_long else line.data, line.is_too_long) for line in several]
    except FeedBroken:
        return lines, False
    expect([number for number, _, _ in lines] == sorted({number for number, _, _ in lines}), "lines are out of order")
    return lines, True


# --- exported dead letters -------------------------------------------------------------------------------


def letters(data: bytes) -> None:
    """The lines of `dlq import`."""
    if len(unpacked(data, _LARGE)) > _LARGE:
        return
    for line in _letter_lines(packed(data)):
        letter = read_or_none(partial(read_letter, line, MAX_EVENT_SIZE), BadLine)
        if letter is None:
            continue
        _is_shown(letter)
        text = json.dumps(letter_facts(letter), ensure_ascii=False).encode()
        with unlike("what was imported cannot be exported and imported again"):
            again = read_letter(Line(number=2, data=text), 2 * MAX_EVENT_SIZE)
        expect(again == letter, "a letter came back as another one")
        if letter.event is None:
            continue
        with unlike("what was imported cannot be kept on Redis"):
            record = _as_bytes(wire.restored_record(letter))
            kept = wire.read_letter(b"1772366400000-0", record, letter.redriven_at)
        expect(kept == replace(letter, id="1772366400000-0"), "a letter is kept as another one")


def measured_letters(data: bytes) -> None:
    """What `letters` is measured by."""
    for line in _letter_lines(packed(data)):
        read_or_none(partial(read_letter, line, MAX_EVENT_SIZE), BadLine)


def _letter_lines(data: bytes) -> Iterator[Line]:
    try:
        for lines in batches(_InHand(data, 1 << 16), LineSplitter(longest_line(MAX_EVENT_SIZE))):
            yield from (line for line in lines if not is_blank(line))
    except FeedBroken:
        return

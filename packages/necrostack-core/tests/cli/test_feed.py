"""The feed: any bytes in, each line is an event, put aside, or told; and never far ahead of what is handled."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack import BackendFull, Event, InMemoryBackend
from necrostack.cli.failures import Exit
from necrostack.cli.feed import ENVELOPE, WINDOW, BadLine, Feed, find_bad_lines, parse
from necrostack.cli.lines import Line, Source
from necrostack.errors import BackendUnavailable, EventError


def number_line(number: int) -> bytes:
    return b'{"event_type": "CLI_NUMBER", "payload": {"n": %d}}' % number


def feed_of(path: Path, backend: InMemoryBackend, **settings: object) -> Feed:
    return Feed(Source(str(path)), backend, backend.enqueue, **settings)  # type: ignore[arg-type] # any setting


async def pulled(backend: InMemoryBackend) -> list[Event]:
    """Take everything that is queued."""
    events: list[Event] = []
    while deliveries := await backend.pull(limit=100, timeout=0):
        events += [delivery.event for delivery in deliveries]
        for delivery in deliveries:
            await backend.ack(delivery)
    return events


async def numbers(backend: InMemoryBackend) -> list[int]:
    return [event.payload["n"] for event in await pulled(backend)]


GOOD = st.integers(0, 10**6).map(number_line)
BAD = st.binary(max_size=30).map(lambda data: b"?" + data.replace(b"\n", b"")) | st.sampled_from(
    [b"\xff\xfe", b"[]", b"{}", b'{"event_type": " "}', b'{"event_type": "X", "payload": {"n": NaN}}', b'{"a"', b"\0"]
)
BLANK = st.sampled_from([b"", b"  ", b"\r", b"\t"])


@given(st.lists(GOOD | BAD | BLANK, max_size=40), st.booleans())
def test_every_line_is_kept_in_order_or_put_aside_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ends: bool
) -> None:
    path = tmp_path_factory.mktemp("feed") / "feed"
    path.write_bytes(b"\n".join(lines) + (b"\n" if ends else b""))
    good = [line for line in lines if line.startswith(b'{"event_type": "CLI_NUMBER"')]
    bad = [line for line in lines if line.strip() and line not in good]

    async def run() -> tuple[Feed, list[int]]:
        backend = InMemoryBackend()
        feed = feed_of(path, backend, skips=True)
        await feed.run()
        return feed, await numbers(backend)

    feed, kept = asyncio.run(run())

    assert kept == [json.loads(line)["payload"]["n"] for line in good]
    assert (feed.kept, feed.skipped, feed.error, feed.is_at_end) == (len(good), len(bad), None, True)
    aside = feed.skipped_lines.path
    assert (aside.read_bytes() if aside.exists() else b"") == b"".join(line + b"\n" for line in bad)


@given(st.lists(GOOD | BAD | BLANK, max_size=40))
def test_a_feed_that_stops_at_bad_lines_is_complete_when_each_is_mended_and_passed(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("feed") / "feed"
    path.write_bytes(b"\n".join(lines))

    async def run() -> tuple[list[int], list[int]]:
        backend, line = InMemoryBackend(), 1
        stops: list[int] = []
        while True:
            feed = feed_of(path, backend, first_line=line)
            await feed.run()
            if feed.error is None:
                return await numbers(backend), stops
            stops.append(feed.next_line)
            line = feed.next_line + 1

    kept, stops = asyncio.run(run())

    good = [line for line in lines if line.startswith(b'{"event_type": "CLI_NUMBER"')]
    assert kept == [json.loads(line)["payload"]["n"] for line in good]
    assert stops == [number for number, line in enumerate(lines, 1) if line.strip() and line not in good]


# Whole lines and torn ones, in any order, whatever ends them.
PIECES = st.lists(
    GOOD
    | st.binary(max_size=30)
    | st.sampled_from(
        [
            b"\n",
            b"\n",
            b"\r\n",
            b"\xef\xbb\xbf",
            b"\x1f\x8b",
            b"\0",
            b"\xe2\x80\xa8",
            b"x" * 70_000,
            b'{"event_type": "CLI_NUMBER", "payload": {"n": ' + b"[" * 500,
            b'{"event_type": "\\ud800", "payload": {}}',
            b'{"event_type": "CLI_NUMBER", "payload": {"n": "\r\\n\x7f"}}',
        ]
    ),
    max_size=30,
).map(b"".join)


def first_bad_line(data: bytes, most: int) -> int | None:
    """Say which line is no event, by cutting all at once."""
    for number, line in enumerate(real_lines(data), 1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        try:
            if len(line) > most:
                return number
            if text.strip():
                Event.from_json(text)
        except EventError:
            return number
    return None


def real_lines(data: bytes) -> list[bytes]:
    """Cut bytes at each line feed, and nowhere else."""
    *lines, last = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([last] if last else [])


@given(PIECES, st.booleans())
def test_of_any_bytes_each_line_is_an_event_or_the_first_that_is_none_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, is_packed: bool
) -> None:
    path = tmp_path_factory.mktemp("feed") / "feed"
    is_packed = is_packed or data.startswith(b"\x1f\x8b")  # else it would be taken for gzip
    path.write_bytes(gzip.compress(data, mtime=0) if is_packed else data)
    backend = InMemoryBackend(max_event_size=1000)
    bad = first_bad_line(data, 1000 + ENVELOPE)

    async def run() -> Feed:
        feed = feed_of(path, backend)
        await feed.run()
        return feed

    feed = asyncio.run(run())

    if bad is None:
        assert (feed.error, feed.is_at_end) == (None, True)
    else:
        assert feed.error is not None
        assert feed.error.startswith(f"{path}, line {bad}: ")
        assert "\n" not in feed.error
        assert feed.next_line <= bad
    found = [wrong for wrong in find_bad_lines(Source(str(path)), 1000 + ENVELOPE, 1) if wrong is not None]
    assert [wrong.line.number for wrong in found[:1]] == [number for number in (bad,) if number is not None]


@given(PIECES, st.integers(1, 200))
def test_gzip_that_is_torn_or_damaged_is_told_as_such(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int
) -> None:
    path = tmp_path_factory.mktemp("feed") / "feed"
    packed = bytearray(gzip.compress(data, mtime=0))
    packed[2 + at % (len(packed) - 2)] ^= 1 + at % 255
    path.write_bytes(packed)

    async def run() -> Feed:
        feed = feed_of(path, InMemoryBackend(max_event_size=1000), skips=True)
        await feed.run()
        return feed

    feed = asyncio.run(run())

    # A byte that says nothing of what is packed, such as its time, may be any.
    assert feed.error is None or feed.error.startswith(f"{path}, after line ")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"nope", "expected ident at column 2"),
        (b'{"event_type": "na\xefve"}', "this is not UTF-8: byte 0xef at column 19"),
        (b"[1]", "this is not an event: "),
        (b'{"payload": {}}', "this is not an event: event_type: Field required"),
        (b'{"event_type": "X", "payload": {"n": NaN}}', "is nan, which JSON does not have"),
        (b'{"event_type": "X", "extra": 1}', "extra: Extra inputs are not permitted"),
        (b'{"event_type": "X", "timestamp": "2026-01-01T00:00:00"}', "timestamp: "),
    ],
)
def test_a_bad_line_is_told_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadLine) as bad:
        parse(Line(number=7, data=data + b"\n"), 1000)

    assert str(bad.value).startswith("line 7: ")
    assert reason in bad.value.reason


def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it() -> None:
    marked = b"\xef\xbb\xbf" + number_line(1)

    assert parse(Line(number=1, data=marked), 1000).payload == {"n": 1}
    with pytest.raises(BadLine):
        parse(Line(number=2, data=marked), 1000)


async def test_a_line_over_the_limit_is_put_aside_whole(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    long = b'{"event_type": "CLI_NUMBER", "payload": {"n": "' + b"9" * 300_000 + b'"}}'
    path.write_bytes(b"\n".join([number_line(1), long, number_line(2)]))
    backend = InMemoryBackend(max_event_size=1000)
    told: list[str] = []

    feed = feed_of(path, backend, skips=True, on_skipped=told.append)
    await feed.run()

    assert await numbers(backend) == [1, 2]
    assert feed.skipped_lines.path.read_bytes() == long + b"\n"
    assert told == [f"{path}, line 2: it is longer than the 66536 bytes that a line may have; skipped"]


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([b"?" * 50_000] * 4, 1),  # one after the other
        ([b"?" * 200_000], 0),  # one that is too long to be an event
        ([b"?" * 2_000_000], 0),  # one that is dropped while it is read
    ],
    ids=["many", "long", "longer"],
)
async def test_no_more_bad_lines_are_put_aside_than_there_is_room_for(
    lines: list[bytes], kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("necrostack.cli.feed.MAX_KEPT", 100_000)
    path = tmp_path / "feed"
    path.write_bytes(b"\n".join([number_line(1), *lines, number_line(2)]))
    backend = InMemoryBackend(max_event_size=1000)

    feed = feed_of(path, backend, skips=True)
    await feed.run()

    assert await numbers(backend) == [1]
    assert (feed.skipped, feed.next_line, feed.code) == (kept, kept + 2, Exit.FAILED)
    assert feed.error is not None
    assert feed.error.endswith("it is not skipped: 0 MiB of bad lines are put aside at the most")
    assert not kept or feed.skipped_lines.path.stat().st_size <= 100_000


async def test_one_event_that_the_backend_refuses_does_not_take_its_neighbours_along(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    fat = b'{"event_type": "CLI_NUMBER", "payload": {"n": "' + b"9" * 100 + b'"}}'
    path.write_bytes(b"\n".join([number_line(1), number_line(2), fat, number_line(3)]))
    backend = InMemoryBackend(max_event_size=50)

    feed = feed_of(path, backend)
    await feed.run()

    assert await numbers(backend) == [1, 2]
    assert (feed.kept, feed.next_line) == (2, 3)
    assert feed.error is not None
    assert feed.error.startswith(f"{path}, line 3: event ")
    assert "108 bytes, more than the 50 that are allowed" in feed.error


async def test_a_full_backend_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"\n".join(map(number_line, range(100))))
    backend = InMemoryBackend(max_size=3)
    feed = feed_of(path, backend)
    feeding = asyncio.create_task(feed.run())
    got: list[int] = []

    while len(got) < 100:
        deliveries = await backend.pull(limit=10)
        assert len(deliveries) <= 3
        got += [delivery.event.payload["n"] for delivery in deliveries]
        for delivery in deliveries:
            await backend.ack(delivery)
    await feeding

    assert got == list(range(100))


async def test_a_feed_that_waits_for_a_full_backend_can_be_stopped_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"\n".join(map(number_line, range(10))))
    backend = InMemoryBackend(max_size=4)
    waits = asyncio.Event()

    async def enqueue(*events: Event) -> None:
        try:
            await backend.enqueue(*events)
        except BackendFull:
            if len(events) == 1:
                waits.set()
            raise

    feed = Feed(Source(str(path)), backend, enqueue)
    feeding = asyncio.create_task(feed.run())
    await waits.wait()
    feed.stop()
    await feeding
    first = await numbers(backend)

    rest = feed_of(path, InMemoryBackend(), first_line=feed.next_line)
    await rest.run()

    assert (first, feed.is_at_end, feed.error) == ([0, 1, 2, 3], False, None)
    assert feed.how_to_go_on == "4 lines are kept, --from-line 5 goes on"
    assert rest.kept == 6


async def test_a_windowed_feed_stays_close_to_what_is_handled(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"\n".join(map(number_line, range(20_000))))
    backend = InMemoryBackend()
    feed = feed_of(path, backend, is_windowed=True)
    feeding = asyncio.create_task(feed.run())
    most, got = 0, 0

    while got < 20_000:
        deliveries = await backend.pull(limit=100)
        most = max(most, (await backend.admin.stats()).queued + len(deliveries))
        got += len(deliveries)
        await asyncio.gather(*map(backend.ack, deliveries))
    await feeding

    assert most <= WINDOW


async def test_a_windowed_feed_that_nobody_handles_stops_on_request(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"\n".join(map(number_line, range(20_000))))
    backend = InMemoryBackend()
    begun = asyncio.Event()

    feed = feed_of(path, backend, is_windowed=True, on_kept=lambda _: begun.set())
    feeding = asyncio.create_task(feed.run())
    await begun.wait()
    feed.stop()
    await feeding

    assert 0 < feed.kept <= WINDOW
    assert feed.next_line == feed.kept + 1
    assert (await backend.admin.stats()).queued == feed.kept


async def test_the_same_lines_again_are_events_again(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    # So long that 256 of them, one batch, fill the 64 KiB that are read at a time: the batches are the same again.
    lines = [b"%-255b\n" % Event(event_type="CLI_NUMBER", payload={"n": n}).to_json() for n in range(512)]
    path.write_bytes(b"".join(lines * 3))
    backend = InMemoryBackend()

    feed = feed_of(path, backend)
    await feed.run()

    assert feed.kept == 3 * 512
    assert await numbers(backend) == [*range(512)] * 3


async def test_a_backend_out_of_reach_ends_a_feed_that_may_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(number_line(1))

    async def enqueue(*events: Event) -> None:
        raise BackendUnavailable("no answer")

    feed = Feed(Source(str(path)), InMemoryBackend(), enqueue, max_outage=0.0)
    await feed.run()

    outage = "the backend was out of reach for 0.0 s, longer than max_outage=0 allows: no answer"
    assert (feed.error, feed.code) == (f"{path}, line 1: {outage}", Exit.NO_BACKEND)
    assert (feed.kept, feed.next_line) == (0, 1)


async def test_a_skipped_line_that_cannot_be_put_aside_ends_the_feed(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"nope")
    (tmp_path / "feed.skipped.ndjson").mkdir()

    feed = feed_of(path, InMemoryBackend(), skips=True)
    await feed.run()

    assert feed.error is not None
    assert "and it cannot be kept in" in feed.error
    assert (feed.skipped, feed.next_line) == (0, 1)


async def test_what_is_kept_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"\n".join([number_line(5), b"", number_line(6)]))
    told: list[tuple[int, int]] = []

    def note(kept: Sequence[tuple[int, Event]]) -> None:
        told.extend((number, event.payload["n"]) for number, event in kept)

    await feed_of(path, InMemoryBackend(), on_kept=note).run()

    assert told == [(1, 5), (3, 6)]


async def test_progress_is_what_is_kept_and_not_what_was_only_read(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"".join(b"%-99b\n" % number_line(n) for n in range(1000)))
    backend = InMemoryBackend()
    shares: list[float | None] = []

    feed: Feed = feed_of(path, backend, on_kept=lambda _: shares.append(feed.progress))
    assert feed.progress is None
    await feed.run()

    # 655 lines are read at a time, with the beginning of one more, and 256 enqueued.
    assert shares == [pytest.approx(share, abs=0.001) for share in (0.256, 0.512, 0.655, 0.911, 1.0)]

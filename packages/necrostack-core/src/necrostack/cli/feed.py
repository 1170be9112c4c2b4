"""Feeding from lines of NDJSON: each line whole or not at all, never far ahead of what is handled."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import shutil
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from necrostack.backend import Backend
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.lines import MAX_KEPT, FeedBroken, Line, LineSplitter, Source
from necrostack.cli.reading import BackgroundReader
from necrostack.cli.terminal import counted
from necrostack.clock import SYSTEM_CLOCK
from necrostack.errors import BackendClosed, BackendError, BackendFull, EventError
from necrostack.event import Event
from necrostack.patience import Patience

T = TypeVar("T")

BATCH: Final = 256
"""Events that are enqueued in one call."""

WINDOW: Final = 1_000
"""Events that may be queued in memory before the feed waits."""

WINDOW_BYTES: Final = 64 * 1_048_576
"""Bytes of lines that may be queued in memory, by their average size, before the feed waits."""

_MOST_LINES: Final = 4096
"""Lines that are looked at together: a chunk may be nothing but line ends, and a line takes a hundred bytes."""

ENVELOPE: Final = 65_536
"""Bytes that a line may have beside its payload: id, lineage, headers."""

_PAUSE_MIN, _PAUSE_MAX = 0.001, 0.1
"""Seconds between two looks whether there is room again, doubled each time."""

_REMEMBERED = 240.0
"""Seconds: twice as long as the contract of `Backend.enqueue` lets a backend remember a call."""

_NARROW = 16
_FAST, _SLOW = 0.1, 0.5
"""Seconds for a window of events: handled faster, and the next one is wider; slower, and it is narrower."""


class BadLine(Exception):
    """A line that is no event.

    Attributes:
        line: The line.
        reason: What is wrong with it.
    """

    def __init__(self, line: Line, reason: str) -> None:
        super().__init__(f"line {line.number}: {reason}")
        self.line = line
        self.reason = reason


def parse(line: Line, max_size: int) -> Event:
    """Read a line as `Event.from_json` does.

    Raises:
        BadLine: It is no event.
    """
    if line.is_too_long:
        raise BadLine(line, f"it is longer than the {max_size} bytes that a line may have")
    data = text_of(line)
    try:
        return Event.from_json(data, max_size=max_size)
    except EventError as error:
        raise BadLine(line, reason_of(data, str(error))) from error


def text_of(line: Line) -> bytes:
    """What stands on a line, without its end, nor the byte order mark of the first one."""
    data = line.data.rstrip(b"\r\n")
    return data.removeprefix(codecs.BOM_UTF8) if line.number == 1 else data


def is_blank(line: Line) -> bool:
    """Whether there is nothing on the line."""
    return not line.is_too_long and not text_of(line).strip()


def reason_of(data: bytes, problem: str) -> str:
    """Say what is wrong with a line, by what its parser says."""
    try:
        data.decode()
    except UnicodeDecodeError as wrong:
        return f"this is not UTF-8: byte 0x{data[wrong.start]:02x} at column {wrong.start + 1}"
    # The parser counts lines in what it was given, which is one.
    return re.sub(r"at line 1 column (\d+)", r"at column \1", problem)


def batches(source: Source, splitter: LineSplitter) -> Iterator[Sequence[Line]]:
    """Go through the lines of a source, as many at a time as came together, unless they are very many."""
    try:
        for chunk in source.chunks():
            split = splitter.split(chunk)
            while lines := list(islice(split, _MOST_LINES)):
                yield lines
        # Not reached when the source breaks off: what stands after the last line end is then no line.
        if lines := list(splitter.finish()):
            yield lines
    finally:
        splitter.close()


def source_of(path: str, what: str = "feed") -> Source:
    """Find a feed, or another file of lines.

    Raises:
        CommandError: There is no such file (exit code 5).
    """
    try:
        return Source(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"there is no {what} {path!r}"
        raise CommandError(msg, Exit.NOT_FOUND) from error
    except IsADirectoryError as error:
        msg = f"the {what} {path!r} is a folder; name a file"
        raise CommandError(msg, Exit.NOT_FOUND) from error


class SkippedLines:
    """The file beside a feed that keeps the lines that were skipped, byte for byte. Made when there is one.

    Attributes:
        path: Where it is.
    """

    def __init__(self, source: Source) -> None:
        """Name the file."""
        self.path = Path(f"{source.name}.skipped.ndjson")
        self._file: IO[bytes] | None = None
        self._size = 0

    def has_room(self, line: Line) -> bool:
        """Whether a line may be kept. Not one of which only the beginning is there."""
        if line.is_too_long and line.whole is None:
            return False
        size = len(line.data) if line.whole is None else line.whole.seek(0, os.SEEK_END)
        return self._size + size <= MAX_KEPT

    def keep(self, line: Line) -> None:
        """Append a line; it is in the file when this returns."""
        if self._file is None:
            self._file = self.path.open("ab")
        before = self._file.tell()
        if line.whole is None:
            self._file.write(line.data)
            ending = line.data[-1:]
        else:
            line.whole.seek(0)
            shutil.copyfileobj(line.whole, self._file)
            line.whole.seek(-1, os.SEEK_END)
            ending = line.whole.read()
        if ending != b"\n":
            self._file.write(b"\n")
        self._file.flush()
        self._size += self._file.tell() - before

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def find_bad_lines(source: Source, max_size: int, first_line: int) -> Iterator[BadLine | None]:
    """Read a feed without enqueuing anything: what is wrong with each line that is not blank, or None."""
    for lines in batches(source, LineSplitter(max_size)):
        for line in lines:
            if line.number < first_line or is_blank(line):
                continue
            try:
                parse(line, max_size)
            except BadLine as bad:
                yield bad
            else:
                yield None


class Feed:
    """Enqueues the lines of a source, in order.

    Attributes:
        source: Where the lines come from.
        kept: How many lines the backend keeps as events.
        skipped: How many were no events and are in `skipped_lines`.
        skipped_lines: The file for them.
        next_line: The first line of which nothing was done.
        error: Why it ended before the end of its source; None if it did not, or was stopped.
        code: The exit code of `error`.
        is_at_end: Whether its source was read to the end.
    """

    def __init__(
        self,
        source: Source,
        backend: Backend,
        emit: Callable[..., Awaitable[None]],
        *,
        first_line: int = 1,
        skips: bool = False,
        is_windowed: bool = False,
        max_outage: float | None = None,
        on_kept: Callable[[Sequence[tuple[int, Event]]], object] = lambda _: None,
        on_skipped: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Make a feed.

        Args:
            source: Where the lines come from.
            backend: Where the events go.
            emit: What enqueues them there.
            first_line: The lines before this one are passed over.
            skips: Whether a line that is no event is put aside; if not, the feed ends there.
            is_windowed: Whether to wait when enough events are queued.
            max_outage: Seconds after which a backend out of reach ends the feed; None for never.
            on_kept: Called with the numbers of lines and their events as soon as they are kept.
            on_skipped: Called with a sentence about each line that was skipped.
        """
        self.source = source
        self.kept = self.skipped = 0
        self.skipped_lines = SkippedLines(source)
        self.next_line = first_line
        self.error: str | None = None
        self.code = Exit.FAILED
        self.is_at_end = False
        self._backend = backend
        self._emit = emit
        self._first_line = first_line
        self._skips = skips
        self._on_kept = on_kept
        self._on_skipped = on_skipped
        self._max_size = backend.max_event_size + ENVELOPE
        self._batch_limit = BATCH
        # The lines that were read last, and where in the source they begin and end.
        self._in_hand: tuple[Sequence[Line], int, int] | None = None
        self._window = _Window(backend) if is_windowed else None
        self._calls = _RecentCalls()
        self._patience = Patience(backend.outage, max_outage, backend.clock)
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Read no more. What is being enqueued is finished."""
        self._stopped.set()

    @property
    def progress(self) -> float | None:
        """How much of the source is done, from 0 to 1; None when nobody knows. What was only read is not done."""
        if self.source.size is None or self._in_hand is None:
            return None
        lines, before, after = self._in_hand
        done = min(max(self.next_line - lines[0].number, 0) / len(lines), 1.0)
        return min((before + done * (after - before)) / self.source.size, 1.0)

    @property
    def how_to_go_on(self) -> str:
        """What was done until now, and the option that goes on from there."""
        skipped = f" and {self.skipped} skipped" if self.skipped else ""
        kept = f"{counted(self.kept, 'line is', 'lines are')} kept{skipped}"
        return f"{kept}, --from-line {self.next_line} goes on"

    async def run(self) -> None:
        """Enqueue until the end of the source, a bad line, trouble with the backend, or `stop()`."""
        splitter = LineSplitter(self._max_size, keep_long=self._skips, max_kept=MAX_KEPT)
        reader = BackgroundReader(batches(self.source, splitter))
        try:
            while not self._stopped.is_set():
                before = self.source.position
                lines = await self._unless_stopped(reader.next())
                if lines is None:
                    break
                self._in_hand = (lines, before, self.source.position)
                await self._take(lines)
            self.is_at_end = not self._stopped.is_set()
        except FeedBroken as broken:
            self.error = f"{self.source.name}, after line {self.next_line - 1}: {broken}"
        except BadLine as bad:
            self.error = f"{self.source.name}, {bad}"
        except (BackendError, OSError) as error:
            self.error = f"{self.source.name}, line {self.next_line}: {error}"
            self.code = Exit.FAILED if isinstance(error, BackendFull | BackendClosed) else Exit.NO_BACKEND
        finally:
            reader.close()
            self.skipped_lines.close()

    async def _unless_stopped(self, waited_for: Coroutine[Any, Any, T]) -> T | None:
        """Wait for something, or until stopped: None."""
        work = asyncio.ensure_future(waited_for)
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            work.cancel()
            stopped.cancel()

    # --- lines ----------------------------------------------------------------------------------------------

    async def _take(self, lines: Sequence[Line]) -> None:
        """Enqueue what stands on some lines."""
        try:
            await self._take_open(lines)
        finally:
            for line in lines:
                if line.whole is not None:
                    line.whole.close()

    async def _take_open(self, lines: Sequence[Line]) -> None:
        waiting: list[tuple[Line, Event]] = []
        for line in lines:
            if line.number < self._first_line or is_blank(line):
                continue
            try:
                event = parse(line, self._max_size)
            except BadLine as bad:
                await self._keep(waiting)
                waiting = []
                if self._stopped.is_set():
                    return
                self._meet(bad)
                continue
            waiting.append((line, event))
            if len(waiting) == BATCH:
                await self._keep(waiting)
                waiting = []
        await self._keep(waiting)
        if not self._stopped.is_set():
            self.next_line = max(self._first_line, lines[-1].number + 1)

    def _meet(self, bad: BadLine) -> None:
        """Put a bad line aside, or end the feed."""
        self.next_line = bad.line.number
        if not self._skips:
            raise bad
        if not self.skipped_lines.has_room(bad.line):
            reason = f"{bad.reason}; it is not skipped: {MAX_KEPT >> 20} MiB of bad lines are put aside at the most"
            raise BadLine(bad.line, reason)
        try:
            self.skipped_lines.keep(bad.line)
        except OSError as error:
            reason = f"{bad.reason}, and it cannot be kept in {self.skipped_lines.path}: {error.strerror or error}"
            raise BadLine(bad.line, reason) from error
        self.skipped += 1
        self.next_line += 1
        self._on_skipped(f"{self.source.name}, {bad}; skipped")

    # --- events ---------------------------------------------------------------------------------------------

    async def _keep(self, waiting: Sequence[tuple[Line, Event]]) -> None:
        """Enqueue events, all of them unless stopped, as many in a call as there is room for."""
        pause = _PAUSE_MIN
        while waiting and not self._stopped.is_set():
            room = BATCH if self._window is None else await self._window.look_for_room()
            if room == 0:
                pause = await self._pause(pause)
                continue
            count = min(len(waiting), self._batch_limit, room)
            count = self._calls.unlike_before(waiting[:count])
            try:
                await self._patience.through(
                    partial(self._emit, *(event for _, event in waiting[:count])), self._stopped
                )
            except BackendFull:
                self._batch_limit = max(1, count // 2)
                if count == 1:
                    await self._unless_stopped(self._backend.wait_for_room())
                continue
            except EventError as error:
                # All or none: alone, each of them shows whether it is the one.
                self._batch_limit = 1
                if count == 1:
                    self._meet(BadLine(waiting[0][0], str(error)))
                    waiting = waiting[1:]
                continue
            pause = _PAUSE_MIN
            self._count(waiting[:count])
            waiting = waiting[count:]

    def _count(self, kept: Sequence[tuple[Line, Event]]) -> None:
        self.kept += len(kept)
        self.next_line = kept[-1][0].number + 1
        if self._window is not None:
            self._window.use(kept)
        self._batch_limit = min(BATCH, self._batch_limit * 2)
        self._calls.made(kept)
        self._on_kept([(line.number, event) for line, event in kept])

    async def _pause(self, length: float) -> float:
        """Let others work for a while; return how long to pause the next time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(length):
                await self._stopped.wait()
        return min(length * 2, _PAUSE_MAX)


def exit_code(feed: Feed | None, first: signal.Signals | None, *, is_cancelled: bool) -> Exit:
    """The exit code of what came to its end, or was stopped by a signal."""
    if feed is not None and feed.error is not None:
        return feed.code
    if is_cancelled or first is signal.Signals.SIGINT:
        return Exit.INTERRUPTED
    if feed is not None and feed.skipped:
        return Exit.IN_PART
    return Exit.OK


class _Window:
    """How many events may be ahead of those that are handled: about as many as are handled in half a second.

    So memory is bounded, and little has to be drained, or is handled again, when the feed is stopped.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._width = _NARROW
        self._room = 0
        self._opened = 0.0
        self._average_size = 1.0

    async def look_for_room(self) -> int:
        """How many events may be enqueued now. Opens again when half of the window is handled."""
        if self._room > 0:
            return self._room
        queued = (await self._backend.admin.stats()).queued
        if queued > self._width // 2:
            return 0
        self._adapt()
        self._room = max(1, self._width - queued)
        return self._room

    def use(self, kept: Sequence[tuple[Line, Event]]) -> None:
        """Fill some of it."""
        self._room -= len(kept)
        for line, _ in kept:
            self._average_size += (len(line.data) - self._average_size) / 64

    def _adapt(self) -> None:
        now = SYSTEM_CLOCK.monotonic()
        elapsed, self._opened = now - self._opened, now
        if elapsed < _FAST:
            self._width *= 2
        elif elapsed > _SLOW:
            self._width //= 2
        widest = max(1, min(WINDOW, int(WINDOW_BYTES / self._average_size)))
        self._width = min(max(self._width, _NARROW), widest)


class _RecentCalls:
    """Remembers calls, because a backend takes an identical one for a repetition, and keeps nothing.

    A feed may hold the same lines several times, as when a day's file is fed twice: they are then cut differently.
    A single line, given twice with one id, stays one event.
    """

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def unlike_before(self, events: Sequence[tuple[Line, Event]]) -> int:
        """How many of the events make a call that was not made before; 1 at the least."""
        count = len(events)
        while count > 1 and _call(events[:count]) in self._until:
            count -= 1
        return count

    def made(self, events: Sequence[tuple[Line, Event]]) -> None:
        """Remember a call."""
        now = SYSTEM_CLOCK.monotonic()
        while self._until and (oldest := next(iter(self._until.items())))[1] <= now:
            del self._until[oldest[0]]
        self._until[_call(events)] = now + _REMEMBERED


def _call(events: Sequence[tuple[Line, Event]]) -> int:
    return hash(tuple(event.id.int for _, event in events))

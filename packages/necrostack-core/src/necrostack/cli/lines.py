"""From bytes to numbered lines, in bounded memory: of a file, plain or gzip, or of stdin."""

from __future__ import annotations

import itertools
import os
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

CHUNK: Final = 65_536
"""Bytes that are read, or unpacked, at a time: what a pipe holds on Linux (pipe(7))."""

MAX_KEPT: Final = 64 * 1_048_576
"""Bytes of bad lines that one feed puts aside at the most: a few of gzip may unpack to a thousand times as many."""

STDIN: Final = "-"

_GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, 2.3.1; no line of JSON begins so


class FeedBroken(Exception):
    """The feed cannot be read to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line.

    Attributes:
        number: Counted from 1.
        data: Its bytes with the line end; of a line that is too long only the beginning.
        whole: All bytes of a line that is too long, when they were to be kept and are not too many for that either.
            Whoever gets it closes it.
        is_too_long: Whether it is longer than the limit.
    """

    number: int
    data: bytes
    whole: IO[bytes] | None = None
    is_too_long: bool = False


class LineSplitter:
    """Cuts chunks into lines. Holds no more than one chunk and one line of the allowed length."""

    def __init__(self, max_size: int, *, keep_long: bool = False, max_kept: int = MAX_KEPT) -> None:
        """Make one for a feed.

        Args:
            max_size: How many bytes a line may have, the line end included.
            keep_long: Whether the bytes of a longer line are put aside, in a temporary file. If not, the line
                is given as soon as it is known to be too long, and the rest of it is dropped.
            max_kept: Of how many bytes a line may be that is put aside. A longer one is given and dropped as well.
        """
        self._max_size = max_size
        self._most = max(max_kept, max_size) if keep_long else max_size
        self._number = 1
        self._parts: list[bytes] = []
        self._size = 0
        self._whole: IO[bytes] | None = None

    def split(self, chunk: bytes) -> Iterator[Line]:
        """Go through the lines that end in this chunk."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            yield from self._add(chunk[start : end + 1])
            yield from self._end()
            start = end + 1
        yield from self._add(chunk[start:])

    def finish(self) -> Iterator[Line]:
        """Give the last line, when it has no line end."""
        if self._size:
            yield from self._end()

    def close(self) -> None:
        """Let go of a line that was put aside and never came to its end."""
        if self._whole is not None:
            self._whole.close()
            self._whole = None

    def _add(self, part: bytes) -> Iterator[Line]:
        was_given = self._size > self._most
        self._size += len(part)
        if self._size <= self._max_size:
            self._parts.append(part)
        elif self._size <= self._most:
            if self._whole is None:
                self._whole = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by whoever gets the line
                self._whole.writelines(self._parts)
            self._whole.write(part)
        elif not was_given:
            if self._whole is not None:
                self._whole.close()
                self._whole = None
            yield Line(number=self._number, data=b"".join(self._parts), is_too_long=True)

    def _end(self) -> Iterator[Line]:
        data = b"".join(self._parts)
        if self._size <= self._max_size:
            yield Line(number=self._number, data=data)
        elif self._whole is not None:
            self._whole.seek(0)
            yield Line(number=self._number, data=data, whole=self._whole, is_too_long=True)
        self._parts, self._size, self._whole = [], 0, None
        self._number += 1


class Source:
    """The bytes of a feed, unpacked if they are gzip, whatever it is called.

    Attributes:
        name: What it is called in messages.
        size: How many bytes there are to read; None when nobody knows.
        position: How many were read.
    """

    def __init__(self, path: str) -> None:
        """Take a file, or stdin for `-`. It is opened when it is read.

        Raises:
            FileNotFoundError: There is no such file.
            IsADirectoryError: It is a folder.
        """
        self._path = None if path == STDIN else Path(path)
        self.name = "stdin" if self._path is None else path
        self.size: int | None = None
        self.position = 0
        if self._path is not None:
            status = self._path.stat()
            if stat.S_ISDIR(status.st_mode):
                msg = f"{path} is a folder"
                raise IsADirectoryError(msg)
            self.size = status.st_size if stat.S_ISREG(status.st_mode) else None

    @property
    def part_read(self) -> float | None:
        """How much was read, from 0 to 1; None when nobody knows."""
        return min(self.position / self.size, 1.0) if self.size else None

    def chunks(self) -> Iterator[bytes]:
        """Go through the bytes.

        Raises:
            FeedBroken: It cannot be read, or its gzip data is damaged or ends early.
        """
        packed = self._read()
        first = next(packed, b"")
        while len(first) == 1 and (more := next(packed, b"")):  # a pipe may give one byte at a time
            first += more
        chunks = itertools.chain((first,), packed)
        yield from _unpacked(chunks) if first.startswith(_GZIP_MAGIC) else chunks

    def _read(self) -> Iterator[bytes]:
        # Not by sys.stdin: a daemon thread that waits in its lock would disturb the end of the process.
        try:
            file = sys.stdin.fileno() if self._path is None else os.open(self._path, os.O_RDONLY | _O_BINARY)
            try:
                while chunk := os.read(file, CHUNK):
                    self.position += len(chunk)
                    yield chunk
            finally:
                if self._path is not None:
                    os.close(file)
        except OSError as error:
            msg = f"it cannot be read: {error.strerror or error}"
            raise FeedBroken(msg) from error


_O_BINARY: int = getattr(os, "O_BINARY", 0)  # Windows only


def _unpacked(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack gzip data of one or several members, never more than a chunk at a time."""
    member: zlib._Decompress | None = None
    for chunk in packed:
        waiting = chunk
        while waiting:
            if member is None:
                waiting = waiting.lstrip(b"\0")  # padding, as tapes and block devices add it
                if not waiting:
                    break
                member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            yield from _inflated(member, waiting)
            waiting = member.unused_data
            if not member.eof:
                break
            member = None
    if member is not None:
        msg = "its gzip data ends too early"
        raise FeedBroken(msg)


def _inflated(member: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """What a member gives for `data`, piece by piece: a few bytes may unpack to a thousand times as many."""
    while True:
        try:
            piece = member.decompress(data, CHUNK)
        except zlib.error as error:
            msg = f"its gzip data is damaged ({error})"
            raise FeedBroken(msg) from error
        if piece:
            yield piece
        data = member.unconsumed_tail
        if member.eof or (not data and len(piece) < CHUNK):
            return

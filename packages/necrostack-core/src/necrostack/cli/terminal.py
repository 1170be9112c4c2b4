"""What a command shows: data on stdout, all else on stderr; colour where rich is and a person looks.

Nothing that is written here, but for its own colours and its status line, does anything to a terminal: events, errors
and names may be anybody's.
"""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from typing_extensions import Buffer

from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.printable import json_text, printable, printable_lines, without_passwords
from necrostack.log import format_traceback

CLEAR_LINE = "\r\x1b[K"
"""To the line's beginning, and erase it: ECMA-48 `EL`."""


_REFRESH, _REFRESH_LINES = 0.2, 10.0
"""Seconds between two looks at how far something is: for a person, and for a log."""


class Terminal:
    """Writes to stdout and stderr as they are at the time of writing.

    Attributes:
        shares_status: Whether another process may have left a status line in the terminal's last line.
    """

    def __init__(self) -> None:
        self.shares_status = False
        self._status = ""

    @property
    def is_watched(self) -> bool:
        """Whether a person looks at stderr, so that progress is worth showing."""
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def refresh(self) -> float:
        """Seconds between two times that progress is shown."""
        return _REFRESH if self.is_watched else _REFRESH_LINES

    @property
    def is_read(self) -> bool:
        """Whether somebody still reads stdout; not when `… | head` has seen enough."""
        raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
        return not (isinstance(raw, _QuietPipe) and raw.is_broken)

    # --- data -----------------------------------------------------------------------------------------------

    def text(self, text: str) -> None:
        """Write lines to stdout."""
        self.clear_status()
        print(printable_lines(text), flush=True)

    def data(self, value: object) -> None:
        """Write one JSON value to stdout, as one line."""
        self.text(json_text(value))

    def binary(self, data: bytes) -> None:
        """Write what is no text to stdout.

        Raises:
            CommandError: That is a terminal (exit code 2).
        """
        if sys.stdout.isatty():
            msg = "this is no text for a terminal; write it to a file with --output FILE"
            raise CommandError(msg, Exit.USAGE)
        self.clear_status()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write a table to stdout: the first column is a name, the others are numbers."""
        if sys.stdout.isatty() and importlib.util.find_spec("rich"):
            self.clear_status()
            _rich_table(header, rows)
        else:
            self.text(_plain_table(header, rows))

    # --- what is said about it ------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Write a line to stderr."""
        self._say(f"necrostack: {text}")

    def error(self, text: str) -> None:
        """Write to stderr what went wrong."""
        self._say(f"necrostack: error: {' '.join(text.split())}")

    def interrupted(self) -> None:
        """Say on stderr that it was interrupted."""
        if self.is_watched:
            sys.stderr.write("\n")  # the terminal has written ^C, behind whatever stood there
        self.error("interrupted")

    def traceback(self, error: BaseException) -> None:
        """Write to stderr where an error comes from."""
        self.clear_status()
        print(printable_lines(format_traceback(error).rstrip()), file=sys.stderr, flush=True)

    def _say(self, line: str) -> None:
        self.clear_status()
        print(printable(without_passwords(line)), file=sys.stderr, flush=True)

    # --- the status line ------------------------------------------------------------------------------------

    def progress(self, text: str, done: float | None = None) -> None:
        """Show how far it is: in the status line, or, where nobody watches, on a line of its own.

        Args:
            text: What to show.
            done: How much of it is done, from 0 to 1; None when nobody knows.
        """
        if self.is_watched:
            self.status(text, done)
        else:
            self.note(text if done is None else f"{done:.0%}: {text}")

    def status(self, text: str, done: float | None = None) -> None:
        """Show how far it is in the last line of the terminal.

        Args:
            text: What to show.
            done: How much of it is done, from 0 to 1; None when nobody knows.
        """
        sys.stderr.write(CLEAR_LINE + _status_line(printable(text), done))
        sys.stderr.flush()
        self._status = text

    def clear_status(self) -> None:
        """Take the status line away."""
        if self._status or self.shares_status:
            self._status = ""
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Say how many of something there are.

    >>> counted(1, "line"), counted(2, "line")
    ('1 line', '2 lines')
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


# --- tables -------------------------------------------------------------------------------------------------


def _plain_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    first, *lines = _aligned(header, rows)
    rule = ["-" * len(cell) for cell in first]
    return "\n".join("  ".join(cells).rstrip() for cells in (first, rule, *lines))


def _aligned(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[list[str]]:
    """The cells of the header and of each row, all of a column equally wide: the first begin, the others end alike."""
    cells = [[printable(str(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for first, *others in cells:
        yield [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]


def _rich_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write the same with style. A table of rich's own takes more room, and breaks names in two to have it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout)
    first, *lines = _aligned(header, rows)
    console.print(Text("  ".join(first), "bold"), soft_wrap=True)
    rule = "-" if console.options.ascii_only else "─"
    console.print(Text(rule * len("  ".join(first))), soft_wrap=True)
    for line, row in zip(lines, rows, strict=True):
        styles = [
            "red" if name in ("failed", "dead-lettered") and cell not in (0, "-") else ""
            for name, cell in zip(header, row, strict=True)
        ]
        texts = (Text(cell, style) for cell, style in zip(line, styles, strict=True))
        console.print(Text("  ").join(texts), soft_wrap=True)


# --- the status line ----------------------------------------------------------------------------------------

_WIDEST_BAR, _NARROWEST_BAR = 24, 8


def _status_line(text: str, done: float | None) -> str:
    width = _terminal_width() - 1
    if done is None:
        return text[:width]
    percent = f"{done:4.0%} "
    bar = min(width - len(percent) - len(text) - 1, _WIDEST_BAR)
    if bar < _NARROWEST_BAR:
        return f"{percent}{text}"[:width]
    return f"{_bar(done, bar)} {percent}{text}"


def _bar(done: float, width: int) -> str:
    if importlib.util.find_spec("rich") is None:
        return f"[{'#' * round((width - 2) * done):.<{width - 2}}]"
    from rich.console import Console
    from rich.progress_bar import ProgressBar

    console = Console(file=sys.stderr)
    with console.capture() as captured:
        console.print(ProgressBar(total=1.0, completed=done, width=width), end="")
    return captured.get().rstrip("\n")


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


# --- closed pipes -------------------------------------------------------------------------------------------


class _QuietPipe(io.FileIO):
    """A file descriptor that swallows what is written after its reader, `… | head` or a terminal, has gone.

    Attributes:
        has_lost_reader: Whether that happened.
    """

    has_lost_reader = False

    @property
    def is_broken(self) -> bool:
        """Whether the reader has gone, also when nothing was written since."""
        if not self.has_lost_reader and hasattr(select, "poll"):
            looked = select.poll()
            looked.register(self.fileno(), 0)
            # A pipe without a reader, or a terminal that was closed: poll(2), POLLERR and POLLHUP.
            self.has_lost_reader = any(event & (select.POLLERR | select.POLLHUP) for _, event in looked.poll(0))
        return self.has_lost_reader

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            self.has_lost_reader = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(data)


@contextmanager
def quiet_pipes() -> Iterator[None]:
    """Let neither stdout nor stderr complain when their reader stops early: the command finishes its work.

    What the application prints is covered, too. Streams that are not the process's own are left alone.
    """
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = _quiet(sys.stdout, sys.__stdout__, nowhere)
        sys.stderr = _quiet(sys.stderr, sys.__stderr__, nowhere)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


def _quiet(stream: TextIO | None, original: TextIO | None, nowhere: TextIO) -> TextIO:
    if stream is None:  # the process was started without it
        return nowhere
    if stream is not original:
        return stream
    stream.flush()
    settings: dict[str, Any] = {
        "encoding": stream.encoding,
        "errors": stream.errors,
        "line_buffering": stream.isatty(),
    }
    return io.TextIOWrapper(io.BufferedWriter(_QuietPipe(stream.fileno(), "w", closefd=False)), **settings)

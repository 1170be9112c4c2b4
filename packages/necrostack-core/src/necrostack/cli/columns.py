"""Rows of text as they come, in columns: for lists that may be long, or never end."""

from __future__ import annotations

import importlib.util
import os
import sys
import textwrap
from collections.abc import Sequence
from unicodedata import combining, east_asian_width

from necrostack.cli.printable import printable
from necrostack.cli.terminal import Terminal

_FIRST = 100
"""How many rows are looked at for how wide the columns must be. Later ones may be wider, and then stick out."""

_LEAST = 40
"""Fewer cells of a terminal say too little of an error or a payload."""

_INDENT = "    "


class Columns:
    """Writes rows to stdout, under a header. Where a person looks, a row takes two lines at the most."""

    def __init__(self, terminal: Terminal, *header: str) -> None:
        self._terminal = terminal
        self._header = header
        self._waiting: list[Sequence[str]] = []
        self._widths: list[int] = []
        self._width = stdout_width()

    def row(self, *cells: str) -> None:
        """Write a row."""
        self._waiting.append([printable(cell) for cell in cells])
        if self._widths or len(self._waiting) >= _FIRST:
            self.flush()

    def flush(self) -> None:
        """Write the rows that were held back to see how wide they are."""
        if not self._waiting:
            return
        if not self._widths:
            rows = [self._header, *self._waiting]
            self._widths = [max(cells_of(row[column]) for row in rows) for column in range(len(self._header))]
            _write_heading(self._terminal, self._line(self._header))
        waiting, self._waiting = self._waiting, []
        self._terminal.text("\n".join(self._line(row) for row in waiting))

    def _line(self, row: Sequence[str]) -> str:
        *cells, last = row
        widths = self._widths[:-1]
        begin = "".join(
            cell + " " * (max(width - cells_of(cell), 0) + 2) for cell, width in zip(cells, widths, strict=True)
        )
        if self._width is None:
            return f"{begin}{last}".rstrip()
        left = self._width - cells_of(begin)
        if left >= _LEAST or cells_of(last) <= left:
            return f"{begin}{cut(last, left)}".rstrip()
        # Too little is left to say anything.
        return f"{begin.rstrip()}\n{_INDENT}{cut(last, self._width - len(_INDENT))}"


def cut(text: str, room: int) -> str:
    """Cut a text to so many cells of a terminal.

    >>> cut("abcdef", 4)
    'abc…'
    """
    if cells_of(text) <= room:
        return text
    kept, left = "", room - 1
    for char in text:
        left -= cells_of(char)
        if left < 0:
            break
        kept += char
    return f"{kept}…" if room > 0 else ""


def hanging(text: str, begin: str, then: str | None = None) -> str:
    """Begin a sentence; where a person looks, break it into lines that are indented as far as it was begun.

    Args:
        text: The sentence.
        begin: What stands before it.
        then: What stands before each further line, if not blanks.
    """
    width = stdout_width()
    if width is None:
        return f"{begin}{text}"
    then = " " * cells_of(begin) if then is None else then
    room = max(width - cells_of(begin), _LEAST // 2)
    first, *rest = textwrap.wrap(text, room, break_on_hyphens=False) or [""]
    return "\n".join([f"{begin}{first}", *(f"{then}{line}" for line in rest)])


def cells_of(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def stdout_width() -> int | None:
    """How wide the terminal is that stdout goes to; None where it goes elsewhere."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _write_heading(terminal: Terminal, line: str) -> None:
    if not (sys.stdout.isatty() and importlib.util.find_spec("rich")):
        terminal.text(line)
        return
    from rich.console import Console
    from rich.text import Text

    terminal.clear_status()
    Console(file=sys.stdout).print(Text(line, style="bold"), soft_wrap=True)

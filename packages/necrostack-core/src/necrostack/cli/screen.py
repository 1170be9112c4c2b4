"""A view that is drawn again and again in one place of a terminal, until a key or a signal ends it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, Self

from necrostack.cli.printable import printable

Tone = Literal["plain", "heading", "bad", "quiet"]

_STYLES: dict[Tone, str] = {"plain": "", "heading": "bold", "bad": "red", "quiet": "dim"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the view."""

    text: str
    tone: Tone = "plain"


def can_redraw() -> bool:
    """Whether stdout is a terminal in which a line can be written over, and rich is there to do it."""
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return is_terminal and importlib.util.find_spec("rich") is not None


def wrapped(text: str, width: int | None) -> list[str]:
    """Share a sentence out to lines of so many cells."""
    return [text] if width is None else textwrap.wrap(text, width)


class Screen:
    """The whole terminal, for as long as this is entered. What stood there comes back afterwards."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=sys.stdout)
        self._live = Live(console=self._console, screen=True, auto_refresh=False, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    @property
    def width(self) -> int:
        """How many cells a line has now."""
        return self._console.size.width

    def show(self, lines: Sequence[Line]) -> None:
        """Show lines in place of those before. Where there are too many, the last one says how many are not shown."""
        from rich.console import Group
        from rich.text import Text

        height = self._console.size.height
        if len(lines) > height:
            hidden = len(lines) - height + 1
            lines = [*lines[: height - 1], Line(f"and {hidden} more lines: make the terminal larger", "quiet")]
        texts = (Text(printable(line.text), _STYLES[line.tone], no_wrap=True, overflow="crop") for line in lines)
        self._live.update(Group(*texts), refresh=True)


@contextmanager
def quitting(quit_: Callable[[], object]) -> Iterator[None]:
    """Call `quit_` when whoever sits at the terminal presses q, or SIGTERM comes. Ctrl-C interrupts as ever."""
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, RuntimeError):  # no signals on Windows, and none but in the main thread
        loop.add_signal_handler(signal.SIGTERM, quit_)
    try:
        with _keys(loop, quit_):
            yield
    finally:
        with suppress(NotImplementedError, RuntimeError):
            loop.remove_signal_handler(signal.SIGTERM)


@contextmanager
def _keys(loop: asyncio.AbstractEventLoop, quit_: Callable[[], object]) -> Iterator[None]:
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield
        return
    if sys.stdin is None or not sys.stdin.isatty() or _is_in_background(sys.stdin.fileno()):
        yield
        return
    keyboard = sys.stdin.fileno()

    def read() -> None:
        try:
            pressed = os.read(keyboard, 64)
        except OSError:  # the terminal was closed
            pressed = b""
        if pressed in (b"", b"q", b"Q"):
            quit_()

    before: list[Any] = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard, termios.TCSANOW)
    loop.add_reader(keyboard, read)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        with suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(keyboard, termios.TCSANOW, before)


def _is_in_background(keyboard: int) -> bool:
    """Whether a shell has put us there: it stops whoever then changes how the terminal reads."""
    try:
        return os.tcgetpgrp(keyboard) != os.getpgrp()
    except OSError:  # ENOTTY: not the terminal that rules this process
        return False

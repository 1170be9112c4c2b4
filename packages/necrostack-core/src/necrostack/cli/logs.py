"""The log of a command: what it looks like, how much of it there is, and where it goes."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from necrostack.cli.console import ConsoleFormatter
from necrostack.cli.terminal import Terminal
from necrostack.log import JsonFormatter, Sampling, logger, set_sampling

FORMATS: Final = ("json", "console")
LEVELS: Final = ("debug", "info", "warning", "error")

_OFF: Final = "off"


def add_log(parser: argparse.ArgumentParser) -> None:
    """Add what every command has that logs."""
    group = parser.add_argument_group("log")
    group.add_argument(
        "--log-format", choices=FORMATS, type=str.lower, help="one JSON object a line, or lines for people"
    )
    group.add_argument("--log-level", choices=LEVELS, type=str.lower, help="log only this and what is graver")
    group.add_argument(
        "--log-repeats",
        metavar="N/SECONDS",
        type=repeats,
        help="of errors of one kind write N in so many seconds, and count the others; off writes all",
    )


def repeats(text: str) -> str:
    """Check how many errors of one kind are written in how many seconds, for argparse."""
    try:
        _sampling(text)
    except ValueError as error:
        msg = f"{text!r} is no number of lines and seconds, such as 10/60, nor off"
        raise argparse.ArgumentTypeError(msg) from error
    return text


def _sampling(text: str) -> Sampling | None:
    if text.strip().lower() == _OFF:
        return None
    first, _, window = text.partition("/")
    return Sampling(first=int(first), window=float(window))


@contextmanager
def logging_as(
    arguments: argparse.Namespace, terminal: Terminal, *, usual: int = logging.WARNING, tells: bool = True
) -> Iterator[None]:
    """Write the log to stderr, clear of the status line, unless the application configured logging itself.

    It is everybody's log: what handlers log by other loggers is written alike.

    Args:
        arguments: The command's. The level that they name also holds where the application configured the rest.
        terminal: Where to.
        usual: The level when nobody names one.
        tells: Whether to say that a format was named which the application's own takes the place of.
    """
    named = arguments.log_level
    level = usual if named is None else logging.getLevelNamesMapping()[named.upper()]
    is_verbose = arguments.verbose and not (named and arguments.settings.is_flag("log_level"))
    own_level = logging.DEBUG if is_verbose else level
    # Sampling ends first: what it left out is written then.
    if logger.handlers or logging.getLogger().handlers:
        if arguments.log_format is not None and tells:
            terminal.note("the application configured logging itself, so --log-format changes nothing")
        with _levels({logger: own_level} if named or is_verbose else {}), _sampled(arguments.log_repeats):
            yield
    else:
        levels, handler = {logger: own_level, logging.getLogger(): level}, _handler(arguments, terminal)
        with _levels(levels), _handled_by(handler), _sampled(arguments.log_repeats):
            yield


@contextmanager
def _sampled(wanted: str | None) -> Iterator[None]:
    if wanted is None:  # what the application set holds
        yield
        return
    before = set_sampling(_sampling(wanted))
    try:
        yield
    finally:
        set_sampling(before)


@contextmanager
def _levels(levels: Mapping[logging.Logger, int]) -> Iterator[None]:
    before = {each: each.level for each in levels}
    for each, level in levels.items():
        each.setLevel(level)
    try:
        yield
    finally:
        for each, level in before.items():
            each.setLevel(level)


@contextmanager
def _handled_by(handler: logging.Handler) -> Iterator[None]:
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _handler(arguments: argparse.Namespace, terminal: Terminal) -> logging.Handler:
    handler = _Handler(terminal)
    if arguments.log_format == "console":
        handler.setFormatter(ConsoleFormatter(is_coloured=_may_colour(terminal)))
    else:
        handler.setFormatter(JsonFormatter())
    return handler


def _may_colour(terminal: Terminal) -> bool:
    # https://no-color.org
    return terminal.is_watched and not os.environ.get("NO_COLOR") and importlib.util.find_spec("rich") is not None


class _Handler(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            self._terminal.clear_status()
            print(line, file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 -- as every handler of the standard library
            self.handleError(record)

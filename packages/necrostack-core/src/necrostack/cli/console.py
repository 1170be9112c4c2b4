"""The log as a person reads it: one line a record, with its traceback under it."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from necrostack.cli.printable import json_text, printable, printable_lines
from necrostack.log import fields_of, logger

_STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}


class ConsoleFormatter(logging.Formatter):
    """Writes a record as `12:00:00.000Z WARNING name fact=value …`; times are UTC, as in all that the commands show."""

    def __init__(self, *, is_coloured: bool) -> None:
        """Colour it by its level, or not; colours need rich."""
        super().__init__()
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines, without the last line end. Nothing that was logged acts on a terminal."""
        parts = [*_parts(record)]
        return _coloured(parts) if self._is_coloured else "".join(text for text, _ in parts)


def _parts(record: logging.LogRecord) -> Iterator[tuple[str, str]]:
    """The parts of what is written, each with its style."""
    fields = fields_of(record)
    time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
    yield f"{time}.{int(record.msecs):03}Z ", "dim"
    yield f"{printable(record.levelname):7} ", _STYLES.get(record.levelname, "")
    if record.name != logger.name:
        yield f"{printable(record.name)}: ", "dim"
    yield printable(str(fields.pop("event"))), "bold"
    traceback = fields.pop("traceback", None)
    for name, value in _for_people(fields):
        yield f" {printable(name)}=", "dim"
        yield _value(value), ""
    if traceback:
        told = textwrap.indent(printable_lines(str(traceback)), "    ")
        yield f"\n{told}", "dim"


def _for_people(fields: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """What a person wants to know first comes first, and nothing is said twice."""
    if fields.get("correlation_id") == fields.get("event_id"):
        fields.pop("correlation_id", None)
    if str(fields.get("error", "")).startswith(f"{fields.get('error_type')}: "):
        fields.pop("error_type")
    last = [(name, fields.pop(name)) for name in _LAST if name in fields]
    yield from [(name, fields.pop(name)) for name in _FIRST if name in fields]
    yield from fields.items()
    yield from last


_FIRST = ("worker", "organ", "event_type", "attempt", "reason", "error")
_LAST = ("event_id", "correlation_id")


def _value(value: object) -> str:
    """Write a value so that it is one word, or in quotes."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str) and value and value.isprintable() and not {*value} & {*' "=,'}:
        return value
    try:
        return json_text(value)
    except (TypeError, ValueError, RecursionError):
        return f"<{type(value).__name__}>"


def _coloured(parts: list[tuple[str, str]]) -> str:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stderr)
    with console.capture() as captured:
        console.print(Text.assemble(*parts), soft_wrap=True, end="")
    return captured.get()

"""The log: one JSON object a line, a constant event name and facts. Payloads and passwords never."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
import traceback
from datetime import UTC, datetime
from typing import Final, TextIO

from necrostack.errors import cut, explain
from necrostack.event import Event

logger = logging.getLogger("necrostack")

_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def event_facts(event: Event) -> dict[str, object]:
    """Return what every log line about an event says of it: never its payload."""
    return {
        "event_id": str(event.id),
        "event_type": event.event_type,
        "correlation_id": str(event.correlation_id),
    }


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, logger, event, and whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line end. It never fails: what JSON cannot carry is written as text."""
        facts: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": _message(record),
        }
        given = {name: value for name, value in vars(record).items() if name not in _RECORD_FIELDS}
        facts = given | facts if given.keys() & facts.keys() else facts | given
        if record.exc_info and record.exc_info[1] is not None:
            facts["traceback"] = format_traceback(record.exc_info[1])
        return "{" + ", ".join(f"{json.dumps(name)}: {_json(value)}" for name, value in facts.items()) + "}"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 -- arguments that do not fit the message are no reason to lose it
        return _text(record.msg)


def _json(value: object) -> str:
    try:
        return json.dumps(value, default=_text, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_text(value))


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 -- how an object shows itself is foreign code
        return f"<{type(value).__name__}>"


MAX_TRACEBACK: Final = 65_536
"""Characters of a traceback that are logged and kept: a group may hold any number of errors."""


def format_traceback(error: BaseException) -> str:
    """Format an error and what caused it, oldest first, cut, and without the input that pydantic would quote."""
    return cut(_formatted(error), MAX_TRACEBACK)


def _formatted(error: BaseException) -> str:
    parts: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(link.__traceback__)]
        lines.append(f"{type(link).__qualname__}: {explain(link)}\n")
        lines += [f"{cut(_text(note))}\n" for note in getattr(link, "__notes__", None) or ()]
        if isinstance(link, BaseExceptionGroup):
            lines += [textwrap.indent(format_traceback(inner), "  | ") for inner in link.exceptions]
        parts.append("".join(lines))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\nand then:\n\n".join(reversed(parts))


def _hide_input(record: logging.LogRecord) -> bool:
    # Formatters of the application's own take this text, where they would have pydantic quote the payload.
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = format_traceback(record.exc_info[1]).rstrip()
    return True


logger.addFilter(_hide_input)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what is stderr at that time: it may be replaced, as tests do."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def install_default_handler() -> None:
    """Write the log to stderr as JSON, unless the application configured logging itself.

    The application's configuration is respected wherever it is: on this logger or on the root. The logger
    keeps propagating either way.
    """
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = _StderrHandler()
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)

"""The log: one JSON object a line, a constant event name and facts. Payloads and passwords never."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

from necrostack.errors import explain
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
        """Return the line, without a line end."""
        facts: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        facts.update((name, value) for name, value in vars(record).items() if name not in _RECORD_FIELDS)
        if record.exc_info and record.exc_info[1] is not None:
            facts["traceback"] = format_traceback(record.exc_info[1])
        return json.dumps(facts, default=str)


def format_traceback(error: BaseException) -> str:
    """Format an error and what caused it, oldest first, without the input that pydantic would quote."""
    parts: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(link.__traceback__)]
        notes = "".join(f"\n{note}" for note in getattr(link, "__notes__", ()))
        parts.append(f"{''.join(lines)}{type(link).__qualname__}: {explain(link)}{notes}\n")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\nand then:\n\n".join(reversed(parts))


def install_default_handler() -> None:
    """Write the log to stderr as JSON, unless the application configured logging itself.

    The application's configuration is respected wherever it is: on this logger or on the root. The logger keeps
    propagating either way.
    """
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)

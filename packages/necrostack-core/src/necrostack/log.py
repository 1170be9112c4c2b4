"""The log: one JSON object a line, a constant event name and facts. Payloads and passwords never."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from necrostack.errors import cut, explain
from necrostack.event import Event
from necrostack.handling import now_handling
from necrostack.repeats import Kind, LeftOut, Repeats, Sampling

__all__ = ["JsonFormatter", "Redaction", "Sampling", "name_handled_event", "set_redaction", "set_sampling"]

logger = logging.getLogger("necrostack")

_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

Redaction = Callable[[dict[str, object]], Mapping[str, object]]
"""Gets the fields of a line, `event` and `traceback` among them, and returns them changed."""


def event_facts(event: Event) -> dict[str, object]:
    """Return what every log line about an event says of it: never its payload."""
    return {
        "event_id": str(event.id),
        "event_type": event.event_type,
        "correlation_id": str(event.correlation_id),
    }


# --- the fields of a line -----------------------------------------------------------------------------------


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, logger, event, and whatever was given as `extra`.

    A line that is logged while an event is handled, by whatever logger, says which event that is, and which Organ
    handles it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line end. It never fails: what JSON cannot carry is written as text."""
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
        }
        given = fields_of(record)
        facts["event"] = given.pop("event")
        facts |= {name: value for name, value in given.items() if name not in facts}
        return "{" + ", ".join(f"{json.dumps(name)}: {_json(value)}" for name, value in facts.items()) + "}"


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line says but its time, level and logger: `event`, all facts, and `traceback` if there is one."""
    if record.name == logger.name:  # what is ours went through the filter below
        return _fields(record, record.exc_text or _traceback(record))
    name_handled_event(record)
    fields = _fields(record, _traceback(record))
    return fields if _redaction is None else _redacted(_redaction, fields, "redaction_failed")


def _fields(record: logging.LogRecord, traceback: str | None) -> dict[str, Any]:
    fields = {name: value for name, value in vars(record).items() if name not in _RECORD_FIELDS}
    fields["event"] = _message(record)
    return fields if traceback is None else fields | {"traceback": traceback}


def _traceback(record: logging.LogRecord) -> str | None:
    error = record.exc_info[1] if record.exc_info else None
    return None if error is None else format_traceback(error).rstrip()


def name_handled_event(record: logging.LogRecord) -> bool:
    """Say in a record which event is being handled while it is logged: a filter for handlers.

    It adds `event_id`, `event_type`, `correlation_id` and `organ`, unless the record names an event itself.
    `JsonFormatter` does so without it; formatters of your own, and what formats in another thread, such as a
    `QueueListener`, need it.

    Returns:
        True: every record is to be logged.
    """
    handled = now_handling.get()
    # What is logged here names its event where it is about one: a task that a handler began may serve many.
    if handled is not None and record.name != logger.name and not hasattr(record, "event_id"):
        event, organ = handled
        vars(record).update(event_facts(event) | {"organ": organ})
    return True


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


# --- tracebacks ---------------------------------------------------------------------------------------------

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


# --- what is left out ---------------------------------------------------------------------------------------

_redaction: Redaction | None = None
_repeats: Repeats | None = None


def set_redaction(redact: Redaction | None) -> None:
    """Have the fields of each line changed before anybody writes them; None: no more.

    What NecroStack logs is changed for every handler. What others log is changed where `JsonFormatter`, or the command
    line's own format, writes it.

    Args:
        redact: Gets all fields but `time`, `level` and `logger`. What it leaves out is not written. When it fails, the
            line has none of its facts, and `redaction_failed` says with which class of error.
    """
    global _redaction
    _redaction = redact


def set_sampling(sampling: Sampling | None) -> Sampling | None:
    """Write only the first ones of errors that repeat, and how many more there were as `repeated`; None: write all.

    It holds for what NecroStack logs of an error, whoever writes it. All counts stay as they are.

    Returns:
        What was set before.
    """
    global _repeats
    before, _repeats = _repeats, None
    if before is not None:
        before.end()
    _repeats = None if sampling is None else Repeats(sampling, _log_repeated)
    return None if before is None else before.sampling


def end_repeats() -> None:
    """Write what was left out until now: a run is over."""
    if _repeats is not None:
        _repeats.end()


def _log_repeated(left_out: LeftOut) -> None:
    logger.warning(
        "repeated",
        extra={
            "of": left_out.of,
            "organ": left_out.organ,
            "error_type": left_out.error_type,
            "count": left_out.count,
            "seconds": left_out.seconds,
        },
    )


def _prepare(record: logging.LogRecord) -> bool:
    # Formatters of the application's own take this text, where they would have pydantic quote the payload.
    record.exc_text = _traceback(record)
    if _repeats is not None and (kind := _kind(record)) is not None and not _repeats.admit(kind):
        return False
    if _redaction is not None:
        _redact(record, _redaction)
    return True


def _kind(record: logging.LogRecord) -> Kind | None:
    """Which kind of error a line tells of; None when it tells of none."""
    error_type = getattr(record, "error_type", None)
    if error_type is None and record.exc_info and record.exc_info[0] is not None:
        error_type = record.exc_info[0].__name__
    is_one = error_type is not None and record.msg != "repeated"
    return (record.msg, getattr(record, "organ", None), error_type) if is_one else None


def _redact(record: logging.LogRecord, redact: Redaction) -> None:
    """Change a record for all handlers."""
    fields = _redacted(redact, _fields(record, record.exc_text), _message(record))
    record.msg, record.args = fields.pop("event"), ()
    traceback = fields.pop("traceback", None)
    record.exc_info, record.exc_text = None, None if traceback is None else _text(traceback)
    for name in vars(record).keys() - _RECORD_FIELDS:
        delattr(record, name)
    vars(record).update((name, value) for name, value in fields.items() if name not in _RECORD_FIELDS)


def _redacted(redact: Redaction, fields: dict[str, Any], name: str) -> dict[str, Any]:
    """What a hook makes of fields; `name` alone when it fails: they may be secret, and its error may quote them."""
    try:
        changed = {str(name): value for name, value in redact(fields).items()}
    except Exception as error:  # noqa: BLE001 -- the hook is foreign code
        return {"event": name, "redaction_failed": type(error).__qualname__}
    return {"event": "redacted"} | changed


logger.addFilter(_prepare)


# --- the default handler ------------------------------------------------------------------------------------


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

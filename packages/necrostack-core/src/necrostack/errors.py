"""Every error NecroStack raises by itself.

    NecroStackError
    ├── EventError (ValueError)          an event that is not what its type says, or cannot be read or written
    │   └── EventTooLarge                more bytes than the backend takes
    ├── EventTypeError (TypeError)       an event class declared wrongly
    ├── OrganError (TypeError, ValueError)   an Organ declared wrongly
    ├── HandlerResultError (TypeError)   a handler returned what no handler may return
    ├── ConfigurationError (ValueError)  a Spine, policy or backend made with a wrong setting
    ├── MaxStepsExceeded (RuntimeError)  a run handled as many deliveries as it may, and more came
    ├── BackendError (RuntimeError)
    │   ├── BackendFull                  new events are refused until some are handled
    │   ├── BackendClosed                used after `aclose()`
    │   └── BackendUnavailable           out of reach for now; a Spine waits this out
    ├── RetryLater                       raised by a handler: again, after a delay
    └── GiveUp                           raised by a handler: never again, keep it as a dead letter

What pydantic finds wrong with a constructor's arguments stays a `pydantic.ValidationError`, and what a
handler raises is never wrapped.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from necrostack.report import RunReport


class NecroStackError(Exception):
    """The root of all errors of NecroStack."""


class EventError(NecroStackError, ValueError):
    """An event is not what its event type says, or cannot be read from or written to bytes."""


class EventTooLarge(EventError):
    """An event's payload needs more bytes than the backend takes."""


class EventTypeError(NecroStackError, TypeError):
    """An event class is declared in a way that cannot work."""


# Both bases: a bare string where a list belongs is a wrong type, a blank event type is a wrong value.
class OrganError(NecroStackError, TypeError, ValueError):
    """An Organ is declared in a way that cannot work."""


class HandlerResultError(NecroStackError, TypeError):
    """A handler returned something else than nothing, an Event or a sequence of Events."""


class ConfigurationError(NecroStackError, ValueError):
    """A setting is out of its range."""


class MaxStepsExceeded(NecroStackError, RuntimeError):
    """A run handled `max_steps` deliveries and another one waited.

    Attributes:
        report: What the run did until then.
    """

    def __init__(self, message: str, report: RunReport) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.report)


class BackendError(NecroStackError, RuntimeError):
    """A backend could not do what it was asked."""


class BackendFull(BackendError):
    """The backend holds as many events as it may; none of the new ones was kept."""


class BackendClosed(BackendError):
    """The backend was closed before."""


class BackendUnavailable(BackendError):
    """The backend is out of reach for now. A running Spine waits and tries again."""


class RetryLater(NecroStackError):
    """Raised by a handler: run this Organ again on this event, after `after` seconds.

    It takes the place of the policy's delay. A policy with more than one attempt still limits how often.

    >>> RetryLater(after=30.0).after
    30.0
    """

    def __init__(self, after: float, reason: str = "") -> None:
        self.after = check_seconds("after", after)
        super().__init__(reason or f"asked to be run again after {self.after:g} s")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.after, str(self))


class GiveUp(NecroStackError):
    """Raised by a handler: no retry can help, keep the event as a dead letter with this reason.

    >>> GiveUp("the order was cancelled").reason
    'the order was cancelled'
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_count(name: str, value: object, *, least: int, or_none: bool = False) -> None:
    """Refuse a setting that is no whole number.

    Raises:
        ConfigurationError: It is something else, or less than `least`.
    """
    if value is None and or_none:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{name}={value!r:.40} must be a whole number, {least} or more{', or None for no limit' * or_none}"
        raise ConfigurationError(msg)
    if value > sys.maxsize:
        msg = f"{name} must be {sys.maxsize} at the most{', or None for no limit' * or_none}"
        raise ConfigurationError(msg)


def check_seconds(name: str, value: object) -> float:
    """Return a setting that is a number of seconds.

    Raises:
        ConfigurationError: It is something else, negative, or not finite.
    """
    # The limit is a float's: an integer may be larger.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
        msg = f"{name}={value!r:.40} must be a number of seconds, 0 or more"
        raise ConfigurationError(msg)
    return float(value)


MAX_TEXT: Final = 4096
"""Characters of an error's text that are logged and kept: foreign code may quote any amount of data in it."""


def cut(text: str, most: int = MAX_TEXT) -> str:
    """Leave out the middle of a text that is too long, and say how much that was.

    >>> cut("abcdefghij", 6)
    'abc[4 characters left out]hij'
    """
    left_out = len(text) - most
    return text if left_out <= 0 else f"{text[: most // 2]}[{left_out} characters left out]{text[-(most // 2) :]}"


_MOST_PROBLEMS: Final = 1000
"""How many problems pydantic may make objects of: all or none, half a kilobyte each, and data brings any number."""


def explain(error: BaseException) -> str:
    """Say what an error says, cut, and without the input that pydantic would quote: it may be secret."""
    if not isinstance(error, ValidationError):
        try:
            return cut(str(error))
        except Exception as broken:  # noqa: BLE001 -- an error's text is foreign code
            return f"its text cannot be had: {type(broken).__name__}"
    if (count := error.error_count()) > _MOST_PROBLEMS:
        return f"{count} values are not what they must be, too many to name one"
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    told = [": ".join(filter(None, [_path(problem["loc"]), _message(problem)])) for problem in problems[:3]]
    rest = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return cut("; ".join(told)) + rest


def _path(location: tuple[str | int, ...]) -> str:
    return ".".join(map(str, location))


def _message(problem: ErrorDetails) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    # The one message of pydantic's own that quotes the input, even so.
    return _QUOTED_TAG.sub("Input tag found", message) if problem["type"] == "union_tag_invalid" else message


_QUOTED_TAG = re.compile(r"^Input tag '.*?' found(?= using )", re.DOTALL)

"""The log: one JSON object a line, whatever is logged; payloads and passwords never."""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from necrostack.event import Event
from necrostack.log import JsonFormatter, event_facts, format_traceback, install_default_handler, logger


class Card(BaseModel):
    number: int


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def line(message: object = "happened", *given: object, error: BaseException | None = None, **extra: Any) -> str:
    made = logger.makeRecord(
        "necrostack",
        logging.WARNING,
        "file.py",
        1,
        message,
        given,
        (type(error), error, error.__traceback__) if error is not None else None,
        extra=extra,
    )
    return JsonFormatter().format(made)


def facts(*given: Any, **extra: Any) -> dict[str, Any]:
    def no_constant(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    return cast("dict[str, Any]", json.loads(line(*given, **extra), parse_constant=no_constant))


def caught(raising: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as info:  # noqa: PT011 -- whatever it is
        raising()
    return info.value


def charge() -> None:
    """Raises pydantic's error about a secret input, from another one, as a program may."""
    try:
        Card.model_validate_json('{"number":"4111' + '-1111"}')
    except ValueError as error:
        error.add_note("while charging")
        msg = "charging failed"
        raise RuntimeError(msg) from error


# --- lines --------------------------------------------------------------------------------------------------


def test_a_record_is_one_json_object_with_its_facts() -> None:
    written = facts("retry_scheduled", organ="Billing", attempt=2, delay=0.5, reason=None)

    assert written.pop("time").endswith("+00:00")
    assert written == {
        "level": "WARNING",
        "logger": "necrostack",
        "event": "retry_scheduled",
        "organ": "Billing",
        "attempt": 2,
        "delay": 0.5,
        "reason": None,
    }


taken = {*vars(logging.makeLogRecord({})), "message", "asctime", "error"}
names = st.text(min_size=1, max_size=8).filter(lambda name: name not in taken)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.text(), st.dictionaries(names, values, max_size=3))
def test_whatever_is_logged_stays_on_one_line_that_is_json(message: str, extra: dict[str, Any]) -> None:
    written = line(message, **extra)

    assert written.splitlines() == [written]
    assert json.loads(written)["event"] == message


def test_text_cannot_forge_a_line_or_a_field() -> None:
    forged = 'X"}\n{"event":"admin_logged_in", "level":"INFO'

    assert facts("delivered", event_type=forged)["event_type"] == forged
    assert "\n" not in line("delivered", event_type=forged)


def test_no_fact_takes_the_place_of_what_every_line_has() -> None:
    written = facts("delivered", event="other", level="other", time="other", logger="other")

    assert (written["event"], written["level"], written["logger"]) == ("delivered", "WARNING", "necrostack")
    assert written["time"] != "other"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ([1.0, float("inf")], "[1.0, inf]"),
        (b"bytes", "b'bytes'"),
        ({1, 2}, "{1, 2}"),
        ({(1, 2): "tuple"}, "{(1, 2): 'tuple'}"),
        (Unshowable(), "<Unshowable>"),
        (10**5000, "<int>"),
        ("\ud800", "\ud800"),
    ],
    ids=range(9),
)
def test_what_json_has_not_is_written_as_text(value: object, written: str) -> None:
    assert facts("happened", value=value)["value"] == written


def test_a_value_that_holds_itself_is_written_as_text() -> None:
    endless: list[Any] = []
    endless.append(endless)

    assert facts("happened", value=endless)["value"] == "[[...]]"


def test_arguments_are_put_into_the_message_and_wrong_ones_do_not_lose_it() -> None:
    assert facts("%d of %s", 1, "two")["event"] == "1 of two"
    assert facts("%d of %s", "one")["event"] == "%d of %s"
    assert facts(Unshowable())["event"] == "<Unshowable>"


def test_an_event_is_named_without_its_payload() -> None:
    event = Event(event_type="PAID", payload={"card": "4111-1111"})

    assert event_facts(event) == {
        "event_id": str(event.id),
        "event_type": "PAID",
        "correlation_id": str(event.id),
    }


# --- tracebacks ---------------------------------------------------------------------------------------------


def test_a_traceback_has_cause_notes_and_places_and_no_input() -> None:
    told = facts("handler_failed", error=caught(charge))["traceback"]

    assert "4111-1111" not in told
    cause, effect = told.split("and then:")
    assert "ValidationError: number: Input should be a valid integer" in cause
    assert "while charging" in cause
    assert effect.rstrip().endswith("RuntimeError: charging failed")
    assert "in charge" in effect


def test_without_an_error_there_is_no_traceback() -> None:
    assert "traceback" not in facts("happened")


def test_an_error_raised_while_another_was_handled_shows_both() -> None:
    def raising() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904 -- this is the case

    told = format_traceback(caught(raising))

    assert told.index("KeyError: 'first'") < told.index("ValueError: second")


def test_a_suppressed_context_is_not_shown() -> None:
    def raising() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second") from None

    assert "first" not in format_traceback(caught(raising))


def test_the_errors_of_a_group_are_shown() -> None:
    def raising() -> None:
        raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("more", [KeyError("two")])])

    told = format_traceback(caught(raising))

    assert "ExceptionGroup: several (2 sub-exceptions)" in told
    assert "  | ValueError: one" in told
    assert "  |   | KeyError: 'two'" in told


def test_a_traceback_is_cut_however_much_hangs_on_the_error() -> None:
    error = ExceptionGroup("many", [ValueError(str(number)) for number in range(20_000)])
    error.add_note("x" * 10**6)

    told = format_traceback(error)

    assert told.startswith("Traceback")
    assert len(told) < 66_000
    assert "characters left out" in told


def test_an_error_that_is_its_own_cause_ends() -> None:
    error = ValueError("round")
    error.__cause__ = error

    assert format_traceback(error).count("ValueError: round") == 1


def test_an_error_without_a_text_or_with_odd_notes_is_shown() -> None:
    error = Mute()
    error.__notes__ = [Unshowable()]  # type: ignore[list-item]

    told = format_traceback(error)

    assert "Mute: its text cannot be had: RuntimeError" in told
    assert "<Unshowable>" in told


# --- handlers -----------------------------------------------------------------------------------------------


@contextmanager
def bare_logging() -> Iterator[None]:
    """Logging as in a program that did not configure it: pytest's own handlers are taken away."""
    loggers = [logging.getLogger(), logger]
    before = [(each.handlers, each.level) for each in loggers]
    for each in loggers:
        each.handlers = []
    logger.setLevel(logging.NOTSET)
    try:
        yield
    finally:
        for each, (handlers, level) in zip(loggers, before, strict=True):
            each.handlers = handlers
            each.setLevel(level)


@bare_logging()
def test_the_default_handler_writes_json_lines_to_what_is_stderr_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    install_default_handler()

    logger.info("run_started", extra={"organs": ["A"]})
    logger.debug("delivered")
    first.close()
    monkeypatch.setattr(sys, "stderr", second)
    logger.info("run_ended")

    [written] = second.getvalue().splitlines()
    assert json.loads(written)["event"] == "run_ended"


@bare_logging()
def test_the_default_handler_is_installed_once_and_keeps_propagating() -> None:
    install_default_handler()
    install_default_handler()

    assert len(logger.handlers) == 1
    assert logger.level == logging.INFO
    assert logger.propagate


@bare_logging()
def test_a_level_that_the_application_set_is_kept() -> None:
    logger.setLevel(logging.ERROR)

    install_default_handler()

    assert logger.level == logging.ERROR


@pytest.mark.parametrize("owner", ["necrostack", None])
@bare_logging()
def test_an_application_that_configured_logging_is_left_alone(owner: str | None) -> None:
    own = logging.NullHandler()
    logging.getLogger(owner).addHandler(own)

    install_default_handler()

    assert logger.handlers == ([own] if owner else [])
    assert logger.level == logging.NOTSET


@bare_logging()
def test_the_formatters_of_an_application_do_not_show_the_input_either() -> None:
    stream = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(stream))
    error = caught(charge)

    logger.error("handler_failed", exc_info=error)

    assert "4111-1111" in "".join(traceback.format_exception(error))
    assert "4111-1111" not in stream.getvalue()
    assert "RuntimeError: charging failed" in stream.getvalue()

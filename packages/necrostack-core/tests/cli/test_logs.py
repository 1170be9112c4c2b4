"""The log of a command: its format, its levels, and whose lines it holds."""

from __future__ import annotations

import argparse
import io
import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack.cli.console import ConsoleFormatter
from necrostack.cli.logs import logging_as
from necrostack.cli.settings import Settings
from necrostack.cli.terminal import CLEAR_LINE, Terminal
from necrostack.log import JsonFormatter, Sampling, logger, set_sampling

if TYPE_CHECKING:
    from cli.conftest import Ended, Run, Write

APP = """\
import logging
from necrostack import Organ, Spine

log = logging.getLogger("shop")


class Billing(Organ):
    listens_to = ["PAID"]

    def handle(self, event):
        log.debug("looking")
        log.info("charging")
        raise ValueError("no such card")


spine = Spine([Billing()])
"""

Logged = Callable[..., "Ended"]


@pytest.fixture
def logged(necrostack: Run, folder: Path, write: Write) -> Logged:
    """Runs an application that fails, as where nobody has configured logging, and returns what it says."""
    (folder / "cli_failing.py").write_text(APP)
    write(*['{"event_type": "PAID", "payload": {}}'] * 3, name="paid.ndjson")

    def run(*argv: str) -> Ended:
        with mock.patch.object(logging.getLogger(), "handlers", []):
            return necrostack("run", "cli_failing", "--feed", "paid.ndjson", "--until-idle", *argv)

    return run


def named(ended: Ended) -> list[str]:
    return [json.loads(line)["event"] for line in ended.err.splitlines() if line.startswith("{")]


def record(message: str, name: str = "necrostack", **extra: Any) -> logging.LogRecord:
    made = logging.getLogger(name).makeRecord(name, logging.WARNING, "file.py", 1, message, (), None, extra=extra)
    made.created, made.msecs = 1_772_366_400.25, 250.0
    return made


# --- whose lines, and how many ------------------------------------------------------------------------------


def test_the_log_of_a_run_is_json_and_a_handlers_lines_are_part_of_it(logged: Logged) -> None:
    ended = logged()

    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert [line["event"] for line in lines] == ["run_started", *["charging", "dead_lettered"] * 3, "run_stopped"]
    assert lines[1]["event_id"] == lines[2]["event_id"]
    assert lines[1]["organ"] == "Billing"


@pytest.mark.parametrize(
    ("argv", "first"),
    [
        ([], ["run_started", "charging", "dead_lettered"]),
        (["--log-level=error"], ["dead_lettered"] * 3),
        (["--log-level=debug"], ["run_started", "looking", "charging"]),
        (["-v"], ["run_started", "charging", "dead_lettered", "delivery_handled"]),
        (["-v", "--log-level=error"], ["dead_lettered"] * 3),
    ],
)
def test_a_level_holds_for_everybody_and_verbose_for_us(logged: Logged, argv: Sequence[str], first: list[str]) -> None:
    found = [name for name in named(logged(*argv)) if not name.startswith("Using selector")]

    assert found[: len(first)] == first


def test_verbose_wins_over_a_level_that_is_set_elsewhere(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NECROSTACK_LOG_LEVEL", "error")

    assert "delivery_handled" in named(logged("-v"))


def test_afterwards_the_log_is_as_it_was(logged: Logged) -> None:
    root = logging.getLogger()
    before = logger.level, root.level, [*root.handlers], [*logger.handlers]

    logged("--log-level=debug", "--log-repeats=1/60")

    assert (logger.level, root.level, [*root.handlers], [*logger.handlers]) == before
    assert set_sampling(None) is None


def test_errors_that_repeat_are_counted_when_asked_for(logged: Logged) -> None:
    ended = logged("--log-repeats=1/60")

    assert named(ended).count("dead_lettered") == 1
    (repeated,) = [json.loads(line) for line in ended.err.splitlines() if '"repeated"' in line]
    assert repeated["count"] == 2


def test_what_was_left_out_is_told_also_where_no_run_ends(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = argparse.Namespace(
        log_format=None, log_level=None, log_repeats="1/60", verbose=False, settings=Settings()
    )

    with mock.patch.object(logging.getLogger(), "handlers", []), logging_as(arguments, Terminal()):
        for _ in range(3):
            logger.error("dead_lettered", extra={"error_type": "ValueError"})

    written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line.get("count")) for line in written] == [("dead_lettered", None), ("repeated", 2)]


@pytest.mark.parametrize(("argv", "written"), [([], 2), (["--log-repeats=off"], 3)])
def test_what_the_application_samples_holds_unless_told_otherwise(
    logged: Logged, argv: Sequence[str], written: int
) -> None:
    set_sampling(Sampling(first=2))

    assert named(logged(*argv)).count("dead_lettered") == written
    assert set_sampling(None) == Sampling(first=2)


def test_an_application_that_configures_logging_keeps_its_form_and_takes_the_level(
    logged: Logged, folder: Path
) -> None:
    configured = 'logging.basicConfig(format="%(levelname)s said %(message)s")\n'
    (folder / "cli_failing.py").write_text(APP.replace("log = ", f"{configured}log = ", 1))

    ended = logged("--log-level=info", "--log-format=console")

    told, first, *_ = ended.told
    assert told == "necrostack: the application configured logging itself, so --log-format changes nothing"
    assert first == "INFO said run_started"


def test_it_is_written_clear_of_the_status_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, terminal = on_screen(monkeypatch), Terminal()
    arguments = argparse.Namespace(
        log_format=None, log_level=None, log_repeats=None, verbose=False, settings=Settings()
    )

    with mock.patch.object(logging.getLogger(), "handlers", []), logging_as(arguments, terminal, usual=logging.INFO):
        terminal.status("busy")
        logger.debug("unseen")
        logger.info("seen")

    cleared, line = screen.getvalue().rsplit(CLEAR_LINE, 1)
    assert cleared == f"{CLEAR_LINE}busy"
    assert json.loads(line)["event"] == "seen"


# --- for people ---------------------------------------------------------------------------------------------


def test_for_people_it_is_a_line_with_what_matters_first(logged: Logged) -> None:
    ended = logged("--log-format=console")

    lines = ended.err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}Z INFO    run_started organs=\[\"Billing\"\] backend=\S+", lines[0])
    assert re.fullmatch(r"\S+Z INFO    shop: charging organ=Billing event_type=PAID event_id=[\w-]{36}", lines[1])
    failed = r'\S+Z ERROR   dead_lettered organ=Billing event_type=PAID attempt=1 reason=\w+ error="ValueError: no .*"'
    assert re.match(failed, lines[2])
    assert lines[3] == "    Traceback (most recent call last):"


def test_nothing_is_said_twice_and_times_are_utc() -> None:
    facts: dict[str, Any] = {
        "error": "OSError: away",
        "error_type": "OSError",
        "event_id": "1",
        "correlation_id": "1",
        "delay": 0.123456,
    }

    line = ConsoleFormatter(is_coloured=False).format(record("retry_scheduled", **facts))

    assert line == '12:00:00.250Z WARNING retry_scheduled error="OSError: away" delay=0.1235 event_id=1'


TAKEN = {*vars(record("")), "message"}


@given(
    st.text(),
    st.dictionaries(st.text(min_size=1, max_size=5).filter(lambda name: name not in TAKEN), st.text(), max_size=3),
)
def test_nothing_in_it_acts_on_a_terminal(message: str, extra: dict[str, str]) -> None:
    made = record(message.replace("%", ""), "shop\x1b", **extra)

    assert ConsoleFormatter(is_coloured=False).format(made).isprintable()


@pytest.mark.parametrize("value", [b"\x1b", float("nan"), {1}, object(), [object()], ""])
def test_what_json_has_not_is_shown_even_so(value: object) -> None:
    assert "value=" in ConsoleFormatter(is_coloured=False).format(record("happened", value=value))


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


@pytest.mark.parametrize(
    ("variables", "has_rich", "is_coloured"),
    [({}, True, True), ({"NO_COLOR": "1"}, True, False), ({"TERM": "dumb"}, True, False), ({}, False, False)],
)
def test_it_is_coloured_where_a_person_looks_and_rich_is(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], has_rich: bool, is_coloured: bool
) -> None:
    screen = on_screen(monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if not has_rich:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    arguments = argparse.Namespace(
        log_format="console", log_level=None, log_repeats=None, verbose=False, settings=Settings()
    )

    with mock.patch.object(logging.getLogger(), "handlers", []), logging_as(arguments, Terminal()):
        logger.warning("unrouted", extra={"event_type": "PAID\x1b[31m"})

    written = screen.getvalue()
    assert ("\x1b[" in written) == is_coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", written)[14:] == 'WARNING unrouted event_type="PAID\\u001b[31m"\n'


def test_both_formats_say_the_same(logged: Logged) -> None:
    facts: dict[str, Any] = {"attempt": 1, "organ": "A"}

    written = json.loads(JsonFormatter().format(record("delivered", **facts)))
    line = ConsoleFormatter(is_coloured=False).format(record("delivered", **facts))

    assert {name: written[name] for name in facts} == facts
    assert line.endswith("delivered organ=A attempt=1")

"""Whatever an event, an error or an argument holds: on a terminal it shows, and does nothing; and no password shows."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from necrostack import Event, Settlement
from necrostack.cli.asking import ask
from necrostack.cli.printable import json_text, printable, printable_lines, without_passwords
from necrostack.cli.terminal import CLEAR_LINE, Terminal
from necrostack.delivery import Attempt, Failure

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Ended, Lasting, Run, Write

ODD = "\x1b[35m\x1b]0;title\x07\r\x08\x00\x7f\x9b31m\x85\u2028\u202e\u2066\u200b[red]bold[/red][link=x]"
"""Moves, recolours, renames, ends and reverses lines; and what `rich` would take for markup."""

TYPE = "ODD\u2028\u202e\u2066[red]"
"""What an event type may have of it."""

PASSWORD = "hunter2-/x"  # noqa: S105 -- nobody's


def assert_harmless(ended: Ended) -> None:
    """Nothing but line ends and what shows."""
    for stream in (ended.out, ended.err):
        assert [line for line in stream.split("\n") if not line.isprintable()] == []


# --- text ---------------------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values, st.sampled_from([None, 2]))
def test_json_is_printable_and_the_same_to_whoever_reads_it(value: Any, indent: int | None) -> None:
    text = json_text(value, indent)

    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()
    assert indent or "\n" not in text


@given(st.text())
def test_text_is_printable_and_on_one_line(text: str) -> None:
    assert printable(text).isprintable()
    assert [line.isprintable() for line in printable_lines(text).split("\n")] == [True] * (text.count("\n") + 1)


@pytest.mark.parametrize("text", ["", "Grüße, 東京 🎉", "a  b", '{"a": [1, null]}'])
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert printable(text) == printable_lines(text) == text
    assert json.loads(json_text(text)) == text


@given(st.text(st.characters(exclude_categories=["Z", "C"])), st.sampled_from(["", "no module ", "'"]))
def test_a_password_is_left_out_of_a_url_wherever_it_stands(secret: str, before: str) -> None:
    told = without_passwords(f"{before}rediss+sentinel://me:<{secret}>@example:6379/0?lease=1")

    assert told == f"{before}rediss+sentinel://…@example:6379/0?lease=1"


# --- the terminal -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_watched", [False, True])
def test_a_terminal_writes_nothing_odd(is_watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return is_watched

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()

    terminal.text(f"a\n{ODD}")
    terminal.data({ODD: ODD})
    terminal.table((ODD, "failed"), [[ODD, 1]])
    terminal.note(ODD)
    terminal.error(ODD)
    terminal.traceback(ValueError(ODD))
    terminal.status(ODD, 0.5)
    terminal.clear_status()
    ask(terminal, ODD)

    own = (CLEAR_LINE, "\x1b[1m", "\x1b[0m")  # the line of status, and a heading
    written = screen.getvalue()
    for sequence in own:
        written = written.replace(sequence, "")
    assert [line for line in written.split("\n") if not line.isprintable()] == []
    assert written.count("[red]bold[/red]") >= 8


# --- commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def odd(lasting: Lasting) -> Event:
    """An event, kept and pending and a dead letter, of which everything is odd."""
    event = Event(event_type=TYPE, payload={ODD: ODD}, headers={ODD: ODD})

    async def keep() -> None:
        await lasting.enqueue(event, event)
        (delivery,) = await lasting.pull()
        attempt = Attempt(event.timestamp, ODD, 1.0)
        failure = Failure(
            reason=ODD, organ=ODD, error_type=ODD, error=ODD, traceback=f"{ODD}\n{ODD}", attempts=(attempt,)
        )
        await lasting.settle(Settlement(delivery, dead=[failure]))
        await lasting.pull()

    asyncio.run(keep())
    return event


COMMANDS: dict[str, Sequence[str]] = {
    "tail": ["tail"],
    "tail --json": ["tail", "--json"],
    "inspect": ["inspect"],
    "inspect --json": ["inspect", "--json"],
    "inspect ID": ["inspect", "ID"],
    "inspect --chain": ["inspect", "--chain", "ID"],
    "dlq list": ["dlq", "list"],
    "dlq list --json": ["dlq", "list", "--json"],
    "dlq list --group-by": ["dlq", "list", "--group-by", "cause"],
    "dlq show": ["dlq", "show", "1"],
    "dlq show --json": ["dlq", "show", "1", "--json"],
    "dlq export": ["dlq", "export"],
    "dlq export --events": ["dlq", "export", "--events"],
    "dlq redrive": ["dlq", "redrive", "--all", "--dry-run"],
    "dlq discard": ["dlq", "discard", "1", "--yes"],
    "doctor": ["doctor"],
    "emit": ["emit", ODD.replace("\x00", ""), "{"],
    "no such letter": ["dlq", "show", ODD.replace("\x00", "")],
    "no such command": [ODD],
    "no such option": ["tail", f"--{ODD}"],
    "a wrong value": ["tail", "--last", ODD],
    "a wrong choice": ["dlq", "list", "--group-by", ODD],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_anything_odd(command: str, necrostack: Run, odd: Event) -> None:
    argv = [str(odd.id) if word == "ID" else word for word in COMMANDS[command]]
    if command not in ("no such command", "no such option"):
        argv += ["--backend", "lasting://"]

    ended = necrostack(*argv)

    assert_harmless(ended)
    assert ended.out or ended.err


def test_nor_does_a_feed_whose_lines_are_odd(necrostack: Run, write: Write, app: str) -> None:
    line = json.dumps({"event_type": "CLI_COUNTED", "payload": {"n": 1, ODD: 1}, ODD: 1})
    feed = write(line, json.dumps({ODD: ODD}), '{"event_type": "\x1b[35m"}')

    ended = necrostack("run", app, "--until-idle", "--feed", feed, "--on-bad-line", "skip", "-v")

    assert ended.err.count("; skipped") == 3
    assert_harmless(ended)


@pytest.fixture
def run_with_log(necrostack: Run) -> Run:
    """Calls the command line as where nobody has configured logging: pytest has, when the test begins."""

    def run(*argv: str) -> Ended:
        with mock.patch.object(logging.getLogger(), "handlers", []):
            return necrostack("run", *argv)

    return run


def test_nor_does_the_log_of_a_run(run_with_log: Run, folder: Path) -> None:
    (folder / "cli_odd.py").write_text(
        "from necrostack import Event, Organ, Spine\n"
        "class Odd(Organ):\n"
        f"    listens_to = [{TYPE!r}]\n"
        "    def handle(self, event):\n"
        f"        raise ValueError({ODD!r})\n"
        "spine = Spine([Odd()])\n"
    )
    (folder / "odd.ndjson").write_text(json.dumps({"event_type": TYPE, "payload": {ODD: ODD}}))

    ended = run_with_log("cli_odd", "--until-idle", "--feed", "odd.ndjson", "-v")

    logged = [json.loads(line) for line in ended.err.splitlines() if line.startswith("{")]
    assert [record["error"] for record in logged if record["event"] == "dead_lettered"] == [f"ValueError: {ODD}"]
    assert_harmless(ended)


# --- what may be secret -------------------------------------------------------------------------------------

URL = f"redis://me:{PASSWORD}@example:6379/0"


@pytest.mark.parametrize(
    "argv",
    [
        ["run", URL],
        ["run", "shop.app", URL],
        ["run", "shop.app", "--concurrency", URL],
        ["run", f"shop.app:{URL}"],
        ["graph", URL],
        ["tail", URL],
        ["inspect", URL],
        ["doctor", URL],
        ["replay", URL],
        ["dlq", "list", URL],
        ["dlq", "show", URL, "1-1"],
        ["dlq", "redrive", URL],
        ["emit", URL, "A", "{}"],
        ["emit", "--file", URL],
        ["run", "shop.app", "--feed", URL],
        ["tail", "--backend", URL.replace("redis", "nats", 1)],
        ["tail", "--backend", URL.replace("6379", "port")],
        [URL],
    ],
    ids=" ".join,
)
def test_a_url_in_the_wrong_place_shows_no_password(argv: Sequence[str], necrostack: Run, folder: Path) -> None:
    ended = necrostack(*argv)

    assert ended.code != 0
    assert "hunter2" not in ended.out + ended.err


def test_no_help_shows_what_was_given(necrostack: Run, folder: Path) -> None:
    ended = necrostack("tail", "--backend", URL, "--help")

    assert ended.code == 0
    assert "hunter2" not in ended.out + ended.err


class Card(BaseModel):
    number: int


SECRETIVE = """\
from pydantic import BaseModel
from necrostack import Event, Organ, Spine

class Card(BaseModel):
    number: int

class Charging(Organ):
    listens_to = ["PAID"]
    async def startup(self):
        if {at_startup}:
            Card(number="4111-1111")
    def handle(self, event):
        Card.model_validate(event.payload)

spine = Spine([Charging()])
if {at_import}:
    Card(number="4111-1111")
"""


@pytest.mark.parametrize("at", ["import", "startup", "handle"])
@pytest.mark.parametrize("verbose", [True, False])
def test_what_pydantic_would_quote_is_not_shown(at: str, verbose: bool, run_with_log: Run, folder: Path) -> None:
    source = SECRETIVE.format(at_import=at == "import", at_startup=at == "startup").replace(
        '"4111-1111"', '"4111-" + "1111"'
    )
    (folder / "cli_secretive.py").write_text(source)
    (folder / "paid.ndjson").write_text('{"event_type": "PAID", "payload": {"number": "4111-1111"}}')

    ended = run_with_log("cli_secretive", "--until-idle", "--feed", "paid.ndjson", *(["-v"] if verbose else []))

    assert "Input should be a valid integer" in ended.err
    assert "4111-1111" not in ended.out + ended.err


@pytest.mark.parametrize("more", [[], ["-v"]])
def test_no_payload_is_logged(more: Sequence[str], run_with_log: Run, write: Write, app: str) -> None:
    ended = run_with_log(app, "--until-idle", "--feed", write(777123, -777123), *more)

    assert "dead_lettered" in ended.err
    assert "777123" not in ended.err

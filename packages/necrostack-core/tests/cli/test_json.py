"""`--json` of each command: strict JSON with the keys that programs rely on, one object a line where there are many."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from necrostack.cli.arguments import build_parser

if TYPE_CHECKING:
    from cli.conftest import Ended, Run, Write

BACKEND = ("--backend", "lasting://")

EVENT = {"id", "timestamp", "event_type", "payload", "correlation_id", "causation_id", "hops", "headers"}
LETTER = {
    *("id", "reason", "organ", "error_type", "error", "traceback", "attempts", "dead_at", "redriven_at"),
    *("event", "raw"),
}
CAUSE = {"count", "event_type", "organ", "reason", "error_type", "newest"}
REPORT = {
    *("handled", "unrouted", "emitted", "failed", "retried", "dead_lettered", "deduplicated", "lost", "duration"),
    "organs",
}
FEED = {"name", "kept", "skipped", "skipped_file", "next_line", "complete", "error"}
TRACE = {"event", "kept", "pending", "scheduled", "dead_letters"}
STATS = {"queued", "pending", "scheduled", "dead", "workers", "oldest_pending", "history"}
GROUP = STATS | {"name", "behind", "ephemeral_after"}
TOPOLOGY = {"organs", "event_types", "edges", "dead_ends", "orphans", "cycles"}

EXPECTED: dict[str, tuple[list[str], set[str]]] = {
    "run": (["run", "{app}", "--feed", "{feed}", "--until-idle"], REPORT | {"feed"}),
    "emit": (["emit", *BACKEND, "CLI_OTHER", "{{}}"], {"id", "event_type"}),
    "emit --file": (["emit", "{app}", *BACKEND, "--file", "{feed}"], {"id", "event_type"}),
    "tail": (["tail", *BACKEND], EVENT),
    "tail --errors": (["tail", *BACKEND, "--errors"], LETTER),
    "inspect ID": (["inspect", *BACKEND, "{event}"], TRACE),
    "inspect --chain": (["inspect", *BACKEND, "--chain", "{event}"], TRACE),
    "dlq list": (["dlq", "list", *BACKEND], LETTER),
    "dlq list --group-by": (["dlq", "list", *BACKEND, "--group-by", "cause"], CAUSE),
    "dlq show": (["dlq", "show", *BACKEND, "{letter}"], LETTER),
    "dlq redrive --dry-run": (["dlq", "redrive", *BACKEND, "--all", "--dry-run"], LETTER),
    "dlq redrive": (["dlq", "redrive", *BACKEND, "{letter}", "--yes"], {"asked", "redriven", "problems"}),
    "dlq edit": (["dlq", "edit", *BACKEND, "{letter}"], {"id", "event", "payload"}),
    "dlq discard": (["dlq", "discard", *BACKEND, "{letter}", "--yes"], {"asked", "discarded", "problems"}),
    "dlq import": (["dlq", "import", *BACKEND, "{letters}", "--yes"], {"asked", "imported", "problems"}),
    "replay --dry-run": (["replay", *BACKEND, "--all", "--dry-run"], {"replayed", "dry_run"}),
    "replay": (["replay", *BACKEND, "--all", "--yes"], {"replayed", "dry_run"}),
    "doctor": (["doctor", "{app}", *BACKEND], {"ok", "findings"}),
    "graph": (["graph", "{app}"], TOPOLOGY),
    "schema": (["schema", "{app}"], {"$schema", "title", "oneOf", "$defs"}),
    "new": (["new", "a-project"], {"path", "package", "files"}),
    "version": (["version"], {"necrostack", "python", "pydantic"}),
}
"""Commands, and the keys of each object that they write. Those of `inspect` and `top` may become more: see below."""


def with_json(parser: argparse.ArgumentParser, name: str = "") -> list[str]:
    """The commands that have `--json`."""
    own = [name] if any("--json" in action.option_strings for action in parser._actions) else []
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    below = [with_json(inner, f"{name} {word}".strip()) for group in groups for word, inner in group.choices.items()]
    return sum(below, own)


def test_every_command_with_json_is_looked_at() -> None:
    looked_at = {" ".join(argv[: 2 if argv[0] == "dlq" else 1]) for argv, _ in EXPECTED.values()} | {"inspect", "top"}

    assert looked_at == {*with_json(build_parser())}


@pytest.fixture
def places(
    app: str, handled: Callable[..., None], write: Write, necrostack: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """What stands for the names in braces, where one count was doubled and another left a dead letter."""
    handled(1, -1)
    (letter,) = values(necrostack("dlq", "list", *BACKEND, "--json"))
    (folder / "letters.ndjson").write_text(json.dumps(letter | {"dead_at": "2026-01-01T00:00:00Z"}))
    (folder / "editor.sh").write_text('#!/bin/sh\nprintf \'{"n": 5}\' > "$1"\n')
    (folder / "editor.sh").chmod(0o700)
    monkeypatch.setenv("VISUAL", "./editor.sh")
    return {
        "app": app,
        "feed": write(1, 2),
        "letters": "letters.ndjson",
        "letter": letter["id"],
        "event": letter["event"]["id"],
    }


def values(ended: Ended) -> list[Any]:
    """What a command wrote: one value a line, or one that is indented."""

    def refuse(constant: str) -> NoReturn:
        pytest.fail(f"{constant} is no JSON")

    assert ended.code == 0, ended.err
    lines = ["".join(ended.out.splitlines())] if ended.out.startswith("{\n") else ended.out.splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines if line.startswith("{")]


CHANGING = ("dlq redrive", "dlq edit", "dlq discard", "dlq import", "replay", "new")


@pytest.mark.parametrize("names", [[name for name in EXPECTED if name not in CHANGING], *([name] for name in CHANGING)])
def test_what_is_written_is_json_with_the_same_keys_always(
    necrostack: Run, places: dict[str, str], names: list[str]
) -> None:
    for name in names:
        argv, keys = EXPECTED[name]

        ended = necrostack(*(word.format(**places) for word in argv), "--json")
        found = values(ended)

        assert found, name
        assert [{*value} for value in found] == [keys] * len(found), name
        # All of it but what handlers printed.
        assert name == "run" or "".join(ended.out.split()).startswith("{"), name


def test_the_feed_of_a_run_and_the_findings_of_the_doctor_have_keys_too(
    necrostack: Run, places: dict[str, str]
) -> None:
    (report,) = values(necrostack("run", places["app"], "--feed", places["feed"], "--until-idle", "--json"))
    (doctor,) = values(necrostack("doctor", places["app"], *BACKEND, "--json"))

    assert report["feed"].keys() == FEED
    assert {"Doubler", "Printer"} == report["organs"].keys()
    assert all(finding.keys() == {"severity", "what", "remedy"} for finding in doctor["findings"])


@pytest.mark.parametrize("command", [["inspect"], ["top", "--once"]])
def test_all_that_is_shown_of_groups_is_there(necrostack: Run, places: dict[str, str], command: list[str]) -> None:
    (found,) = values(necrostack(*command, *BACKEND, "--json"))

    assert {"stats", "groups"} & found.keys()
    assert all(group.keys() >= GROUP for group in found["groups"])


def test_what_is_exported_is_one_object_a_line(necrostack: Run, places: dict[str, str]) -> None:
    letters = values(necrostack("dlq", "export", *BACKEND))
    events = values(necrostack("dlq", "export", *BACKEND, "--events"))

    assert [{*letter} for letter in letters] == [LETTER]
    assert [{*event} for event in events] == [EVENT]

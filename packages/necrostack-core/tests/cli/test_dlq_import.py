"""`necrostack dlq import`: dead letters come back as they were exported, each once, or nothing is done."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from necrostack import Event, Settlement
from necrostack.backend import Admin
from necrostack.delivery import DeadLetter, Failure
from necrostack.errors import BackendUnavailable
from necrostack.memory_admin import InMemoryAdmin

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run

BACKEND = ("--backend", "lasting://")
FILE = "letters.ndjson"


def letters(backend: Lasting, *, redriven: bool = False) -> list[DeadLetter]:
    async def collect() -> list[DeadLetter]:
        return [letter async for letter in backend.admin.dead_letters(redriven=redriven)]

    return asyncio.run(collect())


@pytest.fixture
def exported(necrostack: Run, lasting: Lasting, folder: Path) -> Callable[..., list[dict[str, Any]]]:
    """Leaves dead letters, exports and discards them; returns what each line of the file says."""

    def export(*organs: str | None) -> list[dict[str, Any]]:
        async def leave() -> None:
            for number, organ in enumerate(organs):
                await lasting.enqueue(Event(event_type="CLI_COUNTED", payload={"n": number}, headers={"trace": "é"}))
                (delivery,) = await lasting.pull()
                failure = Failure(reason="attempts_exhausted", organ=organ, error_type="KeyError", error="lost\nhere")
                await lasting.settle(Settlement(delivery, dead=[failure]))

        asyncio.run(leave())
        assert necrostack("dlq", "export", *BACKEND, "--output", FILE).code == 0
        assert necrostack("dlq", "discard", "--all", *BACKEND, "--yes").code == 0
        return [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]

    return export


Exported = Callable[..., list[dict[str, Any]]]


def write(folder: Path, *lines: Any) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / FILE).write_text("".join(f"{text}\n" for text in texts))


def without_ids(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "id"} for line in lines]


def test_what_was_exported_waits_again(necrostack: Run, lasting: Lasting, exported: Exported, app: str) -> None:
    lines = exported("One", "Two", None)

    ended = necrostack("dlq", "import", app, FILE, *BACKEND, "--yes")

    assert (ended.code, ended.out, ended.err) == (0, "3 of 3 dead letters imported\n", "")
    found = [json.loads(line) for line in necrostack("dlq", "export", *BACKEND).out.splitlines()]
    assert without_ids(found) == without_ids(lines)
    assert [type(letter.event).__name__ for letter in letters(lasting)] == ["Counted"] * 3
    assert asyncio.run(lasting.pull(timeout=0)) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_letters_come_from_a_pipe_too(folder: Path, exported: Exported, pack: Callable[[bytes], bytes]) -> None:
    exported("One", "Two")
    packed = pack((folder / FILE).read_bytes())
    (folder / "app.py").write_text("from necrostack import Spine\nspine = Spine([])\n")
    command = [sys.executable, "-m", "necrostack", "dlq", "import", "app", "-", "--yes", "--json"]

    done = subprocess.run(command, input=packed, capture_output=True, cwd=folder, check=False, timeout=50)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"asked": 2, "imported": 2, "problems": []}


def test_letters_that_are_there_or_went_again_are_left_out(
    necrostack: Run, lasting: Lasting, exported: Exported, folder: Path
) -> None:
    lines = exported("One", "Two", "Two")
    write(folder, *lines[:2])
    necrostack("dlq", "import", FILE, *BACKEND, "--yes")
    necrostack("dlq", "redrive", "--organ", "One", *BACKEND, "--yes")
    write(folder, *lines, *lines)

    ended = necrostack("dlq", "import", FILE, *BACKEND, "--yes", "--json")
    again = necrostack("dlq", "import", FILE, *BACKEND, "--yes")

    assert (ended.code, json.loads(ended.out)) == (0, {"asked": 1, "imported": 1, "problems": []})
    assert ended.told == [f"necrostack: 5 dead letters of {FILE} left out: there already, or redriven"]
    assert (again.code, again.out) == (0, "0 of 0 dead letters imported\n")
    assert [letter.organ for letter in letters(lasting)] == ["Two", "Two"]
    assert [letter.organ for letter in letters(lasting, redriven=True)] == ["One"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "this is not a dead letter: Invalid JSON: EOF while parsing an object at column 1"),
        ("[]", "this is not a dead letter: Input should be an object"),
        ('{"id": 1}', "this is not a dead letter: id: Input should be a valid string; reason: Field required"),
        ('{"event_type": "A", "payload": {}}', "this is an event, not a dead letter; necrostack emit --file"),
        ({"event": {"event_type": "\a", "payload": {}}}, "event.event_type: String should match"),
        ({"dead_at": "0000-01-01T00:00:00Z"}, "year"),
        ({"dead_at": "2026-03-01T12:00:00"}, "dead_at: Input should have timezone info"),
        ({"dead_at": "0001-01-01T00:00:00+14:00"}, "dead_at: timestamp 0001-01-01T00:00:00+14:00 lies outside"),
        ({"attempts": [{"time": "2026-03-01T12:00:00Z", "error": "x", "delay": float("nan")}]}, "attempts.0.delay"),
        ({"event": {"event_type": "A", "payload": {"n": float("inf")}}}, "event.payload: payload['n'] is inf"),
        ({"error": "s3cret", "more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_one_line_that_is_no_letter_refuses_the_file(
    necrostack: Run, lasting: Lasting, exported: Exported, folder: Path, line: str | dict[str, Any], told: str
) -> None:
    (good,) = exported("One")
    write(folder, good, "", line if isinstance(line, str) else good | line)

    ended = necrostack("dlq", "import", FILE, *BACKEND, "--yes")

    (said,) = ended.told
    assert (ended.code, ended.out) == (1, "")
    assert said.startswith(f"necrostack: error: {FILE}, line 3: ")
    assert said.endswith("; nothing was imported")
    assert told in said
    assert "s3cret" not in said
    assert letters(lasting) == []


def test_what_is_too_large_or_cut_off_refuses_the_file(
    necrostack: Run, lasting: Lasting, exported: Exported, folder: Path
) -> None:
    (line,) = exported("One")
    write(folder, line, line | {"event": line["event"] | {"payload": {"n": "x" * 2**20}}})
    large = necrostack("dlq", "import", FILE, *BACKEND, "--yes")
    write(folder, line, line | {"error": "x" * 7 * 2**20})
    long = necrostack("dlq", "import", FILE, *BACKEND, "--yes")
    (folder / FILE).write_bytes(gzip.compress(json.dumps(line).encode())[:-9])
    cut = necrostack("dlq", "import", FILE, *BACKEND, "--yes")

    assert "line 2: event " in large.told[0]
    assert "more than the 1048576 that are allowed" in large.told[0]
    assert "line 2: it is longer than the 6291456 bytes that a line may have" in long.told[0]
    assert f"{FILE}, after line 0: its gzip data ends too early; nothing was imported" in cut.told[0]
    assert {large.code, long.code, cut.code} == {1}
    assert letters(lasting) == []


def test_what_cannot_wait_again_stays_in_the_file(
    necrostack: Run, lasting: Lasting, exported: Exported, folder: Path
) -> None:
    first, second, third = exported("One", "Two", "Three")
    unreadable = first | {"event": None, "raw": {"v": "/xs="}}
    write(folder, unreadable, second, third | {"redriven_at": "2026-03-01T12:00:00Z"})

    ended = necrostack("dlq", "import", FILE, *BACKEND, "--yes")
    write(folder, unreadable)
    none = necrostack("dlq", "import", FILE, *BACKEND, "--yes")

    assert (ended.code, ended.out) == (7, "1 of 3 dead letters imported\n")
    about_first, about_third = ended.told
    assert f"{FILE}, line 1: {first['id']} cannot be read as an event, so nobody could handle it" in about_first
    assert f"{FILE}, line 3: {third['id']} went again, at 2026-03-01T12:00:00.000Z" in about_third
    assert about_first.endswith("; it stays in the file")
    assert [letter.organ for letter in letters(lasting)] == ["Two"]
    assert (none.code, none.out) == (1, "0 of 1 dead letter imported\n")


def test_an_event_that_is_not_what_its_class_says_waits_all_the_same(
    necrostack: Run, lasting: Lasting, exported: Exported, folder: Path, app: str
) -> None:
    (line,) = exported("One")
    line["event"]["payload"] = {"n": "no number"}
    write(folder, line)

    ended = necrostack("dlq", "import", app, FILE, *BACKEND, "--yes")

    (letter,) = letters(lasting)
    assert (ended.code, type(letter.event)) == (0, Event)


def test_a_dry_run_shows_them_and_imports_nothing(necrostack: Run, lasting: Lasting, exported: Exported) -> None:
    exported("One", "Two")

    ended = necrostack("dlq", "import", FILE, *BACKEND, "--dry-run")
    as_json = necrostack("dlq", "import", FILE, *BACKEND, "--dry-run", "--json")

    assert ended.code == 0
    assert [line.split()[2] for line in ended.out.splitlines()[1:]] == ["CLI_COUNTED", "CLI_COUNTED"]
    assert ended.told == ["necrostack: 2 dead letters would be imported; nothing was done"]
    assert [json.loads(line)["organ"] for line in as_json.out.splitlines()] == ["One", "Two"]
    assert letters(lasting) == []


def test_it_asks_first(necrostack: Run, lasting: Lasting, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    exported("One", "Two")

    refused = necrostack("dlq", "import", FILE, *BACKEND)
    monkeypatch.setattr("necrostack.cli.asking.can_ask", lambda: True)
    monkeypatch.setattr("necrostack.cli.asking.ask", lambda terminal, question: "y")
    done = necrostack("dlq", "import", FILE, *BACKEND)

    assert refused.code == 2
    assert "2 dead letters (1 One, 1 Two) to be imported: say --yes" in refused.told[0]
    assert (done.code, done.out) == (0, "2 of 2 dead letters imported\n")


def test_a_backend_that_goes_away_midway_is_gone_on_with(
    necrostack: Run, lasting: Lasting, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(*["One"] * 150)
    restore, calls = InMemoryAdmin.restore, []

    async def goes_away(admin: InMemoryAdmin, *restored: DeadLetter) -> None:
        calls.append(len(restored))
        if len(calls) == 2:
            raise BackendUnavailable("gone fishing")
        await restore(admin, *restored)

    monkeypatch.setattr(InMemoryAdmin, "restore", goes_away)
    ended = necrostack("dlq", "import", FILE, *BACKEND, "--yes")
    again = necrostack("dlq", "import", FILE, *BACKEND, "--yes")

    assert (ended.code, ended.out) == (7, "100 of 150 dead letters imported\n")
    assert ended.told == ["necrostack: error: stopped at line 101: gone fishing"]
    assert (again.code, again.out) == (0, "50 of 50 dead letters imported\n")
    assert len(letters(lasting)) == 150


def test_a_backend_that_cannot_is_told(
    necrostack: Run, lasting: Lasting, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported("One")
    monkeypatch.setattr(InMemoryAdmin, "restore", Admin.restore)

    ended = necrostack("dlq", "import", FILE, *BACKEND, "--yes")

    assert (ended.code, ended.out) == (1, "")
    assert ended.told == ["necrostack: error: InMemoryAdmin takes no dead letters of elsewhere"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "name one file that dlq export wrote, [APP] FILE, not 0 words"),
        (["a", "b", "c"], 2, "name one file that dlq export wrote, [APP] FILE, not 3 words"),
        (["absent.ndjson"], 5, "there is no file 'absent.ndjson'"),
        (["."], 5, "the file '.' is a folder; name a file"),
    ],
)
def test_what_is_to_be_imported_must_be_one_file(
    necrostack: Run, lasting: Lasting, words: list[str], code: int, told: str
) -> None:
    ended = necrostack("dlq", "import", *words, *BACKEND, "--yes")

    assert (ended.code, ended.out) == (code, "")
    assert told in ended.told[0]


def test_an_empty_file_is_told(necrostack: Run, lasting: Lasting, folder: Path) -> None:
    write(folder, "", "  ")

    ended = necrostack("dlq", "import", FILE, *BACKEND, "--yes")

    assert (ended.code, ended.out) == (0, "0 of 0 dead letters imported\n")
    assert ended.told == [f"necrostack: {FILE} holds no dead letters"]

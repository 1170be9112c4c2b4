"""`necrostack dlq`: look at dead letters, let them go again or away, and say what became of each."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from necrostack import Event, Settlement
from necrostack.delivery import DeadLetter, Failure
from necrostack.errors import BackendUnavailable
from necrostack.memory_admin import InMemoryAdmin

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run

BACKEND = ("--backend", "lasting://")

Handled = Callable[..., None]


def letters(backend: Lasting, *, redriven: bool = False) -> list[DeadLetter]:
    async def collect() -> list[DeadLetter]:
        return [letter async for letter in backend.admin.dead_letters(redriven=redriven)]

    return asyncio.run(collect())


def bury(backend: Lasting, event_type: str, organ: str | None, error: str) -> None:
    """Leave a dead letter."""

    async def leave() -> None:
        await backend.enqueue(Event(event_type=event_type, payload={"n": 1}))
        (delivery,) = await backend.pull()
        failure = Failure(reason="attempts_exhausted", organ=organ, error_type="KeyError", error=error)
        await backend.settle(Settlement(delivery, dead=[failure]))

    asyncio.run(leave())


@pytest.fixture
def can_ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Somebody is there, and will give this answer."""

    def answer(text: str) -> None:
        monkeypatch.setattr("necrostack.cli.asking.can_ask", lambda: True)
        monkeypatch.setattr("necrostack.cli.editing.can_ask", lambda: True)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return answer


# --- look -----------------------------------------------------------------------------------------------


def test_letters_are_listed_oldest_first_one_a_line(necrostack: Run, app: str, handled: Handled) -> None:
    handled(-1, 1, -2)

    ended = necrostack("dlq", "list", app, *BACKEND)

    header, first, second = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, "")
    assert header.split() == ["letter", "age", "event", "type", "organ", "why"]
    for line in (first, second):
        assert "CLI_COUNTED  Doubler  attempts_exhausted: ValueError: a negative count" in line


def test_json_lists_each_letter_with_all_its_facts(
    necrostack: Run, app: str, handled: Handled, lasting: Lasting
) -> None:
    handled(-1, -2)

    ended = necrostack("dlq", "list", *BACKEND, "--json", "--limit", "1")

    (line,) = ended.out.splitlines()
    found = json.loads(line)
    assert found["id"] == letters(lasting)[0].id
    assert (found["organ"], found["error_type"], found["error"]) == ("Doubler", "ValueError", "a negative count")
    assert found["event"]["payload"] == {"n": -1}
    assert Event.model_validate(found["event"]).event_type == "CLI_COUNTED"
    assert "Traceback" in found["traceback"]
    assert (found["redriven_at"], found["raw"], len(found["attempts"])) == (None, None, 1)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--type", "CLI_A"], [0]),
        (["--type", "CLI_?"], [0, 1]),
        (["--type", "cli_?"], []),
        (["--where", "n=1", "--type", "CLI_A"], [0]),
        (["--where", "n>1"], []),
        (["--correlation", "6f1c2b52-0a53-4c5c-9d0e-2b8a1f0f7d11"], []),
        (["--organ", "Two"], [1, 2]),
        (["--error", "lost"], [1]),
        (["--error", "KeyError"], [0, 1, 2]),
        (["--since", "1h"], [0, 1, 2]),
        (["--until", "1h"], []),
        (["--redriven"], []),
    ],
)
def test_letters_are_found_by_what_they_have_in_common(
    necrostack: Run, lasting: Lasting, options: list[str], found: list[int]
) -> None:
    for event_type, organ, error in (("CLI_A", "One", "left"), ("CLI_B", "Two", "lost"), ("OTHER", "Two", "late")):
        bury(lasting, event_type, organ, error)
    ids = [letter.id for letter in letters(lasting)]

    ended = necrostack("dlq", "list", *BACKEND, "--json", *options)

    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == [ids[number] for number in found]


def test_letters_are_counted_by_cause(necrostack: Run, lasting: Lasting) -> None:
    for organ in ("One", "Two", "Two"):
        bury(lasting, "CLI_A", organ, "lost")

    ended = necrostack("dlq", "list", *BACKEND, "--group-by", "cause")
    as_json = necrostack("dlq", "list", *BACKEND, "--group-by", "cause", "--json")

    assert [line.split()[:3] for line in ended.out.splitlines()[1:]] == [["2", "CLI_A", "Two"], ["1", "CLI_A", "One"]]
    assert [json.loads(line)["count"] for line in as_json.out.splitlines()] == [2, 1]


def test_that_there_are_none_is_said_on_stderr(necrostack: Run, lasting: Lasting) -> None:
    assert necrostack("dlq", "list", *BACKEND).told == ["necrostack: there are no dead letters"]
    ended = necrostack("dlq", "list", *BACKEND, "--organ", "Absent")
    assert (ended.code, ended.out) == (0, "")
    assert ended.told == ["necrostack: no dead letter is as asked for"]


def test_what_a_letter_holds_cannot_write_to_the_terminal(necrostack: Run, lasting: Lasting) -> None:
    bury(lasting, "CLI_A", "One", "\x1b[2Jgone\nand \udc80")

    for action in (["list"], ["show", letters(lasting)[0].id], ["list", "--json"], ["list", "--group-by", "cause"]):
        assert "\x1b" not in necrostack("dlq", *action, *BACKEND).out


def test_one_letter_is_shown_with_its_traceback_and_payload(
    necrostack: Run, handled: Handled, lasting: Lasting
) -> None:
    handled(-7)
    (letter,) = letters(lasting)

    ended = necrostack("dlq", "show", letter.id, *BACKEND)

    assert ended.code == 0
    assert ended.out.startswith(f"dead letter {letter.id}\n")
    assert 'raise ValueError("a negative count")' in ended.out
    assert '"n": -7' in ended.out
    assert json.loads(necrostack("dlq", "show", letter.id, *BACKEND, "--json").out)["id"] == letter.id


@pytest.mark.parametrize("action", [["show"], ["edit"], ["redrive", "--yes"], ["discard", "--yes"]])
def test_a_letter_that_is_not_there_is_told(necrostack: Run, lasting: Lasting, action: list[str]) -> None:
    ended = necrostack("dlq", *action, "99-0", *BACKEND)

    assert (ended.code, ended.out) == (5, "")
    assert ended.told == ["necrostack: error: there is no dead letter '99-0'; dlq list shows those that wait"]


# --- redrive --------------------------------------------------------------------------------------------


def test_letters_that_are_named_go_again(necrostack: Run, app: str, handled: Handled, lasting: Lasting) -> None:
    handled(-1, -2, -3)
    first, _, third = (letter.id for letter in letters(lasting))

    ended = necrostack("dlq", "redrive", app, third, first, *BACKEND, "--yes")

    assert (ended.code, ended.out, ended.err) == (0, "2 of 2 dead letters redriven\n", "")
    assert {letter.id for letter in letters(lasting, redriven=True)} == {first, third}


def test_letters_go_again_by_what_they_have_in_common(necrostack: Run, lasting: Lasting) -> None:
    for organ in ("One", "Two", "Two"):
        bury(lasting, "CLI_A", organ, "lost")

    ended = necrostack("dlq", "redrive", *BACKEND, "--organ", "Two", "--yes", "--json")

    assert json.loads(ended.out) == {"asked": 2, "redriven": 2, "problems": []}
    assert [letter.organ for letter in letters(lasting)] == ["One"]


def test_a_dry_run_shows_them_and_does_nothing(necrostack: Run, lasting: Lasting) -> None:
    bury(lasting, "CLI_A", "One", "lost")

    ended = necrostack("dlq", "redrive", *BACKEND, "--all", "--dry-run")

    assert "CLI_A" in ended.out
    assert ended.told == ["necrostack: 1 dead letter would be redriven; nothing was done"]
    assert len(letters(lasting)) == 1


def test_a_letter_that_went_again_before_does_not_go_twice(necrostack: Run, lasting: Lasting) -> None:
    bury(lasting, "CLI_A", "One", "lost")
    bury(lasting, "CLI_A", "One", "lost")
    first, second = (letter.id for letter in letters(lasting))
    necrostack("dlq", "redrive", first, *BACKEND, "--yes")

    again = necrostack("dlq", "redrive", first, *BACKEND, "--yes")
    in_part = necrostack("dlq", "redrive", first, second, *BACKEND, "--yes")

    assert (again.code, again.out) == (1, "0 of 1 dead letter redriven\n")
    assert f"{first} went again before, at 2" in again.told[0]
    assert (in_part.code, in_part.out) == (7, "1 of 2 dead letters redriven\n")


@pytest.mark.parametrize("options", [["--all"], None])
def test_somebody_else_who_is_faster_is_told(
    necrostack: Run, lasting: Lasting, monkeypatch: pytest.MonkeyPatch, options: list[str] | None
) -> None:
    for _ in range(2):
        bury(lasting, "CLI_A", "One", "lost")
    ids = [letter.id for letter in letters(lasting)]
    redrive = InMemoryAdmin.redrive

    async def too_late(admin: InMemoryAdmin, *names: str, payload: Any = None) -> int:
        await redrive(admin, ids[0])
        return await redrive(admin, *names)

    monkeypatch.setattr(InMemoryAdmin, "redrive", too_late)
    ended = necrostack("dlq", "redrive", *(options or ids), *BACKEND, "--yes")

    assert (ended.code, ended.out) == (7, "1 of 2 dead letters redriven\n")
    assert "redriven by somebody else meanwhile" in ended.told[0]


def test_a_backend_that_goes_away_midway_leaves_it_done_in_part(
    necrostack: Run, lasting: Lasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        bury(lasting, "CLI_A", "One", "lost")
    ids = [letter.id for letter in letters(lasting)]
    redrive = InMemoryAdmin.redrive

    async def goes_away(admin: InMemoryAdmin, *names: str, payload: Any = None) -> int:
        if names[0] == ids[1]:
            raise BackendUnavailable("gone fishing")
        return await redrive(admin, *names)

    monkeypatch.setattr(InMemoryAdmin, "redrive", goes_away)
    ended = necrostack("dlq", "redrive", *ids, *BACKEND, "--yes")
    at_once = necrostack("dlq", "redrive", ids[1], *BACKEND, "--yes")

    assert (ended.code, ended.out) == (7, "1 of 3 dead letters redriven\n")
    assert ended.told == [f"necrostack: error: stopped at {ids[1]}: gone fishing"]
    assert (at_once.code, at_once.told) == (4, ["necrostack: error: gone fishing"])


def test_where_nobody_can_be_asked_nothing_is_done_without_yes(necrostack: Run, lasting: Lasting) -> None:
    bury(lasting, "CLI_A", "One", "lost")

    ended = necrostack("dlq", "redrive", "--all", *BACKEND)

    assert (ended.code, ended.out) == (2, "")
    assert "1 dead letter (1 One) to be redriven: say --yes" in ended.told[0]
    assert len(letters(lasting)) == 1


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("yes\n", 0, 0), ("\n", 1, 1), ("", 1, 1)])
def test_who_can_be_asked_is_asked(
    necrostack: Run, lasting: Lasting, can_ask: Callable[[str], None], answer: str, code: int, left: int
) -> None:
    bury(lasting, "CLI_A", "One", "lost")
    can_ask(answer)

    ended = necrostack("dlq", "redrive", "--all", *BACKEND)

    assert ended.code == code
    assert ended.err.startswith("necrostack: 1 dead letter (1 One) to be redriven? [y/N] ")
    assert len(letters(lasting)) == left


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "which dead letters? Name their ids, or say --all"),
        (["1-0", "--all"], "both ids and --all choose dead letters"),
        (["1-0", "--organ", "One"], "both ids and --organ choose dead letters"),
    ],
)
def test_what_is_to_go_again_must_be_said_in_one_way(
    necrostack: Run, lasting: Lasting, words: list[str], told: str
) -> None:
    ended = necrostack("dlq", "redrive", *words, *BACKEND, "--yes")

    assert ended.code == 2
    assert told in ended.told[0]


def test_what_cannot_be_read_is_not_redriven(
    necrostack: Run, lasting: Lasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(lasting, "CLI_A", "One", "lost")
    (letter,) = letters(lasting)
    store = lasting.inner._store
    unreadable = DeadLetter(
        id=letter.id, event=None, raw={b"v": b"\xff\x1b"}, reason="undecodable", dead_at=letter.dead_at
    )
    store.dead[letter.id] = unreadable

    dry = necrostack("dlq", "redrive", "--all", *BACKEND, "--dry-run")
    ended = necrostack("dlq", "redrive", "--all", *BACKEND, "--yes")

    assert dry.told[0] == "necrostack: 0 dead letters would be redriven; nothing was done"
    assert "cannot be read, so nobody could handle it" in dry.told[1]
    assert (ended.code, ended.out) == (1, "0 of 1 dead letter redriven\n")
    assert "cannot be read, so nobody could handle it" in ended.told[0]
    assert "\\xff\\x1b" in necrostack("dlq", "show", letter.id, *BACKEND).out
    assert json.loads(necrostack("dlq", "list", *BACKEND, "--json").out)["raw"] == {"v": "/xs="}
    assert "cannot be read, so there is no payload" in necrostack("dlq", "edit", letter.id, *BACKEND).told[0]


# --- edit -----------------------------------------------------------------------------------------------


@pytest.fixture
def editor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes an editor of a shell script; returns the file in which each of its texts is written down."""

    def make(*lines: str) -> Path:
        script, seen = folder / "editor.sh", folder / "seen"
        script.write_text("\n".join(["#!/bin/sh", f'cat "$1" >> {seen}', *lines]))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", str(script))
        return seen

    return make


needs_sh = pytest.mark.skipif(os.name == "nt", reason="the editor is a shell script")


@needs_sh
def test_an_edited_payload_goes_again(
    necrostack: Run, app: str, handled: Handled, lasting: Lasting, editor: Callable[..., Path]
) -> None:
    handled(-4)
    (letter,) = letters(lasting)
    seen = editor("""echo '{"n": 4}' > "$1" """)

    ended = necrostack("dlq", "edit", app, letter.id, *BACKEND)

    assert (ended.code, ended.out, ended.err) == (0, f"{letter.id} redriven with the new payload\n", "")
    assert json.loads(seen.read_text()) == {"n": -4}
    (delivery,) = asyncio.run(lasting.inner.pull())
    assert (delivery.origin, delivery.organs, delivery.event.payload.n) == ("redrive", ("Doubler",), 4)


@needs_sh
def test_an_unchanged_payload_does_nothing(necrostack: Run, lasting: Lasting, editor: Callable[..., Path]) -> None:
    bury(lasting, "CLI_A", "One", "lost")
    editor()

    ended = necrostack("dlq", "edit", letters(lasting)[0].id, *BACKEND)

    assert (ended.code, ended.out) == (0, "")
    assert ended.told == ["necrostack: the payload was not changed; nothing was done"]
    assert len(letters(lasting)) == 1


@needs_sh
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{n: 4}", "this is not JSON"),
        ("[4]", "a payload is a JSON object, not [4]"),
        ('{"n": "four"}', "payload.n: Input should be a valid integer"),
    ],
)
def test_what_is_no_payload_is_kept_for_another_try(
    necrostack: Run, app: str, handled: Handled, lasting: Lasting, editor: Callable[..., Path], text: str, told: str
) -> None:
    handled(-4)
    editor(f"""echo '{text}' > "$1" """)

    ended = necrostack("dlq", "edit", app, letters(lasting)[0].id, *BACKEND)

    assert (ended.code, ended.out) == (1, "")
    assert told in ended.told[0]
    kept = Path(ended.told[1].rpartition("what you wrote is in ")[2])
    assert kept.read_text().strip() == text
    assert len(letters(lasting)) == 1


@needs_sh
def test_it_is_opened_again_with_what_was_written(
    necrostack: Run, app: str, handled: Handled, lasting: Lasting, editor: Callable[..., Path], can_ask: Any
) -> None:
    handled(-4)
    seen = editor("""if grep -q four "$1"; then echo '{"n": 4}' > "$1"; else echo '{"n": "four"}' > "$1"; fi""")
    can_ask("y\n")

    ended = necrostack("dlq", "edit", app, letters(lasting)[0].id, *BACKEND, "--json")

    assert ended.code == 0
    assert json.loads(ended.out)["payload"] == {"n": 4}
    assert '{"n": "four"}' in seen.read_text()


@needs_sh
def test_an_editor_that_fails_or_is_not_there_is_told(
    necrostack: Run, lasting: Lasting, editor: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(lasting, "CLI_A", "One", "lost")
    name = letters(lasting)[0].id
    editor("exit 3")
    failed = necrostack("dlq", "edit", name, *BACKEND)
    monkeypatch.setenv("EDITOR", "no-such-editor --wait")
    absent = necrostack("dlq", "edit", name, *BACKEND)

    assert failed.code == 1
    assert "ended with 3; nothing was done" in failed.told[0]
    assert absent.code == 2
    assert "the editor 'no-such-editor --wait' cannot be started" in absent.told[0]


# --- discard, export, where -----------------------------------------------------------------------------


def test_discarded_letters_are_gone(necrostack: Run, lasting: Lasting) -> None:
    for organ in ("One", "Two"):
        bury(lasting, "CLI_A", organ, "lost")
    one, _ = (letter.id for letter in letters(lasting))

    by_id = necrostack("dlq", "discard", one, *BACKEND, "--yes")
    by_filter = necrostack("dlq", "discard", *BACKEND, "--type", "CLI_*", "--yes")

    assert (by_id.code, by_id.out) == (0, "1 of 1 dead letter discarded\n")
    assert (by_filter.code, by_filter.out) == (0, "1 of 1 dead letter discarded\n")
    assert letters(lasting) == []


def test_letters_are_exported_to_a_file_or_to_stdout(necrostack: Run, lasting: Lasting, folder: Path) -> None:
    for organ in ("One", "Two"):
        bury(lasting, "CLI_A", organ, "lost")

    to_file = necrostack("dlq", "export", *BACKEND, "--output", "letters.ndjson")
    to_stdout = necrostack("dlq", "export", *BACKEND, "--organ", "Two")
    events = necrostack("dlq", "export", *BACKEND, "--events")

    assert (to_file.code, to_file.out) == (0, "")
    assert to_file.told == ["necrostack: 2 lines in letters.ndjson"]
    lines = (folder / "letters.ndjson").read_text().splitlines()
    assert [json.loads(line)["organ"] for line in lines] == ["One", "Two"]
    assert to_stdout.out.splitlines() == lines[1:]
    assert [Event.model_validate_json(line).event_type for line in events.out.splitlines()] == ["CLI_A", "CLI_A"]
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []


def test_an_export_to_a_folder_that_is_not_there_is_told(necrostack: Run, lasting: Lasting, folder: Path) -> None:
    ended = necrostack("dlq", "export", *BACKEND, "--output", "absent/letters.ndjson")

    assert ended.code == 1
    assert "--output absent/letters.ndjson: No such file or directory" in ended.told[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name an APP, or where events are kept with --backend"),
        (["--backend", "memory://"], "events in memory are seen by their own process alone"),
    ],
)
def test_without_a_backend_that_lasts_there_is_nothing_to_look_at(necrostack: Run, words: list[str], told: str) -> None:
    ended = necrostack("dlq", "list", *words)

    assert (ended.code, ended.out) == (2, "")
    assert told in ended.told[0]

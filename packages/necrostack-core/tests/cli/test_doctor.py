"""`necrostack doctor`: what is wrong, and what to do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from necrostack import Event, Settlement
from necrostack.delivery import Failure
from necrostack.errors import BackendError, BackendUnavailable
from necrostack.finding import Finding
from necrostack.memory_admin import InMemoryAdmin

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run

BACKEND = ("--backend", "lasting://")

LOOPING = """\
from typing import Literal

from necrostack import Event, Organ, Spine


class There(Event):
    event_type: Literal["DOCTOR_THERE"] = "DOCTOR_THERE"


class Gone(Event):
    event_type: Literal["DOCTOR_GONE"] = "DOCTOR_GONE"


class Loop(Organ[There]):
    listens_to = [There]

    def handle(self, event: There) -> There | Gone: ...


spine = Spine([Loop()])
endless = Spine([Loop()], max_hops=None)
"""


def findings(out: str) -> list[tuple[str, str]]:
    return [(found["severity"], found["what"]) for found in json.loads(out)["findings"]]


def test_what_is_well_is_said_so(necrostack: Run, app: str, lasting: Lasting) -> None:
    ended = necrostack("doctor", app, *BACKEND)

    assert ended.code == 0
    first, second = ended.out.splitlines()
    assert first.startswith("note     necrostack ")
    assert second == "note     2 Organs, 2 event types"
    assert ended.told == ["necrostack: no error, 0 warnings found"]


def test_without_anything_it_looks_at_what_is_installed(necrostack: Run) -> None:
    ended = necrostack("doctor")

    assert ended.code == 0
    assert "         name an APP, or --backend URL, to have it checked" in ended.out.splitlines()


def test_distributions_of_two_versions_are_an_error(necrostack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = __import__("importlib.metadata").metadata.version
    monkeypatch.setattr(
        "necrostack.cli.checks.version", lambda name: "0.0.1" if name == "necrostack-core" else real(name)
    )

    ended = necrostack("doctor", "--json")

    assert ended.code == 6
    assert (
        "error",
        "necrostack-core is 0.1.0, but necrostack-core is 0.0.1; they work only in one version",
    ) in findings(ended.out)


@pytest.mark.parametrize(("spine", "code", "loop"), [("spine", 0, "warning"), ("endless", 6, "error")])
def test_loops_and_dead_ends_are_found(
    necrostack: Run, folder: Path, lasting: Lasting, spine: str, code: int, loop: str
) -> None:
    (folder / "doctor_looping.py").write_text(LOOPING)

    ended = necrostack("doctor", f"doctor_looping:{spine}", *BACKEND, "--json")

    assert ended.code == code
    (dead_end, looping) = findings(ended.out)[2:]
    assert dead_end == ("warning", "Loop may emit 'DOCTOR_GONE', but nobody listens to it")
    assert looping[0] == loop
    assert looping[1].startswith("a loop: events of Loop lead back to them; ")


def test_events_in_memory_are_a_warning(necrostack: Run, app: str) -> None:
    ended = necrostack("doctor", app)

    assert ended.code == 0
    assert "warning  events are kept in memory" in ended.out


def test_what_waits_for_nobody_and_dead_letters_are_found(necrostack: Run, lasting: Lasting) -> None:
    async def leave() -> None:
        await lasting.enqueue(*(Event(event_type="CLI_A", payload={}) for _ in range(3)))
        for delivery in await lasting.pull(limit=2):
            await lasting.settle(Settlement(delivery, dead=[Failure(reason="given up")]))
        lasting.inner._store.was_pulled = False

    asyncio.run(leave())
    ended = necrostack("doctor", *BACKEND, "--json")

    waiting, dead = findings(ended.out)[1:]
    assert waiting == ("warning", "1 event waits for the group 'default', in which no worker is alive")
    assert dead[1].startswith("2 dead letters wait, the oldest since 2")


@pytest.mark.parametrize("error", [BackendUnavailable("gone fishing"), BackendError("wrong password")])
def test_a_backend_that_is_not_there_is_found(
    necrostack: Run, lasting: Lasting, monkeypatch: pytest.MonkeyPatch, error: BackendError
) -> None:
    async def away(_: InMemoryAdmin) -> list[Finding]:
        raise error

    monkeypatch.setattr(InMemoryAdmin, "check", away)
    ended = necrostack("doctor", *BACKEND)

    assert ended.code == 6
    assert f"error    {error}" in ended.out.splitlines()
    assert ended.told == ["necrostack: error: 1 error and 0 warnings found"]


def test_an_app_that_cannot_be_imported_is_found_and_the_rest_is_checked(necrostack: Run, lasting: Lasting) -> None:
    ended = necrostack("doctor", "absent_app", *BACKEND, "--json")

    assert ended.code == 6
    assert json.loads(ended.out)["ok"] is False
    assert any(what.startswith("absent_app cannot be imported: no module named") for _, what in findings(ended.out))


def test_a_finding_cannot_write_to_the_terminal(
    necrostack: Run, lasting: Lasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(_: InMemoryAdmin) -> list[Finding]:
        return [Finding("note", "\x1b[2J")]

    monkeypatch.setattr(InMemoryAdmin, "check", found)

    assert "\x1b" not in necrostack("doctor", *BACKEND).out

"""`necrostack replay`: deliver history again, when somebody said yes."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from necrostack import Delivery, Event
from necrostack.errors import BackendUnavailable
from necrostack.memory_admin import InMemoryAdmin

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run

BACKEND = ("--backend", "lasting://")


@pytest.fixture
def events(lasting: Lasting) -> list[Event]:
    """What was handled."""
    kept = [Event(event_type=f"CLI_{letter}", payload={}) for letter in "AABC"]

    async def handle() -> None:
        await lasting.enqueue(*kept)
        for delivery in await lasting.pull(limit=4):
            await lasting.ack(delivery)

    asyncio.run(handle())
    return kept


def pulled(backend: Lasting) -> list[Delivery]:
    return [*asyncio.run(backend.inner.pull(limit=100, timeout=0.0))]


def test_history_goes_again_by_type(necrostack: Run, lasting: Lasting, events: list[Event]) -> None:
    ended = necrostack("replay", *BACKEND, "--type", "CLI_A", "--yes")

    assert (ended.code, ended.out, ended.err) == (0, "2 events replayed\n", "")
    deliveries = pulled(lasting)
    assert [(delivery.event, delivery.origin) for delivery in deliveries] == [(event, "replay") for event in events[:2]]


def test_history_goes_again_by_id_to_one_organ(
    necrostack: Run, app: str, lasting: Lasting, events: list[Event]
) -> None:
    ended = necrostack("replay", app, *BACKEND, "--id", str(events[2].id), "--organ", "Printer", "--yes", "--json")

    assert json.loads(ended.out) == {"replayed": 1, "dry_run": False}
    (delivery,) = pulled(lasting)
    assert (delivery.event, delivery.organs) == (events[2], ("Printer",))


@pytest.mark.parametrize(
    ("options", "count"),
    [(["--all"], 4), (["--from", "1h"], 4), (["--to", "1h"], 0), (["--from", "1h", "--type", "CLI_B"], 1)],
)
def test_a_dry_run_only_counts(
    necrostack: Run, lasting: Lasting, events: list[Event], options: list[str], count: int
) -> None:
    ended = necrostack("replay", *BACKEND, *options, "--dry-run", "--json")

    assert ended.code == 0
    assert json.loads(ended.out) == {"replayed": count, "dry_run": True}
    assert pulled(lasting) == []


def test_what_is_not_there_is_told(necrostack: Run, app: str, lasting: Lasting, events: list[Event]) -> None:
    no_event = necrostack("replay", *BACKEND, "--id", str(uuid4()), "--yes")
    no_organ = necrostack("replay", app, *BACKEND, "--all", "--organ", "Absent", "--yes")

    assert (no_event.code, no_event.told) == (5, ["necrostack: error: no event that is kept is as asked for"])
    assert no_organ.code == 5
    assert no_organ.told == ["necrostack: error: the Spine has no Organ 'Absent'; there are Doubler, Printer"]


def test_what_is_to_go_must_be_said(necrostack: Run, lasting: Lasting) -> None:
    ended = necrostack("replay", *BACKEND, "--yes")

    assert (ended.code, ended.out) == (2, "")
    assert "what is to go again? Say --from TIME" in ended.told[0]


def test_it_asks_first(necrostack: Run, lasting: Lasting, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    with_nobody = necrostack("replay", *BACKEND, "--all", "--organ", "Printer")
    monkeypatch.setattr("necrostack.cli.asking.can_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with_no = necrostack("replay", *BACKEND, "--all")

    assert with_nobody.code == 2
    assert "4 events to be replayed to Printer alone: say --yes" in with_nobody.told[0]
    assert with_no.code == 1
    assert with_no.told[-1].endswith("not confirmed; nothing was done")
    assert pulled(lasting) == []


def test_a_backend_that_goes_away_midway_leaves_it_done_in_part_and_it_is_told_how_to_go_on(
    necrostack: Run, lasting: Lasting, events: list[Event]
) -> None:
    with pytest.MonkeyPatch.context() as patched:

        async def goes_away(admin: InMemoryAdmin, **asked: Any) -> int:
            asked["on_progress"](3)
            raise BackendUnavailable("gone fishing")

        patched.setattr(InMemoryAdmin, "replay", goes_away)
        ended = necrostack("replay", *BACKEND, "--all", "--yes")
    how = ended.told[1].partition("; ")[2].removesuffix(" goes on, and a few may go twice").split()
    went_on = necrostack("replay", *BACKEND, *how, "--yes")

    assert (ended.code, ended.out) == (7, "3 events replayed\n")
    assert ended.told[0] == "necrostack: error: stopped: gone fishing"
    assert ended.told[1].startswith("necrostack: 3 of 4 events went again, or some more whose answer was lost; --from ")
    assert (went_on.code, went_on.told) == (0, [])
    assert events[3].id in [delivery.event.id for delivery in pulled(lasting)]

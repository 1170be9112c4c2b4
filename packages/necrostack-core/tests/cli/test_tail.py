"""`necrostack tail`: the events that were kept, and those to come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from necrostack import Event, Settlement
from necrostack.cli.terminal import Terminal
from necrostack.delivery import Failure
from necrostack.errors import BackendUnavailable
from necrostack.memory_admin import InMemoryAdmin

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run

BACKEND = ("--backend", "lasting://")


def keep(backend: Lasting, *events: Event) -> None:
    asyncio.run(backend.enqueue(*events))


def numbered(count: int, event_type: str = "CLI_A") -> list[Event]:
    return [Event(event_type=event_type, payload={"n": number}) for number in range(count)]


def numbers_in(out: str) -> list[int]:
    return [json.loads(line)["payload"]["n"] for line in out.splitlines()]


def test_the_last_ten_events_are_written_oldest_first(necrostack: Run, lasting: Lasting) -> None:
    events = numbered(12)
    keep(lasting, *events)

    ended = necrostack("tail", *BACKEND)

    header, *lines = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, "")
    assert header.split() == ["kept", "event", "type", "event", "payload"]
    assert [line.split()[2] for line in lines] == [str(event.id) for event in events[2:]]
    assert lines[0].endswith("CLI_A       " + f'{events[2].id}  {{"n": 2}}')


def test_json_is_what_a_feed_reads(necrostack: Run, lasting: Lasting) -> None:
    events = numbered(2)
    keep(lasting, *events)

    ended = necrostack("tail", *BACKEND, "--json")

    assert [Event.model_validate_json(line) for line in ended.out.splitlines()] == events


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--last", "2"], [2, 0]),
        (["--last", "0"], []),
        (["--since", "1h"], [0, 1, 2, 0]),
        (["--until", "1h"], []),
        (["--type", "CLI_A", "--last", "2"], [1, 2]),
        (["--type", "CLI_*"], [0, 1, 2, 0]),
        (["--type", "cli_*", "--since", "1h"], []),
    ],
)
def test_events_are_found_by_number_time_and_type(
    necrostack: Run, lasting: Lasting, options: list[str], found: list[int]
) -> None:
    keep(lasting, *numbered(3), *numbered(1, "CLI_B"))

    ended = necrostack("tail", *BACKEND, "--json", *options)

    assert numbers_in(ended.out) == found
    assert ended.told == ([] if found or "0" in options else ["necrostack: no event that is kept is as asked for"])


def test_events_are_found_by_id_and_by_chain(necrostack: Run, app: str, handled: Callable[..., None]) -> None:
    handled(1, 2)
    first, *_ = (json.loads(line) for line in necrostack("tail", app, *BACKEND, "--json").out.splitlines())

    by_id = necrostack("tail", *BACKEND, "--json", "--id", first["id"], "--id", str(uuid4()))
    by_chain = necrostack("tail", *BACKEND, "--json", "--correlation", first["id"])

    assert [json.loads(line)["event_type"] for line in by_id.out.splitlines()] == ["CLI_COUNTED"]
    assert [json.loads(line)["event_type"] for line in by_chain.out.splitlines()] == ["CLI_COUNTED", "CLI_DOUBLED"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--last", "-1"], "is no whole number, 0 or more"),
        (["--id", "7"], "'7' is no id of an event"),
        (["--since", "yesterday"], "'yesterday' is no time; write 2026-03-01T12:00:00Z"),
        (["--since", "2026-03-01 12:00"], "does not say which time zone it is in; write 2026-03-01T12:00:00Z"),
    ],
)
def test_what_cannot_be_asked_for_is_told(necrostack: Run, lasting: Lasting, words: list[str], told: str) -> None:
    ended = necrostack("tail", *BACKEND, *words)

    assert (ended.code, ended.out) == (2, "")
    assert told in ended.told[0]


def test_events_are_found_by_what_is_in_their_payload(necrostack: Run, lasting: Lasting) -> None:
    keep(lasting, *numbered(5))

    ended = necrostack("tail", *BACKEND, "--json", "--where", "n>1", "--where", "n!=3")

    assert numbers_in(ended.out) == [2, 4]


def test_events_are_found_by_the_organ_that_listens_to_them(
    necrostack: Run, app: str, handled: Callable[..., None]
) -> None:
    handled(1)

    ended = necrostack("tail", app, *BACKEND, "--json", "--organ", "Printer")

    assert [json.loads(line)["event_type"] for line in ended.out.splitlines()] == ["CLI_DOUBLED"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--organ", "Printer"], 2, "--organ needs an APP, which says what the Organ listens to; with --errors it"),
        (["cli_counting", "--organ", "Nobody"], 5, "the Spine has no Organ 'Nobody'; there are Doubler, Printer"),
        (["--where", "=1"], 2, "'=1' is no condition; write PATH, PATH=VALUE, PATH!=VALUE or PATH>VALUE"),
    ],
)
def test_what_is_not_there_to_choose_by_is_told(
    necrostack: Run, app: str, lasting: Lasting, words: list[str], code: int, told: str
) -> None:
    ended = necrostack("tail", *words, *BACKEND)

    assert (ended.code, ended.out) == (code, "")
    assert told in ended.told[0]


# --- errors ---------------------------------------------------------------------------------------------


def test_what_went_wrong_is_written_also_what_went_again(
    necrostack: Run, app: str, handled: Callable[..., None], lasting: Lasting
) -> None:
    handled(-1, 1, -2, -3)
    first = necrostack("tail", *BACKEND, "--errors", "--json").out.splitlines()[0]
    asyncio.run(lasting.admin.redrive(json.loads(first)["id"]))

    ended = necrostack("tail", *BACKEND, "--errors")
    newest = necrostack("tail", *BACKEND, "--errors", "--json", "--last", "2", "--where", "n<-1", "--organ", "Doubler")

    header, *lines = ended.out.splitlines()
    assert header.split() == ["given", "up", "letter", "event", "type", "organ", "why"]
    assert len(lines) == 3
    assert all(line.endswith("Doubler  attempts_exhausted: ValueError: a negative count") for line in lines)
    assert [json.loads(line)["event"]["payload"]["n"] for line in newest.out.splitlines()] == [-2, -3]
    assert necrostack("tail", *BACKEND, "--errors", "--organ", "Printer").told == [
        "necrostack: no dead letter is as asked for"
    ]


# --- follow ---------------------------------------------------------------------------------------------


@pytest.fixture
def between_looks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Does something after each look for what is new. After the last one nobody reads stdout any more."""

    def set_up(*steps: Callable[[], object]) -> None:
        left = list(steps)

        async def sleep(_: float) -> None:
            done = left.pop(0)()
            if asyncio.iscoroutine(done):
                await done

        monkeypatch.setattr("necrostack.cli.commands.tail.asyncio", SimpleNamespace(sleep=sleep))
        monkeypatch.setattr(Terminal, "is_read", property(lambda _: bool(left)))

    return set_up


def test_what_is_new_is_written_once_each(
    necrostack: Run, lasting: Lasting, between_looks: Callable[..., None]
) -> None:
    first, second, third = numbered(3)
    keep(lasting, *numbered(2, "CLI_B"))
    between_looks(
        lambda: lasting.enqueue(first, *numbered(5, "OTHER")),
        lambda: None,
        lambda: lasting.enqueue(second, third),
        lambda: None,
        lambda: None,
    )

    ended = necrostack("tail", *BACKEND, "--follow", "--last", "1", "--type", "CLI_?", "--json")

    assert numbers_in(ended.out) == [1, 0, 1, 2]


def test_following_what_is_empty_begins_with_the_first_event(
    necrostack: Run, lasting: Lasting, between_looks: Callable[..., None]
) -> None:
    between_looks(lambda: lasting.enqueue(*numbered(1)), lambda: None, lambda: None)

    ended = necrostack("tail", *BACKEND, "-f", "--last", "0")

    assert len(ended.out.splitlines()) == 2
    assert ended.err == ""


def test_a_backend_that_goes_away_is_waited_for(
    necrostack: Run, lasting: Lasting, between_looks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = InMemoryAdmin.kept

    def away(*_: object, **__: object) -> None:
        raise BackendUnavailable("gone fishing")

    between_looks(
        lambda: monkeypatch.setattr(InMemoryAdmin, "kept", away),
        lambda: None,
        lambda: monkeypatch.setattr(InMemoryAdmin, "kept", kept),
        lambda: lasting.enqueue(*numbered(1)),
        lambda: None,
    )

    ended = necrostack("tail", *BACKEND, "-f", "--json")

    assert numbers_in(ended.out) == [0]
    assert ended.told == ["necrostack: gone fishing; waiting for it"]


def test_errors_that_come_are_written_once_each(
    necrostack: Run, lasting: Lasting, between_looks: Callable[..., None]
) -> None:
    (first, second) = (Event(event_type="CLI_A", payload={"n": number}) for number in range(2))

    async def bury(event: Event) -> None:
        await lasting.enqueue(event)
        (delivery,) = await lasting.pull()
        await lasting.settle(Settlement(delivery, dead=[Failure(reason="given up", organ="A")]))

    asyncio.run(bury(first))
    between_looks(lambda: bury(second), lambda: None, lambda: lasting.admin.redrive("2"), lambda: None)

    ended = necrostack("tail", *BACKEND, "--errors", "--follow", "--json")

    assert [json.loads(line)["event"]["id"] for line in ended.out.splitlines()] == [str(first.id), str(second.id)]

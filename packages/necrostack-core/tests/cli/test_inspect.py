"""`necrostack inspect`: what waits, who works, where an event is, and what it led to."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from necrostack import Event, Settlement
from necrostack.delivery import Retry

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run

BACKEND = ("--backend", "lasting://")


def chain(backend: Lasting, *parents: int) -> list[Event]:
    """Keep events that came of each other: the parent of each by its number, counted from a root."""
    events = [Event(event_type="CLI_0", payload={})]
    for number, parent in enumerate(parents, 1):
        cause = events[parent]
        event = Event(
            event_type=f"CLI_{number}",
            payload={},
            timestamp=events[0].timestamp,
            correlation_id=events[0].id,
            causation_id=cause.id,
            hops=cause.hops + 1,
        )
        events.append(event)
    asyncio.run(backend.enqueue(*events))
    return events


def test_groups_workers_and_the_oldest_pending_are_shown(necrostack: Run, lasting: Lasting) -> None:
    events = chain(lasting, 0, 0, 0)
    asyncio.run(lasting.pull(limit=3))

    ended = necrostack("inspect", *BACKEND, "--limit", "2")

    lines = [line.split() for line in ended.out.splitlines()]
    assert ended.code == 0
    assert lines[2][:6] == ["default", "1", "3", "0", "0", "1"]
    assert lines[3] == ["4", "events", "in", "the", "history"]
    assert ["memory", "-", "-", "-", "-", "3", "-", "-", "-", "0.0s"] in lines
    assert [line[3] for line in lines[-3:-1]] == [str(event.id) for event in events[:2]]
    assert lines[-1] == ["and", "1", "more"]


def test_json_is_one_object(necrostack: Run, lasting: Lasting) -> None:
    chain(lasting, 0)
    asyncio.run(lasting.pull())

    found = json.loads(necrostack("inspect", *BACKEND, "--json").out)

    assert found["stats"]["queued"] == found["stats"]["pending"] == 1
    assert [group["name"] for group in found["groups"]] == ["default"]
    assert found["workers"] == [{"name": "memory", "pending": 1, "last_heard": 0.0, "about": None}]
    assert [pending["event"]["event_type"] for pending in found["pending"]] == ["CLI_0"]


def test_an_event_is_found_wherever_it_is(
    necrostack: Run, app: str, handled: Callable[..., None], lasting: Lasting
) -> None:
    handled(-1)
    dead = json.loads(necrostack("dlq", "list", *BACKEND, "--json").out)
    (waiting,) = chain(lasting)
    asyncio.run(lasting.pull())

    of_dead = necrostack("inspect", app, dead["event"]["id"], *BACKEND)
    of_pending = necrostack("inspect", str(waiting.id), *BACKEND)
    as_json = json.loads(necrostack("inspect", dead["event"]["id"], *BACKEND, "--json").out)

    assert f"dead letter {dead['id']} of Doubler: attempts_exhausted: ValueError: a negative count" in of_dead.out
    assert '"n": -1' in of_dead.out
    assert "attempt 1, with memory" in of_pending.out
    assert (as_json["event"], as_json["dead_letters"], as_json["pending"]) == (dead["event"], [dead], [])
    assert len(as_json["kept"]) == 1


def test_an_event_that_is_due_later_is_found(necrostack: Run, lasting: Lasting) -> None:
    handled, delayed = (Event(event_type="CLI_A", payload={}) for _ in range(2))

    async def leave() -> None:
        await lasting.enqueue(handled)
        await lasting.enqueue(delayed, delay=60.0)
        (delivery,) = await lasting.pull()
        await lasting.settle(Settlement(delivery, retries=[Retry(organ="Billing", delay=30.0)]))

    asyncio.run(leave())
    retried, later = (necrostack("inspect", str(event.id), *BACKEND) for event in (handled, delayed))

    assert re.search(r"\n  due          20\d\d-.*Z, attempt 2 for Billing\n", retried.out)
    assert "\n  kept         not yet: it is delayed\n" in later.out
    assert re.search(r"\n  due          20\d\d-.*Z, attempt 1\n", later.out)
    assert "neither pending" not in retried.out + later.out


def test_a_chain_is_a_tree(necrostack: Run, lasting: Lasting) -> None:
    events = chain(lasting, 0, 1, 0, 3)
    chain(lasting, 0)

    ended = necrostack("inspect", "--chain", str(events[0].id), *BACKEND)
    as_json = necrostack("inspect", "--chain", str(events[0].id), *BACKEND, "--json")

    drawn = [line.partition("  ")[0] if line.startswith("CLI") else line for line in ended.out.splitlines()]
    assert [line[:12].rstrip() for line in drawn] == [
        "CLI_0",
        "├─ CLI_1  " + str(events[1].id)[:2],
        *["│  └─ CLI_2", "└─ CLI_3  " + str(events[3].id)[:2], "   └─ CLI_4"],
    ]
    assert [json.loads(line)["event"]["event_type"] for line in as_json.out.splitlines()] == [
        f"CLI_{number}" for number in range(5)
    ]


def test_a_chain_may_be_longer_than_python_calls_deep(necrostack: Run, lasting: Lasting) -> None:
    events = chain(lasting, *range(1500))

    ended = necrostack("inspect", "--chain", str(events[0].id), *BACKEND)

    assert (ended.code, len(ended.out.splitlines())) == (0, 1501)


def test_what_led_to_an_event_may_be_forgotten(necrostack: Run, lasting: Lasting) -> None:
    events = chain(lasting, 0)

    async def forget_the_first() -> None:
        for delivery in await lasting.pull(limit=2):
            await lasting.ack(delivery)
        await lasting.admin.trim(max_length=1)

    asyncio.run(forget_the_first())
    ended = necrostack("inspect", "--chain", str(events[0].id), *BACKEND)

    assert ended.out.startswith(f"CLI_1  {events[1].id}  ")
    assert ended.out.endswith("(what it came of is not kept any more)\n")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([str(uuid4())], 5, "nothing is kept of the event"),
        (["--chain", str(uuid4())], 5, "nothing is kept of the chain"),
        (["12-0"], 2, "'12-0' is no id of an event"),
        ([str(uuid4()), str(uuid4())], 2, "name one event, or one chain with --chain"),
        ([str(uuid4()), "--chain", str(uuid4())], 2, "name one event, or one chain with --chain"),
    ],
)
def test_what_is_not_there_is_told(necrostack: Run, lasting: Lasting, words: list[str], code: int, told: str) -> None:
    ended = necrostack("inspect", *words, *BACKEND)

    assert (ended.code, ended.out) == (code, "")
    assert told in ended.told[0]

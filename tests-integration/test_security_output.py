"""The real command line, in a terminal and in a pipe, over what somebody else wrote into Redis."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import redis

from necrostack import Event
from necrostack.event import MAX_EVENT_SIZE, admit
from necrostack.fleet import Announcement
from necrostack.topology import OrganNode, Topology
from necrostack_redis import RedisBackend
from necrostack_redis.keys import Keys
from necrostack_redis.wire import event_record

ODD = "\x1b[35m\x1b]0;title\x07\r\x08\x7f\x9b31m\x85\u2028\u202e\u2066[red]bold[/red][link=x]"
"""Moves, recolours, renames, ends and reverses lines; and what `rich` would take for markup."""

OWN = re.compile(r"\x1b\[(1|2|0|33|1;31)?m|\r\x1b\[K|\r(?=\n)")
"""What the command line itself writes: bold and colours, an erased line, and the line ends of a terminal."""

TIMEOUT = 50.0
NOW = datetime.now(UTC)
SAID = Announcement(host=ODD, pid=1, version=ODD, python=ODD, started_at=NOW, at=NOW, in_work=1)
GRAPH = json.dumps(Topology((OrganNode(name=ODD, listens_to=(ODD,), emits=(ODD,), is_async=True),)).to_dict())
EVENT = Event(event_type="ODD\u2028\u202e[red]", payload={ODD: ODD}, headers={ODD: ODD})


@pytest.fixture
def url(redis_url: str, app: str) -> Iterator[str]:
    """Where an event is kept, pending and a dead letter, by hand, and all that can be odd is."""
    keys, record = Keys(app, "default"), event_record(*admit(EVENT, MAX_EVENT_SIZE))
    facts = dict.fromkeys(("reason", "organ", "error_type", "error", "traceback"), ODD)
    letter = json.dumps({**facts, "attempts": [["2026-03-01T12:00:00", ODD, 1.0]]})
    with redis.Redis.from_url(redis_url) as client:
        for parts in (record, record, (ODD, ODD)):
            client.execute_command("XADD", keys.events, "*", *parts)
        for parts in (record, (ODD, ODD)):
            client.execute_command("XADD", keys.dead, "*", *parts, "letter", letter, "dead_at", 1772600767000891)
        client.execute_command("XADD", keys.dead, "18446744073709551614-1", "a", "b", "letter", '{"organ": [1]}')
        client.xgroup_create(keys.events, "default", "0")
        client.xgroup_create(keys.events, ODD, "0")
        for consumer in (ODD, b"\xff\x1b"):
            client.execute_command("XREADGROUP", "GROUP", "default", consumer, "COUNT", 1, "STREAMS", keys.events, ">")
            client.zadd(keys.leases, {consumer: 1e15})
        client.hset(keys.topologies, mapping={keys.said(ODD): f"1000 {SAID.to_json()}", keys.graph(ODD): GRAPH})
        yield f"{redis_url}?app={app}"
        client.delete(*client.scan_iter(f"*{{{app}}}*", 1000))


def in_pipe(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False, env=environment())
    return (done.stdout + done.stderr).decode()


def in_terminal(*command: str) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()) as process:
        os.close(theirs)
        found = b""
        with suppress(OSError):  # what Linux says at the end
            while data := os.read(ours, 65536):
                found += data
        process.wait(TIMEOUT)
    os.close(ours)
    return found.decode()


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return {**kept, "TERM": "xterm", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}


COMMANDS: dict[str, Sequence[str]] = {
    "tail": ["tail"],
    "inspect": ["inspect"],
    "inspect ID": ["inspect", str(EVENT.id)],
    "top --once": ["top", "--once"],
    "graph --live": ["graph", "--live", "--format", "text"],
    "graph --live --json": ["graph", "--live", "--json"],
    "inspect --chain": ["inspect", "--chain", str(EVENT.id)],
    "dlq list": ["dlq", "list"],
    "dlq list --group-by": ["dlq", "list", "--group-by", "cause"],
    "dlq export": ["dlq", "export"],
    "dlq redrive": ["dlq", "redrive", "--all", "--dry-run"],
    "doctor": ["doctor"],
    "tail --json": ["tail", "--json"],
    "inspect --json": ["inspect", "--json"],
    "dlq list --json": ["dlq", "list", "--json"],
}


FEW = ("inspect", "dlq list")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("show", "names"),
    [
        (in_terminal, FEW),
        pytest.param(in_terminal, COMMANDS, marks=[pytest.mark.thorough, pytest.mark.timeout(300)]),
        pytest.param(in_pipe, COMMANDS, marks=[pytest.mark.thorough, pytest.mark.timeout(300)]),
    ],
    ids=["a few in a terminal", "in a terminal", "in a pipe"],
)
def test_nothing_odd_is_written_whoever_wrote_it(show: Callable[..., str], names: Sequence[str], url: str) -> None:
    letters = [] if names is FEW else ids_of_letters(url)
    commands = {name: COMMANDS[name] for name in names}
    commands |= {f"dlq show {name}": ["dlq", "show", name] for name in letters}
    odd: dict[str, list[str]] = {}
    for name, words in commands.items():
        told = show(sys.executable, "-m", "necrostack", *words, "--backend", url)
        assert "Traceback" not in told
        assert name == "doctor" or "[red]" in told or "18446744073709551614" in name, told
        left = [line for line in OWN.sub("", told).split("\n") if not line.isprintable()]
        if left:
            odd[name] = left

    assert odd == {}
    assert len(letters) == (0 if names is FEW else 3)


def ids_of_letters(url: str) -> list[str]:
    told = in_pipe(sys.executable, "-m", "necrostack", "dlq", "list", "--json", "--backend", url)
    return [json.loads(line)["id"] for line in told.splitlines()]


@pytest.mark.parametrize("odd", [b"\xff\x1b", ODD.encode()])
async def test_odd_names_of_groups_and_workers_stop_no_worker(odd: bytes, redis_url: str, app: str) -> None:
    keys, event = Keys(app, "default"), Event(event_type="A", payload={})
    with redis.Redis.from_url(redis_url) as client:
        client.xgroup_create(keys.events, odd, "0", mkstream=True)
        client.hset(keys.groups, mapping={b"ephemeral:" + odd: 1, b"alive:" + odd: 1})
        client.hset(keys.topologies, odd, odd)
        client.zadd(keys.leases, {odd: 1e15})
    async with RedisBackend(redis_url, app=app, retain_length=0) as backend:
        await backend.enqueue(event)
        await backend.join("ours")
        (delivery,) = await backend.pull()

        assert await backend.ack(delivery)

        backend._open().trimmer._rests_since = -math.inf  # it would look every few seconds
        await backend.pull(timeout=0)
        assert await backend.admin.consumers()
        assert "default" in [group.name for group in await backend.admin.groups()]

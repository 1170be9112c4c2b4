"""The user that the docs describe: it may do all that a worker needs, and nothing else."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from patience import until
from redis_server import Server
from redis_topologies import ask, lease_is_renewed

import necrostack_redis
from necrostack import Delivery, Event, Organ, RetryPolicy, Spine
from necrostack.backend import Admin
from necrostack.errors import BackendError, BackendUnavailable
from necrostack_redis import RedisBackend

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "redis-acl.md"
SOURCE = Path(necrostack_redis.__file__).parent
CONTAINERS = ("cluster", "xgroup", "xinfo")
"""Commands that have commands of their own."""


def documented() -> list[str]:
    """The command that the page shows, word by word."""
    shown = re.search(r"^```text\n(ACL SETUSER .*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert shown
    return shown[1].split()


def allowed() -> set[str]:
    """The commands that it allows, such as `xgroup|create`."""
    return {word.removeprefix("+") for word in documented() if word.startswith("+")}


def allowed_besides() -> set[str]:
    """What the table of the page adds for some."""
    rows = re.findall(r"^\|.*\| `\+(.+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return {row.replace("\\|", "|") for row in rows}


def commands_in_code() -> set[str]:
    """What scripts call, and what looks like a command in Python."""
    found = set()
    for file in (*SOURCE.rglob("*.lua"), *SOURCE.glob("*.py")):
        calls = (
            r"(?:redis\.p?call|of_group)\('(\w+)'(?:, '(\w+)')?"
            if file.suffix == ".lua"
            else r"(?:\(|, )\"([A-Z]+)\"(?:, \"([A-Z]+)\")?"
        )
        for name, part in re.findall(calls, file.read_text("utf-8")):
            found.add(f"{name}|{part}".lower() if name.lower() in CONTAINERS else name.lower())
    return found


@pytest.fixture(scope="module")
def server(redis_binary: Path) -> Iterator[Server]:
    made = Server(redis_binary)
    try:
        yield made.start()
    finally:
        made.remove()


MakeUser = Callable[..., str]


@pytest.fixture
def make_user(server: Server, app: str) -> MakeUser:
    """Makes the documented user for the test's app, and more or less of it; returns its URL."""

    def make(*more: str, without: str = "") -> str:
        acl, setuser, name, *rules = documented()
        rules = [rule.replace("{shop}", f"{{{app}}}") for rule in rules if rule != f"+{without}"]
        ask(server, acl, setuser, name, "reset", *rules, *more)
        return f"redis://{name}:secret@127.0.0.1:{server.port}"

    return make


class Steady(Organ):
    """Leads to another event."""

    listens_to = ["PLACED"]

    def handle(self, event: Event) -> Event:
        return Event(event_type="DONE", payload=event.payload)


class Flaky(Organ):
    """Fails at first."""

    listens_to = ["PLACED"]
    retry = RetryPolicy(max_attempts=2, base_delay=0.01, jitter=False)

    def __init__(self) -> None:
        self._seen: set[object] = set()

    def handle(self, event: Event) -> None:
        if event.id not in self._seen:
            self._seen.add(event.id)
            raise RuntimeError


class Hopeless(Organ):
    """Always fails."""

    listens_to = ["DOOMED"]

    def handle(self, event: Event) -> None:
        raise RuntimeError


async def do_everything(server: Server, url: str, app: str) -> None:
    """Use every function of a worker and of its admin, and look at what comes of it."""
    options: dict[str, Any] = {"app": app, "lease": 0.9, "max_size": 1000}
    async with RedisBackend(url, **options) as backend:
        spine = Spine(organs=[Steady(), Flaky(), Hopeless()], backend=backend)
        admin = backend.admin

        # A run with failures, retries, a delay, and an entry that nobody can read.
        await backend.enqueue(Event(event_type="PLACED", payload={}), delay=0.05)
        ask(server, "XADD", f"necrostack:{{{app}}}:events", "*", "not", "ours")
        doomed = [Event(event_type="DOOMED", payload={"n": number}) for number in range(3)]
        report = await spine.run_until_idle(Event(event_type="PLACED", payload={}), *doomed)
        assert (report.handled, report.retried, report.emitted) == (2 + 2 + 3, 2, 2)

        # Dead letters.
        first, second, third, unreadable = sorted(
            [letter async for letter in admin.dead_letters()], key=lambda letter: letter.event is None
        )
        assert unreadable.raw == {b"not": b"ours"}
        assert await admin.redrive(first.id, payload={"n": 10}) == 1
        assert await admin.discard(second.id) == 1
        assert [letter.id async for letter in admin.dead_letters(redriven=True)] == [first.id]
        assert await admin.dead_letter(third.id) == third
        assert (await spine.run_until_idle()).handled == 1

        # History.
        assert len([event async for event in admin.history()]) == 7
        assert await admin.replay(event_type="PLACED") == 2
        (delivery, *others) = await backend.pull(limit=10)
        assert len([pending async for pending in admin.pending()]) == 2
        assert [worker.pending for worker in await admin.consumers()] == [2]
        await backend.release(delivery, *others)
        assert (await spine.run_until_idle()).handled >= 2

        # Another group, whose worker dies: its events are taken over. Then it is removed.
        dead = RedisBackend(url, **options, group="others")
        assert await dead.pull(limit=100)
        dead._lease.stop()
        async with RedisBackend(url, **options, group="others") as heir:
            for delivery in await taken_over(heir):
                assert await heir.ack(delivery)
            await lease_is_renewed(heir)
        await dead.aclose()
        await until(lambda: is_removed(backend, "others"), "the group is removed")

        # One that goes by itself.
        async with RedisBackend(url, **options, group="brief", ephemeral_after=1.0) as brief:
            await brief.pull()
        assert {group.name for group in await admin.groups()} == {"default", "brief"}
        await until(lambda: has_gone(backend, "brief"), "the group has gone")

        # What `run --health` asks for.
        await backend.probe()

        # Retention.
        assert await admin.check()
        assert await admin.trim(max_length=2) > 0
        assert (await admin.stats()).history == 2


async def taken_over(heir: RedisBackend) -> list[Delivery]:
    found: list[Delivery] = []

    async def is_there() -> bool:
        found.extend(await heir.pull(limit=100, timeout=0.2))
        return bool(found)

    await until(is_there, "what the dead held is taken over")
    return found


async def is_removed(backend: RedisBackend, group: str) -> bool:
    try:
        return await backend.admin.remove_group(group)
    except BackendError:  # its workers count as alive for a while
        return False


async def has_gone(backend: RedisBackend, group: str) -> bool:
    backend._open().trimmer._rests_since = -math.inf  # it would look every few seconds
    await backend.pull(timeout=0)
    return group not in {found.name for found in await backend.admin.groups()}


def refusals(server: Server) -> set[str]:
    """What the server noted that it refused."""
    entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in ask(server, "ACL", "LOG", 128)]
    return {entry[b"object"].decode() for entry in entries}


async def test_the_documented_user_may_do_everything_and_needs_all_that_it_may(
    server: Server, make_user: MakeUser, app: str
) -> None:
    ask(server, "SCRIPT", "FLUSH")
    ask(server, "CONFIG", "RESETSTAT")

    await do_everything(server, make_user(), app)

    assert refusals(server) <= {"client|setinfo", "client", "info"}
    used = set(re.findall(r"cmdstat_([\w|]+)", ask(server, "INFO", "commandstats").decode()))
    if not any("|" in name for name in used):  # before Redis 7
        assert {name.partition("|")[0] for name in allowed()} <= used
    else:
        assert allowed() <= used


async def test_the_documented_user_may_do_all_that_is_in_the_code(server: Server) -> None:
    known = {name for name in commands_in_code() if ask(server, "COMMAND", "INFO", name.partition("|")[0]) != [None]}

    assert known == allowed() | allowed_besides() - {"select"}  # which is redis-py's


async def test_other_keys_are_denied(server: Server, make_user: MakeUser) -> None:
    url = make_user()
    ask(server, "SET", "else", "1")

    async with RedisBackend(url, app="other") as backend:
        with pytest.raises(BackendError, match="refuses the user 'worker'") as refused:
            await backend.enqueue(Event(event_type="PLACED", payload={}))

    assert not isinstance(refused.value, BackendUnavailable)


@pytest.mark.parametrize(("command", "told"), [("set", "SET in enqueue.lua"), ("xadd", "a command in enqueue.lua")])
async def test_a_command_that_a_script_may_not_do_is_a_refusal_too(
    command: str, told: str, server: Server, make_user: MakeUser, app: str
) -> None:
    async with RedisBackend(make_user(f"-{command}"), app=app) as backend:
        with pytest.raises(BackendError, match=f"refuses the user 'worker' {told}"):
            await backend.enqueue(Event(event_type="PLACED", payload={}))


@pytest.mark.parametrize("command", ["xpending", "xinfo|consumers"])
async def test_what_may_not_be_looked_at_is_said_and_not_taken_for_nothing(
    command: str, server: Server, make_user: MakeUser, app: str
) -> None:
    async with RedisBackend(make_user(), app=app) as backend:
        await backend.enqueue(*[Event(event_type="PLACED", payload={}) for _ in range(3)])
        assert await backend.pull(limit=3)
        looks: list[Callable[[Admin], Awaitable[object]]] = [lambda admin: admin.consumers()]
        if command == "xpending":
            looks = [lambda admin: admin.stats(), lambda admin: anext(aiter(admin.pending()))]
        async with RedisBackend(make_user(without=command), app=app) as blind:
            for look in looks:
                with pytest.raises(BackendError, match=r"refuses the user 'worker' .* in \w+\.lua"):
                    await look(blind.admin)


async def test_a_database_besides_0_takes_one_command_more(server: Server, make_user: MakeUser, app: str) -> None:
    for more, is_refused in (((), True), (("+select",), False)):
        async with RedisBackend(f"{make_user(*more)}/1", app=app) as backend:
            if is_refused:
                with pytest.raises(BackendError, match="refuses the user 'worker'"):
                    await backend.admin.stats()
            else:
                await backend.admin.stats()


async def test_a_cluster_takes_one_command_more(server: Server, make_user: MakeUser, app: str) -> None:
    for more, problem in (((), "refuses the user 'worker'"), (("+cluster|slots",), "cluster support disabled")):
        url = make_user(*more).replace("redis://", "redis+cluster://")
        async with RedisBackend(url, app=app) as backend:
            with pytest.raises(BackendError, match=problem):
                await backend.admin.stats()


# What is given up in the middle is not closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.thorough
@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", sorted(allowed()))
async def test_each_command_that_is_forbidden_in_turn_is_missed(
    command: str, server: Server, make_user: MakeUser, app: str
) -> None:
    ask(server, "SCRIPT", "FLUSH")
    ask(server, "ACL", "LOG", "RESET")

    # What comes of it depends on the command: an error, or something that does not happen.
    with suppress(BackendError, AssertionError, TimeoutError):
        async with asyncio.timeout(10):
            await do_everything(server, make_user(without=command), app)

    assert {command, command.partition("|")[0]} & refusals(server)


# --- what nobody with this user can do ------------------------------------------------------------------------

DANGEROUS = """\
ACL LIST
ACL SETUSER other on nopass ~* +@all
ACL WHOAMI
BGREWRITEAOF
BGSAVE
CLIENT KILL TYPE normal
CLIENT LIST
CLIENT PAUSE 1
CLUSTER RESET
CONFIG GET *
CONFIG REWRITE
CONFIG SET dir /tmp
COPY {own} else
DBSIZE
DEBUG SEGFAULT
DEL {own}
DUMP {own}
FAILOVER ABORT
FLUSHALL
FLUSHDB
FUNCTION FLUSH
FUNCTION LOAD REPLACE ###
INFO
KEYS *
LATENCY RESET
MIGRATE 127.0.0.1 1 {own} 0 1
MODULE LIST
MODULE LOAD /tmp/a.so
MONITOR
MOVE {own} 1
OBJECT ENCODING {own}
PSUBSCRIBE *
PUBLISH all hello
RANDOMKEY
RENAME {own} else
REPLICAOF NO ONE
RESTORE {own} 0 0
SAVE
SCAN 0
SCRIPT FLUSH
SCRIPT KILL
SCRIPT LOAD return
SELECT 1
SHUTDOWN NOSAVE
SLOWLOG GET
SORT {own}
SUBSCRIBE all
SWAPDB 0 1
WAIT 0 1
GET else
SET else 1
XADD else * a b
XRANGE necrostack:{other}:events - +
UNLINK else
EVAL return 1 else
"""


@pytest.mark.parametrize("line", DANGEROUS.splitlines())
def test_what_is_dangerous_is_denied(line: str, server: Server, make_user: MakeUser, app: str) -> None:
    own = f"necrostack:{{{app}}}:events"
    words = ["EVAL", "return 1", "1", "else"] if line.startswith("EVAL") else line.replace("{own}", own).split()

    with redis.Redis.from_url(make_user()) as client, pytest.raises(redis.ResponseError) as denied:
        client.execute_command(*words)

    told = str(denied.value)
    # Not every server has every command, or allows it to anybody.
    is_denied = isinstance(denied.value, redis.exceptions.NoPermissionError)
    assert is_denied or re.search("(?i)unknown command|command not allowed", told), told


@pytest.mark.parametrize(
    "call",
    ["'FLUSHALL'", "'KEYS', '*'", "'CONFIG', 'GET', '*'", "'SCRIPT', 'FLUSH'", "'GET', 'else'", "'UNLINK', 'else'"],
)
def test_a_script_may_do_no_more_than_its_user(call: str, server: Server, make_user: MakeUser) -> None:
    ask(server, "SET", "else", "kept")

    with redis.Redis.from_url(make_user()) as client, pytest.raises(redis.ResponseError):
        client.execute_command("EVAL", f"return redis.call({call})", 0)

    assert ask(server, "GET", "else") == b"kept"

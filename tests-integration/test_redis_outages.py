"""Outages: whatever happens between a worker and the server, nothing is lost, nothing doubled, and it is said once."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from patience import until
from redis_proxy import Proxy, proxy_before
from redis_server import Server, free_port
from redis_server import command as redis_command

import necrostack.run
from necrostack import (
    Backend,
    BackendFull,
    Event,
    GiveUp,
    InMemoryBackend,
    MaxStepsExceeded,
    Organ,
    RetryPolicy,
    RunReport,
    Settlement,
    Spine,
    patience,
)
from necrostack.delivery import Failure, Retry
from necrostack.errors import BackendError, BackendUnavailable, EventTooLarge
from necrostack_redis import RedisBackend, wire
from necrostack_redis.scripts import ALL

FANOUT = 3


class Splitter(Organ):
    """Makes several of one."""

    listens_to = ["ORDERED"]

    async def handle(self, event: Event) -> Sequence[Event]:
        n = event.payload["n"]
        return [Event(event_type="SPLIT", payload={"n": n, "part": part}) for part in range(FANOUT)]


class Shaky(Organ):
    """Fails the first time, for some."""

    listens_to = ["SPLIT"]
    retry = RetryPolicy(max_attempts=3, base_delay=0.01, jitter=False)

    def __init__(self) -> None:
        super().__init__()
        self.failed: set[object] = set()

    async def handle(self, event: Event) -> Event:
        if event.payload["n"] % 5 == 0 and event.id not in self.failed:
            self.failed.add(event.id)
            raise ConnectionError("for once")
        return Event(event_type="DONE", payload=event.payload)


class Picky(Organ):
    """Gives up some."""

    listens_to = ["DONE"]

    async def handle(self, event: Event) -> None:
        if event.payload["n"] % 7 == 0 and event.payload["part"] == 0:
            raise GiveUp("unwanted")


def chain(backend: Backend, **settings: Any) -> Spine:
    return Spine([Splitter(), Shaky(), Picky()], backend, **settings)


def orders(count: int) -> list[Event]:
    return [Event(event_type="ORDERED", payload={"n": n}) for n in range(count)]


async def kept(backend: Backend) -> Counter[tuple[object, ...]]:
    """Everything that was ever emitted, and how often."""
    return Counter([(event.event_type, *sorted(event.payload.items())) async for event in backend.admin.history()])


async def lost_and_doubled(backend: Backend, count: int) -> tuple[int, int]:
    """Compare what was kept with what ought to be: one ORDERED each, and three SPLIT and three DONE of it."""
    found = await kept(backend)
    wanted = {("ORDERED", ("n", n)) for n in range(count)} | {
        (kind, ("n", n), ("part", part)) for kind in ("SPLIT", "DONE") for n in range(count) for part in range(FANOUT)
    }
    assert found.keys() <= wanted
    return len(wanted - found.keys()), found.total() - len(found)


async def run_in_two(spine: Spine, count: int) -> Counter[str]:
    """Run until so many steps were taken, which leaves deliveries to be handed back, and then on to the end."""
    with pytest.raises(MaxStepsExceeded) as ended:
        await spine.with_settings(max_steps=count).run_until_idle(*orders(count))
    return numbers(ended.value.report) + numbers(await spine.run_until_idle())


def numbers(report: RunReport) -> Counter[str]:
    """A report as numbers that can be added up."""
    found = report.to_dict()
    del found["duration"]
    of_organs = found.pop("organs")
    return Counter(found) + Counter(
        {f"{name}.{kind}": number for name, organ in of_organs.items() for kind, number in organ.items()}
    )


def expected_dead(count: int) -> int:
    """What Picky gives up of so many orders."""
    return len(range(0, count, 7))


async def is_idle(backend: Backend) -> bool:
    return (await backend.admin.stats()).idle


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def names(log: pytest.LogCaptureFixture) -> Counter[str]:
    return Counter(record.getMessage() for record in log.records)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are hundreds of short outages, they are not waited for in vain."""
    monkeypatch.setattr(patience, "_BACKOFF", RetryPolicy(max_attempts=2**31, base_delay=0.01, max_delay=0.05))


# --- lost replies ------------------------------------------------------------------------------------------

COUNT = 30

IN_A_RUN = ("enqueue", "pull", "settle", "release", "join", "lease", "leave", "stats", "strays")


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("script", IN_A_RUN)
async def test_a_lost_reply_of_any_script_changes_nothing(
    script: str, redis_url: str, app: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of the replies of one script are lost, the first one, too."""
    expected = await run_in_two(chain(InMemoryBackend()), COUNT)
    caplog.clear()
    luck = random.Random(script)
    # Strays are looked for after a pull was cut.
    cut = ("strays", "pull") if script == "strays" else (script,)
    async with proxy_before(port_of(redis_url)) as proxy:
        proxy.cuts = lambda name: name in cut and (not proxy.cut[name] or luck.random() < 0.5)
        async with chain(RedisBackend(proxy.url, app=app, lease=1.5, batch_size=10)) as spine:
            found = await run_in_two(spine, COUNT)
            if script == "lease":
                await until(lambda: proxy.cut[script], "a renewal whose reply was lost")
    async with RedisBackend(redis_url, app=app) as backend:
        lost, doubled = await lost_and_doubled(backend, COUNT)
        left = await backend.admin.stats()

    print(f"{script}: {proxy.cut[script]} of {proxy.seen[script]} replies lost; {lost} lost, {doubled} doubled")
    assert proxy.cut[script]
    assert found == expected
    assert (lost, doubled, left.idle) == (0, 0, True)
    assert not names(caplog)["settlement_lost"]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("every", [4, 10])
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_lost_replies_of_all_scripts_change_nothing(
    every: int, concurrency: int, redis_url: str, app: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = await run_in_two(chain(InMemoryBackend(), concurrency=concurrency), COUNT)
    caplog.clear()
    luck = random.Random(every)
    async with proxy_before(port_of(redis_url)) as proxy:
        proxy.cuts = lambda name: name.islower() and luck.random() < 1 / every
        backend = RedisBackend(proxy.url, app=app, lease=1.5, batch_size=5)
        async with chain(backend, concurrency=concurrency) as spine:
            found = await run_in_two(spine, COUNT)
    async with RedisBackend(redis_url, app=app) as backend:
        lost, doubled = await lost_and_doubled(backend, COUNT)
        left = await backend.admin.stats()

    print(f"1 of {every} replies lost: {dict(proxy.cut)}; {lost} lost, {doubled} doubled")
    assert found == expected
    assert (lost, doubled, left.idle) == (0, 0, True)
    assert not names(caplog)["settlement_lost"]


@pytest.mark.usefixtures("hurried")
async def test_what_cannot_be_read_is_buried_and_told_once_whatever_replies_are_lost(
    redis_url: str, app: str, caplog: pytest.LogCaptureFixture
) -> None:
    misfits = 20
    luck = random.Random(1)
    async with proxy_before(port_of(redis_url)) as proxy:
        proxy.cuts = lambda name: name in ("settle", "pull") and luck.random() < 0.5
        async with chain(RedisBackend(proxy.url, app=app, batch_size=10)) as spine:
            for n in range(misfits):
                redis_command(port_of(redis_url), "XADD", f"necrostack:{{{app}}}:events", "*", "garbage", n)
            report = await spine.run_until_idle(*orders(3))
    async with RedisBackend(redis_url, app=app) as backend:
        raw = [letter.raw async for letter in backend.admin.dead_letters() if letter.raw]

    told = sum(getattr(record, "reason", "") == "undecodable" for record in caplog.records)
    print(f"{dict(proxy.cut)} replies lost; {len(raw)} of {misfits} buried, {told} told")
    assert raw == [{b"garbage": str(n).encode()} for n in range(misfits)]
    assert (told, report.handled) == (misfits, 3 + 9 + 9 + 3)


# --- faults of the server that pass ------------------------------------------------------------------------


@dataclass
class Place:
    """A server of one's own behind a proxy, with a worker's backend that is quick to notice."""

    server: Server
    proxy: Proxy
    app: str

    def backend(self, **options: Any) -> RedisBackend:
        """What goes through the proxy."""
        return RedisBackend(
            self.proxy.url, **{"app": self.app, "lease": 30.0, "call_timeout": 1.0, "connect_timeout": 1.0, **options}
        )

    def direct(self) -> RedisBackend:
        """What does not."""
        return RedisBackend(self.server.url, app=self.app)

    def tell(self, *command: str | int) -> bytes:
        return redis_command(self.server.port, *command)


Fault = Callable[[Place], Awaitable[None]]


async def refuse(place: Place) -> None:
    await place.proxy.refuse()


async def accept(place: Place) -> None:
    await place.proxy.accept()


async def swallow(place: Place) -> None:
    place.proxy.swallows = True


async def hand_on(place: Place) -> None:
    place.proxy.swallows = False


async def freeze(place: Place) -> None:
    os.kill(place.server.pid, signal.SIGSTOP)


async def thaw(place: Place) -> None:
    os.kill(place.server.pid, signal.SIGCONT)


async def demote(place: Place) -> None:
    place.tell("REPLICAOF", "127.0.0.1", free_port())


async def demote_without_data(place: Place) -> None:
    place.tell("CONFIG", "SET", "replica-serve-stale-data", "no")
    await demote(place)


async def promote(place: Place) -> None:
    place.tell("REPLICAOF", "NO", "ONE")


async def fail_to_save(place: Place) -> None:
    (place.server.directory / "broken.rdb").mkdir()
    for name, value in (("save", "3600 1"), ("stop-writes-on-bgsave-error", "yes")):
        assert place.tell("CONFIG", "SET", name, value) == b"+OK\r\n"
    place.tell("BGSAVE")
    await until(lambda: b"rdb_last_bgsave_status:err" in place.tell("INFO", "persistence"), "a save that failed")


async def save_again(place: Place) -> None:
    (place.server.directory / "broken.rdb").rmdir()
    place.tell("BGSAVE")


async def kill(place: Place) -> None:
    place.server.kill()


async def restart(place: Place) -> None:
    place.server.start()


async def add_ballast(place: Place) -> None:
    """Something to read at a start. While it reads a snapshot, the server answers every 2 MiB."""
    place.tell("CONFIG", "SET", "rdbcompression", "no")
    place.tell("EVAL", "for i = 1, 3000 do redis.call('SET', 'ballast-' .. i, string.rep('-', 10000)) end", 0)
    place.tell("BGREWRITEAOF")
    await until(lambda: b"aof_rewrite_in_progress:0" in place.tell("INFO", "persistence"), "the ballast to be written")


async def restart_slowly(place: Place) -> None:
    """For a while it reads its files, and says so."""
    place.server.args += ("--key-load-delay", "3000")
    starting = asyncio.create_task(asyncio.to_thread(place.server.start, 60.0))
    await until(lambda: "LOADING" in "".join(place.proxy.errors), "a worker to be told")
    place.tell("CONFIG", "SET", "key-load-delay", 0)
    await starting


FAULTS: dict[str, tuple[Fault, Fault]] = {
    "nobody listens": (refuse, accept),
    "half-open": (swallow, hand_on),
    "frozen": (freeze, thaw),
    "READONLY": (demote, promote),
    "MASTERDOWN": (demote_without_data, promote),
    "MISCONF": (fail_to_save, save_again),
    "restarted": (kill, restart),
    "LOADING": (kill, restart_slowly),
}


@pytest.fixture
async def place(make_server: Callable[..., Server], app: str) -> AsyncIterator[Place]:
    server = make_server("--appendonly", "yes", "--dbfilename", "broken.rdb")
    async with proxy_before(server.port) as proxy:
        yield Place(server, proxy, app)


@pytest.mark.parametrize("name", FAULTS)
async def test_an_outage_is_waited_out_logged_once_and_healed(
    name: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    begin, end = FAULTS[name]
    if name == "LOADING":
        await add_ballast(place)
    async with place.direct() as watcher, chain(place.backend()) as spine:
        running = asyncio.create_task(spine.run(*orders(COUNT)))
        await until(lambda: place.proxy.seen["settle"] > 3, "some work")
        await begin(place)
        await until(lambda: names(caplog)["backend_unavailable"], "the outage to be noticed")
        seen = place.proxy.seen.total()
        await asyncio.sleep(0.7)  # as long as it lasts
        attempts = place.proxy.seen.total() - seen
        await end(place)
        await until(lambda: names(caplog)["backend_back"], "the end of the outage")
        await watcher.enqueue(*orders(2 * COUNT)[COUNT:])
        await until(lambda: is_idle(watcher), "an end of all work")
        spine.stop()
        report = await running
        lost, doubled = await lost_and_doubled(watcher, 2 * COUNT)
        if name.isupper():
            assert name in "".join(place.proxy.errors), "it was another outage"

    print(f"{name}: {attempts} attempts; {lost} lost, {doubled} doubled; {dict(names(caplog))}")
    assert (lost, doubled) == (0, 0)
    assert report.dead_lettered == expected_dead(2 * COUNT)
    assert (names(caplog)["backend_unavailable"], names(caplog)["backend_back"]) == (1, 1)
    assert not names(caplog)["settlement_lost"]
    assert attempts < 30


# --- what is lost with the server --------------------------------------------------------------------------


class Holder(Organ):
    """Holds what it was handed for as long as it is told to."""

    listens_to = ["HELD"]

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[int] = []
        self.go_on = asyncio.Event()

    async def handle(self, event: Event) -> Event:
        self.handled.append(event.payload["n"])
        await self.go_on.wait()
        return Event(event_type="LET_GO", payload=event.payload)


class Witness(Organ):
    listens_to = ["LET_GO"]

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[int] = []

    def handle(self, event: Event) -> None:
        self.handled.append(event.payload["n"])


def held(n: int) -> Event:
    return Event(event_type="HELD", payload={"n": n})


async def forget_all(place: Place) -> None:
    place.tell("FLUSHALL")


async def forget_stream(place: Place) -> None:
    place.tell("DEL", f"necrostack:{{{place.app}}}:events")


async def forget_group(place: Place) -> None:
    place.tell("XGROUP", "DESTROY", f"necrostack:{{{place.app}}}:events", "default")


async def restart_empty(place: Place) -> None:
    place.server.kill()
    shutil.rmtree(place.server.directory)
    place.server.directory.mkdir()
    place.server.start()


async def forget_scripts(place: Place) -> None:
    place.tell("SCRIPT", "FLUSH")


async def cut_off_clients(place: Place) -> None:
    place.tell("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


LOSSES: dict[str, Fault] = {
    "FLUSHALL": forget_all,
    "DEL": forget_stream,
    "XGROUP DESTROY": forget_group,
    "restarted without its files": restart_empty,
}


@pytest.mark.parametrize("name", LOSSES)
async def test_what_is_lost_with_the_server_is_said_and_new_events_are_handled(
    name: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    holder, witness = Holder(), Witness()
    async with place.direct() as watcher, Spine([holder, witness], place.backend(), concurrency=2) as spine:
        running = asyncio.create_task(spine.run(held(0), held(1)))
        await until(lambda: len(holder.handled) == 2, "both to be held")
        await LOSSES[name](place)
        holder.go_on.set()
        await until(lambda: names(caplog)["group_recreated"], "the group to be made again")
        await watcher.enqueue(held(2))
        await until(lambda: 2 in witness.handled, "a new event to be handled")
        await until(lambda: is_idle(watcher), "an end of all work")
        spine.stop()
        report = await running

    said = names(caplog)
    print(f"{name}: {report.handled} handled, {report.emitted} emitted, {dict(said)}")
    # Where the stream itself is left, the group begins again with all that it holds.
    again = 2 if name == "XGROUP DESTROY" else 0
    assert sorted(holder.handled) == sorted([0, 1, 2] + [0, 1] * bool(again))
    assert sorted(witness.handled) == ([0, 1, 2] if again else [2])
    assert (said["group_recreated"], said["settlement_lost"]) == (1, 2)
    assert report.emitted == len(witness.handled)


@pytest.mark.parametrize("fault", [forget_scripts, cut_off_clients])
async def test_scripts_and_connections_that_are_gone_are_not_missed(
    fault: Fault, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    times = 0
    async with place.direct() as watcher, chain(place.backend(batch_size=10)) as spine:
        running = asyncio.create_task(spine.run(*orders(2 * COUNT)))
        await until(lambda: place.proxy.seen["settle"], "some work")
        while not await is_idle(watcher):
            await fault(place)
            times += 1
            await asyncio.sleep(0.05)
        spine.stop()
        await running
        lost, doubled = await lost_and_doubled(watcher, 2 * COUNT)

    print(f"{times} times; {lost} lost, {doubled} doubled; {dict(names(caplog))}")
    assert (lost, doubled) == (0, 0)
    assert not names(caplog)["settlement_lost"]
    # The last fault may come when all work is done: then the run is stopped before it hears that the backend is back.
    assert names(caplog)["backend_unavailable"] - names(caplog)["backend_back"] in (0, 1)


# --- what only a person can mend ---------------------------------------------------------------------------

SECRET = "correct-horse-battery"  # noqa: S105 -- it opens nothing but the servers made here

COMMANDS = sorted({command for script in ALL for command in re.findall(r"redis\.p?call\('([A-Z]+)'", script.text)})


async def refusal(backend: RedisBackend, log: pytest.LogCaptureFixture) -> str:
    """What a run ends with: at once, and saying nothing that is secret."""
    with pytest.raises(BackendError) as ended:
        async with chain(backend) as spine:
            await spine.run_until_idle(*orders(2))
    assert not isinstance(ended.value, BackendUnavailable)
    assert not names(log)["backend_unavailable"]
    assert SECRET not in "".join(traceback.format_exception(ended.value)) + log.text + repr(backend)
    return str(ended.value)


@pytest.mark.parametrize(
    ("user", "database", "told"),
    [
        (f":{SECRET}@", 0, "refuses the default user: .*; check the user name and the password"),
        ("", 0, "refuses the default user: .*; check the user name and the password"),
        (f"nobody:{SECRET}@", 0, "refuses the user 'nobody': .*; check the user name and the password"),
        (f"idle:{SECRET}@", 0, "refuses the user 'idle': .*; check the user name and the password"),
        (f"elsewhere:{SECRET}@", 0, "refuses the user 'elsewhere' .*; the ACL must allow what the reference lists"),
        (f"reader:{SECRET}@", 0, "refuses the user 'reader' .*; the ACL must allow what the reference lists"),
        (f"worker:{SECRET}@", 99, "/99 answered: DB index is out of range; name a database that there is, such as 0"),
    ],
)
async def test_a_server_that_lets_nobody_in_ends_the_run_and_says_why(
    user: str, database: int, told: str, make_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server("--requirepass", SECRET[::-1])
    for name, *rules in (
        ("idle", "off", "~*", "+@all"),
        ("elsewhere", "on", "~other:*", "+@all"),
        ("reader", "on", "~*", "+@read", "+@connection"),
        ("worker", "on", "~*", "+@all"),
    ):
        redis_command(server.port, "ACL", "SETUSER", name, f">{SECRET}", *rules, password=SECRET[::-1])

    said = await refusal(RedisBackend(f"redis://{user}127.0.0.1:{server.port}/{database}"), caplog)

    print(said)
    assert re.search(told, said)


async def test_a_missing_permission_is_named_and_nothing_is_half_done(
    make_server: Callable[..., Server], app: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each command that some script uses is forbidden in turn, and then allowed again."""
    server = make_server()
    refused = 0
    for command in COMMANDS:
        redis_command(server.port, "ACL", "SETUSER", command, "on", f">{SECRET}", "~*", "&*", "+@all", f"-{command}")
        url = f"redis://{command}:{SECRET}@127.0.0.1:{server.port}"
        async with RedisBackend(server.url, app=f"{app}-{command}") as full:
            await full.enqueue(*orders(8))
            async with chain(RedisBackend(url, app=f"{app}-{command}")) as spine:
                running = asyncio.create_task(spine.run_until_idle())
                await asyncio.wait({running})
                if (ended := running.exception()) is not None:
                    what = rf"(.*\b{command}\b.*|a command)"
                    assert re.search(rf"refuses the user '{command}' {what} in \w+.lua: ", str(ended))
                    assert isinstance(ended, BackendError)
                    assert not isinstance(ended, BackendUnavailable)
                    refused += 1
                    redis_command(server.port, "ACL", "SETUSER", command, "+@all")
                    await spine.run_until_idle()
            assert await lost_and_doubled(full, 8) == (0, 0), command

    print(f"{len(COMMANDS)} commands, {refused} of them missed")
    assert refused > 20
    assert not names(caplog)["backend_unavailable"]


KINDS = {
    "events": "stream",
    "schedule": "zset",
    "bell": "stream",
    "sequence": "string",
    "groups": "hash",
    "inbox:default": "stream",
    "retries:default": "zset",
    "dead:default": "stream",
    "leases:default": "zset",
    "topologies:default": "hash",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_of_a_foreign_type_is_named_and_nothing_is_half_done(
    kind: str, make_server: Callable[..., Server], app: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    key = f"necrostack:{{{app}}}:{kind}"
    redis_command(server.port, "SET", key, "foreign")

    said = await refusal(RedisBackend(server.url, app=app), caplog)

    print(said)
    assert (
        f"{key} {'must be a whole number' if kind == 'sequence' else f'is a string and must be a {KINDS[kind]}'}"
        in said
    )
    assert "give the app another name, or delete the key" in said
    redis_command(server.port, "DEL", key)
    async with chain(RedisBackend(server.url, app=app)) as spine:
        if not await kept(spine.backend):  # else it was noticed later: when the first was settled
            await spine.backend.enqueue(*orders(2))
        await spine.run_until_idle()
        assert await lost_and_doubled(spine.backend, 2) == (0, 0)


# --- giving up ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "amid"])
async def test_an_outage_longer_than_max_outage_ends_the_run_and_a_later_run_goes_on(
    when: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with chain(place.backend(), max_outage=0.5) as spine:
        if when == "before":
            await place.proxy.refuse()
        running = asyncio.create_task(spine.run_until_idle(*orders(COUNT)))
        if when == "amid":
            await until(lambda: place.proxy.seen["settle"] > 3, "some work")
            place.proxy.cuts = lambda _: True  # so much of what is asked for is done, and nobody knows
        with pytest.raises(BackendUnavailable, match=r"longer than max_outage=0\.5 allows: redis://127\.0\.0\.1:"):
            await running
        if when == "before":
            await place.proxy.accept()
        place.proxy.cuts = lambda _: False
        await spine.run_until_idle(*(orders(COUNT) if when == "before" else ()))
    async with place.direct() as watcher:
        lost, doubled = await lost_and_doubled(watcher, COUNT)

    print(f"{when}: {lost} lost, {doubled} doubled; {dict(names(caplog))}")
    assert (lost, doubled) == (0, 0)
    assert (names(caplog)["backend_unavailable"], names(caplog)["backend_back"]) == (1, 1)


@pytest.mark.parametrize("when", ["before", "amid"])
async def test_a_run_that_is_stopped_in_an_outage_ends_soon(
    when: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(necrostack.run, "CANCEL_GRACE", 1.0)
    async with chain(place.backend(), drain_timeout=1.0) as spine:
        if when == "before":
            await place.proxy.refuse()
        running = asyncio.create_task(spine.run(*(orders(COUNT) if when == "amid" else ())))
        if when == "amid":
            await until(lambda: place.proxy.seen["settle"] > 3, "some work")
            await place.proxy.refuse()
        await until(lambda: spine.backend.outage.error, "the outage to be noticed")
        spine.stop()
        # What is not settled is said; where nothing is, the run just ends.
        done, _ = await asyncio.wait({running}, timeout=30)
        assert done
        error = running.exception()
        await place.proxy.accept()
        if when == "amid":
            await spine.run_until_idle()
    async with place.direct() as watcher:
        lost, doubled = await lost_and_doubled(watcher, COUNT if when == "amid" else 0)

    print(f"{when}: {error}; {lost} lost, {doubled} doubled")
    assert error is None or isinstance(error, BackendUnavailable)
    assert (lost, doubled) == (0, 0)


# --- a server whose memory is full -------------------------------------------------------------------------


async def test_a_full_server_refuses_what_is_new_and_drains_what_it_has(
    make_server: Callable[..., Server], app: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server("--maxmemory-policy", "noeviction")
    async with chain(RedisBackend(server.url, app=app, lease=1.5, batch_size=10)) as spine:
        await spine.emit(*orders(COUNT))
        assert b"+OK" in redis_command(server.port, "CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(
            BackendFull, match=r"the memory of redis://127\.0\.0\.1:.* is full, and nothing new was kept"
        ):
            await spine.emit(Event(event_type="ORDERED", payload={"n": 0}))
        with pytest.raises(BackendFull):
            await spine.backend.enqueue(Event(event_type="ORDERED", payload={"n": 0}), delay=0.01)
        await spine.backend.release(*await spine.backend.pull(limit=3))

        report = await spine.run_until_idle()

        lost, doubled = await lost_and_doubled(spine.backend, COUNT)
        letters = [letter async for letter in spine.backend.admin.dead_letters()]

    done = f"{report.handled} handled, {report.retried} retried, {report.dead_lettered} dead"
    print(f"full: {done}; {lost} lost, {doubled} doubled")
    assert (lost, doubled) == (0, 0)
    assert report.retried == 3 * len(range(0, COUNT, 5))
    assert len(letters) == report.dead_lettered == expected_dead(COUNT)
    assert not names(caplog)["backend_unavailable"]


# --- an enqueue whose reply is lost ------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_an_enqueue_whose_reply_was_lost_may_be_repeated(delay: float, place: Place) -> None:
    place.proxy.cuts = lambda name: name == "enqueue" and place.proxy.seen["enqueue"] < 4
    async with place.backend() as backend, place.direct() as watcher:
        for _ in range(3):
            with pytest.raises(BackendUnavailable, match="is out of reach"):
                await backend.enqueue(*orders_again(COUNT), delay=delay)
        await backend.enqueue(*orders_again(COUNT), delay=delay)
        stats = await watcher.admin.stats()

    print(f"{place.proxy.cut['enqueue']} replies lost, {stats.queued + stats.scheduled} of {COUNT} events kept")
    assert place.proxy.cut["enqueue"] == 3
    assert stats.queued + stats.scheduled == COUNT


def orders_again(count: int) -> list[Event]:
    """The same events each time, made anew."""
    return [
        Event(id=UUID(int=n + 1), event_type="ORDERED", payload={"n": n}, timestamp=datetime(2026, 1, 1, tzinfo=UTC))
        for n in range(count)
    ]


# --- nothing is half done ----------------------------------------------------------------------------------


def cause() -> Event:
    return Event(event_type="CAUSE", payload={})


def effect(**payload: object) -> Event:
    return Event(event_type="EFFECT", payload=payload)


async def settle_one(backend: Backend, **outcome: Any) -> bool:
    """Let something come of a new event."""
    await backend.enqueue(cause())
    (delivery,) = await backend.pull()
    (accepted,) = await backend.settle(Settlement(delivery, **outcome))
    return accepted


async def test_ten_thousand_events_of_one_settlement_are_kept_as_one(place: Place) -> None:
    many = 10_000
    effects = [effect(n=n) for n in range(many)]
    async with place.direct() as backend:
        started = time.monotonic()
        accepted = await settle_one(backend, emitted=effects)
        took = time.monotonic() - started
        held_up = sum(
            map(int, re.findall(rb"cmdstat_eval\w*:calls=\d+,usec=(\d+)", place.tell("INFO", "commandstats")))
        )
        found = [event.payload["n"] async for event in backend.admin.history(event_type="EFFECT")]

    print(f"{len(found)} events of one step in {took:.2f} s, {held_up / 1e6:.2f} s of them held up the server")
    assert accepted
    assert found == list(range(many))


async def test_what_no_server_takes_at_once_is_refused_before_anything_is_done(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_MOST_OF_A_CALL", 1_000)
    too_many = [effect()] * 75
    async with place.direct() as backend:
        with pytest.raises(EventTooLarge, match=r"enqueue was given 75 events at once.*; give it less at once"):
            await backend.enqueue(*too_many)
        with pytest.raises(EventTooLarge, match=r"led to 75 events at once.*; give it less at once"):
            await settle_one(backend, emitted=too_many)
        stats = await backend.admin.stats()

    assert (stats.history, stats.pending) == (1, 1)


class Scatters(Organ):
    listens_to = ["CAUSE"]

    def handle(self, event: Event) -> list[Event]:
        return [effect()] * 75


async def test_a_handler_that_returns_more_than_any_server_takes_has_failed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_MOST_OF_A_CALL", 1_000)
    async with place.direct() as backend:
        report = await Spine([Scatters()], backend).run_until_idle(cause())
        (letter,) = [letter async for letter in backend.admin.dead_letters()]

    assert (report.failed, report.emitted, letter.reason) == (1, 0, "bad_result")
    assert "led to 75 events at once" in letter.error


async def test_large_events_are_settled_in_calls_that_the_server_takes(place: Place) -> None:
    large = effect(text="x" * 1_000_000)
    async with place.direct() as backend:
        await backend.enqueue(*(cause() for _ in range(20)))
        deliveries = await backend.pull(limit=20)
        accepted = await backend.settle(*(Settlement(delivery, emitted=(large,)) for delivery in deliveries))
        stats = await backend.admin.stats()

    assert (list(accepted), stats.history, stats.pending) == ([True] * 20, 40, 0)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("events", {"emitted": [effect(), effect()]}),
        ("inbox:default", {"retries": [Retry(organ="Billing", delay=0.0)]}),
        ("bell", {"retries": [Retry(organ="Billing", delay=5.0)]}),
        ("dead:default", {"emitted": [effect()], "dead": [Failure(reason="unwanted")]}),
    ],
)
async def test_a_stream_at_its_last_id_stops_a_step_before_it_begins(
    kind: str, outcome: dict[str, Any], place: Place
) -> None:
    key, last = f"necrostack:{{{place.app}}}:{kind}", "18446744073709551615-18446744073709551615"
    async with place.direct() as backend:
        await backend.enqueue(cause())
        (delivery,) = await backend.pull()
        place.tell("XADD", key, last, "by", "somebody")
        place.tell("XDEL", key, last)
        with pytest.raises(BackendError, match=f"EXHAUSTED {key} holds the last id".replace("{", r"\{")):
            await backend.settle(Settlement(delivery, **outcome))
        stats = await backend.admin.stats()
        assert (stats.pending, stats.history, stats.scheduled, stats.dead) == (1, 1, 0, 0)

        place.tell("RENAME", key, f"{key}:put-aside")
        if kind == "events":
            return  # with it the delivery is gone
        assert await backend.settle(Settlement(delivery, **outcome)) == [True]

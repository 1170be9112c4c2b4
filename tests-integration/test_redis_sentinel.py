"""A master with a replica, and a Sentinel that lets the one take the place of the other."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from figures import Recorder
from patience import until
from redis_chain import CHAIN_RETRY, PER_ROOT, chain, roots
from redis_proxy import proxy_before
from redis_server import Server
from redis_topologies import FAST, Sentinel, ask, lease_is_renewed, offset, run_apart

from necrostack import Spine
from necrostack.errors import BackendError, BackendUnavailable
from necrostack_redis import RedisBackend

PASSWORD, SENTINEL_PASSWORD = "hunter2-of-servers", "hunter2-of-sentinels"
OWN = ("--requirepass", PASSWORD, "--masterauth", PASSWORD, *FAST)
LEASE = 3.0


@dataclass
class Watched:
    """The three processes."""

    master: Server
    replica: Server
    sentinel: Sentinel


async def watch(binary: Path, made: list[Server], *args: str) -> Watched:
    """Start the three, and wait until they know each other."""
    master = start_master(binary, made, *args)
    return await watch_at(master.port, master, binary, made, *args)


def start_master(binary: Path, made: list[Server], *args: str) -> Server:
    made.append(master := Server(binary, (*OWN, *args)).start())
    return master


async def watch_at(port: int, master: Server, binary: Path, made: list[Server], *args: str) -> Watched:
    """Start a replica and a Sentinel of a master, which they reach on a port."""
    made.append(replica := Server(binary, (*OWN, *args, "--replicaof", "127.0.0.1", str(port))).start())
    await until(lambda: b"master_link_status:up" in ask(replica, "INFO", "replication"), "the replica follows")
    lines = (
        f"sentinel monitor shop 127.0.0.1 {port} 1",
        f"sentinel auth-pass shop {PASSWORD}",
        "sentinel down-after-milliseconds shop 1000",
        "sentinel failover-timeout shop 10000",
        f"requirepass {SENTINEL_PASSWORD}",
    )
    made.append(sentinel := Sentinel(binary, lines).start())
    await until(lambda: knows_the_replica(sentinel), "the Sentinel knows the replica")
    return Watched(master, replica, sentinel)


@pytest.fixture(scope="module")
def watched(redis_binary: Path) -> Iterator[Watched]:
    made: list[Server] = []
    try:
        yield run_apart(watch(redis_binary, made))
    finally:
        for server in made:
            server.remove()


def knows_the_replica(sentinel: Sentinel) -> bool:
    replicas = ask(sentinel, "SENTINEL", "REPLICAS", "shop")
    return any(facts[facts.index(b"flags") + 1] == b"slave" for facts in replicas)


def url_of(watched: Watched, service: str = "shop", *, password: str = PASSWORD, other: str = SENTINEL_PASSWORD) -> str:
    return f"redis+sentinel://:{password}@127.0.0.1:{watched.sentinel.port}/{service}?db=1&sentinel_password={other}"


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"password": "wrong"}, "refuses the default user: .*check the user name and the password"),
        ({"other": "wrong"}, "refuses the default user: .*check the user name and the password"),
        ({"service": "chop"}, "none of the Sentinels knows the service 'chop'"),
    ],
)
async def test_what_only_a_person_can_correct_ends_with_an_error(
    watched: Watched, app: str, wrong: dict[str, str], problem: str
) -> None:
    async with RedisBackend(url_of(watched, **wrong), app=app) as backend:
        with pytest.raises(BackendError, match=problem) as refused:
            await backend.pull(timeout=0)

    assert not isinstance(refused.value, BackendUnavailable)


class Producer:
    """Enqueues root after root, each as often as it takes, with a little time between.

    Attributes:
        acknowledged: How many were.
        refused: How many calls failed.
    """

    def __init__(self, backend: RedisBackend, amount: int) -> None:
        self.acknowledged = self.refused = 0
        self._backend = backend
        self._amount = amount

    async def run(self) -> None:
        """Enqueue all."""
        for event in roots(range(self._amount)):
            while True:
                try:
                    await self._backend.enqueue(event)
                except BackendUnavailable:
                    self.refused += 1
                    await asyncio.sleep(0.05)
                else:
                    break
            self.acknowledged += 1
            await asyncio.sleep(0.005)  # so that a kill comes in the middle


async def is_idle(backend: RedisBackend) -> bool:
    try:
        return (await backend.admin.stats()).idle
    except BackendUnavailable:
        return False


async def test_a_failover_is_waited_out_and_what_was_replicated_is_there_once(
    watched: Watched, app: str, figures: Recorder
) -> None:
    master, replica = watched.master, watched.replica
    amount, before_the_kill = 300, 150

    # Another Sentinel is not there.
    async with RedisBackend(url_of(watched).replace("/shop", ",127.0.0.1:1/shop"), app=app, lease=LEASE) as backend:
        spine = Spine(organs=chain(), backend=backend, retry=CHAIN_RETRY, concurrency=8)
        running = asyncio.create_task(spine.run())
        producer = Producer(backend, amount)
        producing = asyncio.create_task(producer.run())
        await until(lambda: producer.acknowledged >= before_the_kill / 2, "half of them are kept")
        replicated, written = producer.acknowledged, offset(master)
        await until(
            lambda: producer.acknowledged >= before_the_kill and offset(replica) >= written, "these are replicated"
        )

        acknowledged = producer.acknowledged
        master.kill()
        await producing
        await until(lambda: is_idle(backend), "all is handled")
        await lease_is_renewed(backend)
        spine.stop()
        await running
        found = Counter([event.payload["path"] async for event in backend.admin.history()])

    lost = {str(number) for number in range(amount)} - found.keys()
    doubled = sum(found.values()) - len(found)
    figures("Failover", times=1, events=amount * PER_ROOT, lost=len(lost), doubled=doubled, replicated=replicated)
    assert lost <= {str(number) for number in range(replicated, acknowledged + 1)}
    assert doubled == 0
    assert len(found) == (amount - len(lost)) * PER_ROOT


@dataclass
class Failover:
    """What a failover lost.

    Attributes:
        acknowledged: How many roots were acknowledged, by either master.
        only_there: How many of them by the old one, and not for sure by the replica, which nothing reached any more.
        seconds: For how long it went on without that.
        found: The events that there are in the end, and how often.
    """

    acknowledged: int
    only_there: int
    seconds: float
    found: Counter[str]

    @property
    def kept(self) -> set[int]:
        """The roots that there are."""
        return {int(path) for path in self.found if path.isdecimal()}

    @property
    def lost(self) -> int:
        """How many acknowledged roots there are not."""
        return len(set(range(self.acknowledged)) - self.kept)

    @property
    def doubled(self) -> int:
        """How many events there are once too often."""
        return self.found.total() - len(self.found)

    @property
    def torn(self) -> int:
        """How many events lack of what the roots led to that there are."""
        return len(self.kept) * PER_ROOT - len(self.found)


async def fail_over(min_replicas: int, binary: Path, app: str) -> Failover:
    """Let nothing reach the replica any more while the master acknowledges, and then kill that."""
    own, made = ("--min-replicas-to-write", str(min_replicas), "--min-replicas-max-lag", "1"), list[Server]()
    try:
        master = start_master(binary, made, *own)
        async with proxy_before(master.port) as proxy:
            watched = await watch_at(proxy.port, master, binary, made)
            async with RedisBackend(url_of(watched), app=app, lease=LEASE) as backend:
                spine = Spine(organs=chain(), backend=backend, retry=CHAIN_RETRY, concurrency=8)
                running = asyncio.create_task(spine.run())
                producer = Producer(backend, 1000)
                producing = asyncio.create_task(producer.run())
                await until(lambda: producer.acknowledged >= 50, "some are kept")
                before, written = producer.acknowledged, offset(master)
                await until(lambda: offset(watched.replica) >= written, "the replica has these, too")
                proxy.swallows_replication, since = True, time.monotonic()
                if min_replicas:
                    await until(lambda: producer.refused, "the master refuses what only it would know")
                else:
                    await until(lambda: producer.acknowledged >= before + 100, "a hundred more are kept")
                only_there, seconds = producer.acknowledged - before, time.monotonic() - since

                master.kill()
                await until(lambda: producer.acknowledged > before + only_there + 20, "it goes on with the other")
                producing.cancel()
                await until(lambda: is_idle(backend), "all is handled")
                spine.stop()
                await running
                found = Counter([event.payload["path"] async for event in backend.admin.history()])
    finally:
        for server in made:
            server.remove()
    return Failover(producer.acknowledged, only_there, seconds, found)


@pytest.mark.parametrize(
    ("min_replicas", "times"),
    [(0, 1), pytest.param(0, 5, marks=pytest.mark.thorough), pytest.param(1, 5, marks=pytest.mark.thorough)],
)
@pytest.mark.timeout(300)
async def test_a_failover_loses_whole_what_only_the_old_master_knew(
    min_replicas: int, times: int, redis_binary: Path, app: str, figures: Recorder
) -> None:
    failovers = [await fail_over(min_replicas, redis_binary, app) for _ in range(times)]

    figures(
        f"Failover without replication, min-replicas-to-write {min_replicas}",
        times=times,
        events=sum(failover.acknowledged for failover in failovers),
        lost=sum(failover.lost for failover in failovers),
        doubled=sum(failover.doubled for failover in failovers),
        torn=sum(failover.torn for failover in failovers),
        seconds_acknowledged_alone=max(failover.seconds for failover in failovers),
    )
    for failover in failovers:
        assert (failover.torn, failover.doubled) == (0, 0)
        assert 0 < failover.lost <= failover.only_there + 1
        # It looks once a second how far behind its replicas are, and is told to allow a second, which is the least.
        assert not min_replicas or failover.seconds < 4

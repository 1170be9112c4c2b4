"""A master with a replica, and a Sentinel that lets the one take the place of the other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from patience import until
from redis_chain import CHAIN_RETRY, PER_ROOT, chain, roots
from redis_server import Server
from redis_topologies import FAST, Sentinel, ask, lease_is_renewed, offset, run_apart

from necrostack import Spine
from necrostack.errors import BackendError, BackendUnavailable
from necrostack_redis import RedisBackend

PASSWORD, SENTINEL_PASSWORD = "hunter2-of-servers", "hunter2-of-sentinels"
LEASE = 3.0


@dataclass
class Watched:
    """The three processes."""

    master: Server
    replica: Server
    sentinel: Sentinel


@pytest.fixture(scope="module")
def watched(redis_binary: Path) -> Iterator[Watched]:
    own = ("--requirepass", PASSWORD, "--masterauth", PASSWORD, *FAST)
    made: list[Server] = []

    async def start() -> Watched:
        made.append(master := Server(redis_binary, own).start())
        made.append(replica := Server(redis_binary, (*own, "--replicaof", "127.0.0.1", str(master.port))).start())
        await until(lambda: b"master_link_status:up" in ask(replica, "INFO", "replication"), "the replica follows")
        lines = (
            f"sentinel monitor shop 127.0.0.1 {master.port} 1",
            f"sentinel auth-pass shop {PASSWORD}",
            "sentinel down-after-milliseconds shop 1000",
            "sentinel failover-timeout shop 10000",
            f"requirepass {SENTINEL_PASSWORD}",
        )
        made.append(sentinel := Sentinel(redis_binary, lines).start())
        await until(lambda: knows_the_replica(sentinel), "the Sentinel knows the replica")
        return Watched(master, replica, sentinel)

    try:
        yield run_apart(start())
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


async def test_a_failover_is_waited_out_and_what_was_replicated_is_there_once(watched: Watched, app: str) -> None:
    master, replica = watched.master, watched.replica
    kept, amount, before_the_kill = 0, 300, 150

    async def produce(backend: RedisBackend) -> None:
        """Enqueue root after root, each as often as it takes."""
        nonlocal kept
        for event in roots(range(amount)):
            while True:
                try:
                    await backend.enqueue(event)
                except BackendUnavailable:
                    await asyncio.sleep(0.05)
                else:
                    break
            kept += 1
            await asyncio.sleep(0.005)  # so that the kill comes in the middle

    # Another Sentinel is not there.
    async with RedisBackend(url_of(watched).replace("/shop", ",127.0.0.1:1/shop"), app=app, lease=LEASE) as backend:
        spine = Spine(organs=chain(), backend=backend, retry=CHAIN_RETRY, concurrency=8)
        running = asyncio.create_task(spine.run())
        producing = asyncio.create_task(produce(backend))
        await until(lambda: kept >= before_the_kill / 2, "half of them are kept")
        replicated, written = kept, offset(master)
        await until(lambda: kept >= before_the_kill and offset(replica) >= written, "all these are replicated")

        acknowledged = kept
        master.kill()
        await producing

        async def is_idle() -> bool:
            try:
                return (await backend.admin.stats()).idle
            except BackendUnavailable:
                return False

        await until(is_idle, "all is handled")
        await lease_is_renewed(backend)
        spine.stop()
        await running
        found = Counter([event.payload["path"] async for event in backend.admin.history()])

    lost = {str(number) for number in range(amount)} - found.keys()
    doubled = sum(found.values()) - len(found)
    print(f"a failover: {acknowledged} kept before, {replicated} of them on the replica for sure", end=": ")
    print(f"{len(found)} events, {len(lost)} roots lost, {doubled} doubled")
    assert lost <= {str(number) for number in range(replicated, acknowledged + 1)}
    assert doubled == 0
    assert len(found) == (amount - len(lost)) * PER_ROOT

"""A Redis Cluster: each app in one slot, which may move to another node while it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from figures import Recorder
from patience import until
from redis_chain import CHAIN_RETRY, chain, count_chain, roots, whole
from redis_server import Server
from redis_topologies import LoopbackCluster, ask, lease_is_renewed, offset, run_apart

from necrostack import Spine
from necrostack.errors import BackendError
from necrostack_redis import RedisBackend

LEASE = 3.0


@pytest.fixture(scope="module")
def cluster(redis_binary: Path) -> Iterator[LoopbackCluster]:
    made = LoopbackCluster(redis_binary)
    try:
        run_apart(made.start())
        yield made
    finally:
        made.remove()


def url_of(cluster: LoopbackCluster) -> str:
    # Any of its nodes will do, and some may be gone.
    return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in (1, *(node.port for node in cluster.nodes)))


def spine_of(backend: RedisBackend) -> Spine:
    return Spine(organs=chain(), backend=backend, retry=CHAIN_RETRY, concurrency=16)


def events_on(node: Server, app: str) -> int:
    return int(ask(node, "XLEN", f"necrostack:{{{app}}}:events"))


async def test_two_apps_are_on_two_nodes_and_both_work(cluster: LoopbackCluster) -> None:
    nodes = cluster.masters[1:]
    apps = [cluster.app_on(node) for node in nodes]

    async def run(app: str) -> None:
        async with RedisBackend(url_of(cluster), app=app, lease=LEASE) as backend:
            await spine_of(backend).run_until_idle(*roots(range(20)))
            assert await count_chain(backend, 20) == whole(20)
            await backend.probe()
            await lease_is_renewed(backend)

    await asyncio.gather(*map(run, apps))

    assert [events_on(node, app) for node, app in zip(nodes, apps, strict=True)] == [200, 200]


async def test_a_slot_that_moves_while_events_are_handled_loses_and_doubles_nothing(
    cluster: LoopbackCluster, figures: Recorder
) -> None:
    _, source, target = cluster.masters
    app, amount = cluster.app_on(source), 200
    async with RedisBackend(url_of(cluster), app=app, lease=LEASE) as backend:
        await backend.enqueue(*roots(range(amount)))
        running = asyncio.create_task(spine_of(backend).run_until_idle())
        await until(lambda: events_on(source, app) > 2 * amount, "it is in the middle of it")

        cluster.move(app, source, target)
        report = await running

        counted = await count_chain(backend, amount)
        await lease_is_renewed(backend)
    figures("Slot moved to another node", times=1, **asdict(counted), handled=report.handled)
    assert counted == whole(amount)
    assert events_on(target, app) == counted.events


async def test_a_node_that_is_killed_is_waited_out_until_its_replica_stands_in(
    cluster: LoopbackCluster, figures: Recorder
) -> None:
    master, amount = cluster.masters[0], 200
    app = cluster.app_on(master)
    async with RedisBackend(url_of(cluster), app=app, lease=LEASE) as backend:
        await backend.enqueue(*roots(range(amount)))
        # What is emitted and not replicated is lost with the acknowledgement of what led to it: that is handled again.
        await until(lambda: offset(cluster.replica) >= offset(master), "the replica has all roots")
        running = asyncio.create_task(spine_of(backend).run_until_idle())
        await until(lambda: events_on(master, app) > 2 * amount, "it is in the middle of it")

        master.kill()
        report = await running

        counted = await count_chain(backend, amount)
        await lease_is_renewed(backend)
    figures("Node of a cluster killed", times=1, **asdict(counted), handled=report.handled)
    assert counted == whole(amount)


async def test_a_server_that_is_no_cluster_is_told_from_one(redis_url: str) -> None:
    async with RedisBackend(redis_url.replace("redis://", "redis+cluster://")) as backend:
        with pytest.raises(BackendError, match="cluster support disabled"):
            await backend.pull(timeout=0)


async def test_a_node_of_a_cluster_is_told_from_a_single_server(cluster: LoopbackCluster) -> None:
    app = cluster.app_on(cluster.masters[1])
    async with RedisBackend(f"redis://127.0.0.1:{cluster.masters[2].port}", app=app) as backend:
        with pytest.raises(BackendError, match=r"is a node of a cluster; write redis\+cluster://"):
            await backend.pull(timeout=0)

"""Workers that have one name, which the backend never gives two: were they to, nothing would be lost or doubled."""

from __future__ import annotations

import asyncio
import random
from dataclasses import asdict
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from figures import Recorder
from patience import until
from redis_chain import CHAIN_RETRY, chain, count_chain, roots, whole
from redis_victim import LEASE, StartWorker, is_idle

from necrostack import Organ
from necrostack_redis import RedisBackend
from necrostack_redis.lease import Lease

NAME = "twin-1-00000000"


def chain_of_a_twin(_: object) -> list[Organ[Any]]:
    """Make the chain's Organs, and let every backend that is made in this process have the same name."""
    become_a_worker = RedisBackend._become_a_worker

    def become_a_twin(backend: RedisBackend) -> None:
        become_a_worker(backend)
        backend._consumer = NAME
        backend._lease = Lease(backend._connector, backend._keys, backend.settings, NAME)

    patch.object(RedisBackend, "_become_a_worker", become_a_twin).start()  # for as long as the process lives
    return chain()


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.thorough)])
@pytest.mark.timeout(600)
async def test_workers_of_one_name_lose_and_double_nothing(
    kills: int, redis_url: str, app: str, start_worker: StartWorker, figures: Recorder
) -> None:
    """Each takes what the other holds for what it holds without knowing, and hands it back: so it is handled twice."""
    roots_per_kill = 20
    start = partial(start_worker, redis_url, chain_of_a_twin, concurrency=4, retry=CHAIN_RETRY)
    workers = [start() for _ in range(3)]

    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:

        async def is_under_way() -> int:
            return (await backend.admin.stats()).pending

        for kill in range(kills):
            await backend.enqueue(*roots(range(kill * roots_per_kill, (kill + 1) * roots_per_kill)))
            await until(is_under_way, "some work")
            await asyncio.sleep(random.uniform(0, 0.1))
            workers.pop(random.randrange(len(workers))).kill()
            workers.append(start())
        names = [consumer.name for consumer in await backend.admin.consumers()]
        await until(partial(is_idle, backend), "all is handled", within=300)
        count = await count_chain(backend, kills * roots_per_kill)
        reports = [await worker.stop() for worker in workers]

    refused = sum(report["lost"] for report in reports)
    figures("Workers of one name killed", times=kills, **asdict(count), settlements_refused=refused)
    assert names == [NAME]
    assert count == whole(kills * roots_per_kill)

"""A server's append-only file that is cut off anywhere, as by a loss of power: what is left of it is whole steps."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from figures import Recorder
from patience import until
from redis_chain import CHAIN_RETRY, FAN_OUT, chain, chain_of, count_chain, roots, whole
from redis_server import Server
from redis_victim import LEASE, StartWorker, is_idle

from necrostack import Spine
from necrostack_redis import RedisBackend
from necrostack_redis.keys import Keys

PATH = re.compile(rb'"path":"([0-9.]+)"')
"""How an event's payload names it, wherever the event is kept, and by whatever it is packed."""


def appended_to(directory: Path) -> Path:
    """Find the file to which a server appends: one of several since Redis 7, before that the only one."""
    (found,) = [*directory.glob("appendonlydir/*.incr.aof"), *directory.glob("appendonly.aof")]
    return found


def is_inside_a_step(written: bytes) -> bool:
    """Whether it ends within what a script wrote, which stands in the file as a transaction."""
    return written.rfind(b"\r\nMULTI\r\n") > written.rfind(b"\r\nEXEC\r\n")


def paths_in(*kept: bytes) -> list[str]:
    return [name.decode() for name in PATH.findall(b" ".join(kept))]


async def entries_of(client: Any, stream: str) -> dict[bytes, str]:
    """The path of each entry of a stream."""
    found = await client.xrange(stream)
    return {entry_id: paths_in(fields[b"payload"])[0] for entry_id, fields in found}


async def steps_that_are_torn(url: str, app: str) -> tuple[int, int]:
    """Look at what is kept, with a bare client, before any worker does.

    An event whose step was done has all its children, once each. One whose step was not, because it is unread, pending,
    or to go again, has none.

    Returns:
        How many roots are kept, and of how many events the step is neither done nor not done.
    """
    keys = Keys(app, "default")
    client: Any = redis.asyncio.Redis.from_url(url)  # redis-py's types say less than what it returns
    async with client:
        events = await entries_of(client, keys.events)
        groups = await client.xinfo_groups(keys.events) if events else []
        waits = await client.xrange(keys.events, f"({groups[0]['last-delivered-id'].decode()}" if groups else "-")
        pending = await client.xpending_range(keys.events, keys.group, "-", "+", len(events)) if groups else []
        undone = {events[entry_id] for entry_id, _ in waits} | {events[found["message_id"]] for found in pending}
        undone |= {*(await entries_of(client, keys.inbox)).values(), *(await entries_of(client, keys.dead)).values()}
        undone |= {*paths_in(*await client.zrange(keys.retries, 0, -1))}
    kept = Counter(events.values())
    children = Counter([path.rpartition(".")[0] for path in kept.elements() if "." in path])
    fan_outs = dict(enumerate((*FAN_OUT, 0)))
    wanted = {path: 0 if path in undone else fan_outs[path.count(".")] for path in kept}
    torn = {path for path, number in wanted.items() if children[path] != number or kept[path] > 1}
    return sum("." not in path for path in kept), len(torn | (children.keys() - kept.keys()))


@pytest.mark.parametrize(("cuts", "number"), [(10, 20), pytest.param(200, 60, marks=pytest.mark.thorough)])
@pytest.mark.timeout(900)
async def test_an_append_only_file_cut_at_any_byte_tears_no_step(
    cuts: int,
    number: int,
    make_server: Callable[..., Server],
    app: str,
    start_worker: StartWorker,
    tmp_path: Path,
    figures: Recorder,
) -> None:
    server, intact = make_server("--appendonly", "yes"), tmp_path / "intact"
    workers = [start_worker(server.url, chain_of, concurrency=4, retry=CHAIN_RETRY) for _ in range(2)]
    async with RedisBackend(server.url, app=app, lease=LEASE) as backend:
        for root in roots(range(number)):
            await backend.enqueue(root)
        await until(partial(is_idle, backend), "all is handled")
    for worker in workers:
        worker.kill()
    server.kill()
    shutil.copytree(server.directory, intact)
    size = appended_to(intact).stat().st_size

    inside = events = lost = doubled = torn = changed = 0
    for _ in range(cuts):
        shutil.rmtree(server.directory)
        shutil.copytree(intact, server.directory)
        with appended_to(server.directory).open("r+b") as file:
            file.truncate(random.randrange(size))
        inside += is_inside_a_step(appended_to(server.directory).read_bytes())
        server.start()
        server.rewrite_log()
        kept, found = await steps_that_are_torn(server.url, app)
        torn += found
        backend = RedisBackend(server.url, app=app, lease=LEASE, max_recoveries=100)
        async with Spine(chain(), backend, concurrency=50, retry=CHAIN_RETRY) as spine:
            await spine.run_until_idle()
            count = await count_chain(backend, kept)
        events, lost, doubled = events + whole(kept).events, lost + count.lost, doubled + count.doubled
        server.kill()
        server.start()
        async with RedisBackend(server.url, app=app) as backend:
            changed += await count_chain(backend, kept) != count
        server.kill()

    fault = "Append-only file cut at a random byte"
    more = {"steps_torn": torn, "cuts_inside_a_step": inside, "changed_by_a_second_start": changed}
    figures(fault, times=cuts, events=events, lost=lost, doubled=doubled, **more)
    assert (torn, lost, doubled, changed) == (0, 0, 0, 0)
    assert inside

"""What a worker holds and does not know, or knows and does not hold any more: it is found, and handed back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from patience import until
from redis_victim import numbers

from necrostack import Backend
from necrostack.errors import BackendUnavailable
from necrostack_redis import RedisBackend

LEASE = 1.2


@pytest.fixture
async def backend(redis_url: str, app: str) -> AsyncIterator[RedisBackend]:
    async with RedisBackend(redis_url, app=app, lease=LEASE) as backend:
        yield backend


def run_program(text: str, *argv: str) -> str:
    """Run a program of its own; what it prints."""
    done = subprocess.run([sys.executable, "-c", text, *argv], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def numbers_of(backend: Backend, wanted: int) -> list[int]:
    """Pull until so many came, and acknowledge them."""
    found: list[int] = []

    async def pull() -> bool:
        deliveries = await backend.pull(limit=10, timeout=0.1)
        for delivery in deliveries:
            assert await backend.ack(delivery)
            found.append(delivery.event.payload["n"])
        return len(found) >= wanted

    await until(pull, f"{wanted} events come")
    return found


async def test_what_a_worker_was_given_by_a_call_that_it_gave_up_is_found(
    backend: RedisBackend, redis_url: str, app: str
) -> None:
    await backend.pull(timeout=0)
    (me,) = [consumer.name for consumer in await backend.admin.consumers()]
    await backend.enqueue(*numbers("NUMBER", 3))

    # The server does a call when it comes to it, however long ago its connection was closed.
    async with redis.asyncio.Redis.from_url(redis_url) as late:
        events = f"necrostack:{{{app}}}:events"
        assert await late.xreadgroup("default", me, {events: ">"}, count=2)

    assert sorted(await numbers_of(backend, 3)) == [0, 1, 2]


async def test_what_came_with_a_lost_reply_is_found(backend: RedisBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    await backend.pull(timeout=0)
    await backend.enqueue(*numbers("NUMBER", 3))
    assert backend._session is not None
    link = backend._session.link
    answer = link.run

    async def lose(*call: object) -> object:
        await answer(*call)  # type: ignore[arg-type]
        monkeypatch.undo()
        raise BackendUnavailable("the reply was lost")

    monkeypatch.setattr(link, "run", lose)
    with pytest.raises(BackendUnavailable):
        await backend.pull(limit=2, timeout=0)

    assert await numbers_of(backend, 3) == [0, 1, 2]


async def test_who_leaves_keeps_nothing_that_came_after_its_pull_was_cancelled(backend: RedisBackend) -> None:
    await backend.enqueue(*numbers("NUMBER", 3))

    for turns in range(40):
        pull = asyncio.create_task(backend.pull(limit=3))
        for _ in range(turns):
            await asyncio.sleep(0)
        pull.cancel()
        await asyncio.wait({pull})
        if not pull.cancelled():
            await backend.release(*pull.result())
        await backend.leave("a run that has ended")

        assert (await backend.admin.stats()).pending == 0


TWO_LOOPS = """
import asyncio, sys
import redis
from necrostack import Event
from necrostack_redis import RedisBackend

url, app, way = sys.argv[1:]
backend = RedisBackend(url, app=app, lease=60.0)

async def first():
    await backend.pull(timeout=0)
    await backend.enqueue(*(Event(event_type="NUMBER", payload={"n": n}) for n in range(4)))
    pull = asyncio.create_task(backend.pull(limit=2))
    with redis.Redis.from_url(url) as other:
        while not other.xpending(f"necrostack:{{{app}}}:events", "default")["pending"]:
            await asyncio.sleep(0)
    # The server has given something, and the reply is on its way.
    if way == "arrived":
        pull.cancel()
        await asyncio.wait({pull})
        while not backend._session.reader._surplus:
            await asyncio.sleep(0)

async def second():
    async with backend:
        found = []
        while len(found) < 4:
            for delivery in await backend.pull(limit=4):
                assert await backend.ack(delivery)
                found.append(delivery.event.payload["n"])
        print(sorted(found))

asyncio.run(first())
asyncio.run(second())
"""


@pytest.mark.parametrize("way", ["arrived", "under way"])
def test_what_an_event_loop_left_behind_is_found_by_the_next_one(redis_url: str, app: str, way: str) -> None:
    assert run_program(TWO_LOOPS, redis_url, app, way) == "[0, 1, 2, 3]\n"


FORKS = """
import asyncio, os, sys
from necrostack import Event
from necrostack_redis import RedisBackend

url, app = sys.argv[1:]
backend = RedisBackend(url, app=app, lease=60.0, call_timeout=3.0)

async def child():
    async with backend:
        for delivery in await backend.pull(limit=2, timeout=10):
            assert await backend.ack(delivery)
            print(os.getpid() == parent, delivery.event.payload["n"], flush=True)

async def main():
    async with backend:
        await backend.enqueue(*(Event(event_type="NUMBER", payload={"n": n}) for n in range(6)))
        (first,) = await backend.pull()
        if os.fork() == 0:
            asyncio.run(child())
            os._exit(0)  # as multiprocessing does
        await asyncio.to_thread(os.wait)
        for delivery in (first, *await backend.pull(limit=10)):
            assert await backend.ack(delivery)
            print(os.getpid() == parent, delivery.event.payload["n"], flush=True)
        assert (await backend.admin.stats()).idle

parent = os.getpid()
asyncio.run(main())
"""


def test_a_program_that_forks_is_two_workers(redis_url: str, app: str) -> None:
    printed = run_program(FORKS, redis_url, app).splitlines()

    assert printed == ["False 1", "False 2", "True 0", "True 3", "True 4", "True 5"]

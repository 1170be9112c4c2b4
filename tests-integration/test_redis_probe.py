"""A probe writes for real: it fails where an event could not be kept, and works again when one can."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis_place
from redis_place import Place
from redis_server import Server
from redis_server import command as redis_command

from necrostack import BackendFull
from necrostack.errors import BackendClosed, BackendError, BackendUnavailable
from necrostack_redis import RedisBackend

Act = Callable[[Place], Awaitable[None]]


async def test_what_a_probe_writes_goes_by_itself(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app) as backend:
        call, written = backend._open().link.call, ""

        async def noted(*command: object) -> object:
            nonlocal written
            written = str(command[1])
            return await call(*command)

        backend._open().link.call = noted  # type: ignore[method-assign] # a call that is listened to
        await backend.probe()

        assert 0 < await call("PTTL", written) <= 10_000


async def test_a_probe_that_reads_something_else_says_so(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app) as backend:
        call = backend._open().link.call

        async def lost(*command: object) -> object:
            return await call(*command) if command[0] == "SET" else None

        backend._open().link.call = lost  # type: ignore[method-assign] # a call that is listened to

        with pytest.raises(BackendError, match=r"did not keep what was written to necrostack:\{test-.*: it holds None"):
            await backend.probe()


async def test_a_probe_fails_while_memory_is_full(make_server: Callable[..., Server], app: str) -> None:
    server = make_server("--maxmemory-policy", "noeviction")
    async with RedisBackend(server.url, app=app) as backend:
        redis_command(server.port, "CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(BackendFull, match="is full, and nothing new was kept"):
            await backend.probe()

        redis_command(server.port, "CONFIG", "SET", "maxmemory", 0)
        await backend.probe()


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        pytest.param(redis_place.fail_to_save, redis_place.save_again, id="disk"),
        pytest.param(redis_place.demote, redis_place.promote, id="replica"),
        pytest.param(redis_place.freeze, redis_place.thaw, id="frozen"),
        pytest.param(redis_place.swallow, redis_place.hand_on, id="network"),
    ],
)
async def test_a_probe_fails_while_nothing_can_be_written(break_it: Act, mend_it: Act, place: Place) -> None:
    async with place.backend(call_timeout=0.2, connect_timeout=0.2) as backend:
        await backend.probe()

        await break_it(place)
        with pytest.raises(BackendUnavailable):
            await asyncio.wait_for(backend.probe(), 5.0)
        await mend_it(place)

        await works_again(backend)


async def works_again(backend: RedisBackend) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                return await backend.probe()
            except BackendUnavailable:
                await asyncio.sleep(0.01)


async def test_a_closed_backend_refuses_a_probe(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app) as backend:
        await backend.probe()

    with pytest.raises(BackendClosed):
        await backend.probe()

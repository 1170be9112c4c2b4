"""A server that is full: it refuses what is new, and what it has can be handled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis_orders import COUNT, chain, expected_dead, lost_and_doubled, names, orders
from redis_server import Server
from redis_server import command as redis_command

from necrostack import BackendFull, Event
from necrostack_redis import RedisBackend


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

"""The contract suite, unchanged, on a real server."""

from __future__ import annotations

from uuid import uuid4

import pytest

from necrostack import Backend
from necrostack.testing.contract import CONTRACT, BackendFactory, Check
from necrostack_redis import RedisBackend


class RedisFactory(BackendFactory):
    """Makes backends, each with an app of its own. A lease is short, so that checks need not wait long for a death."""

    features = frozenset({"announces", "bounded", "durable", "groups", "restores"})
    unit = 0.2
    lease = 1.0
    recovery = 4 * lease

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def create(self, *, max_size: int | None, max_event_size: int) -> Backend:
        app = f"contract-{uuid4().hex}"
        return RedisBackend(self._url, app=app, lease=self.lease, max_size=max_size, max_event_size=max_event_size)

    async def connect(self, backend: Backend, *, group: str | None) -> Backend:
        assert isinstance(backend, RedisBackend)
        settings = backend.settings
        return RedisBackend(self._url, app=settings.app, lease=self.lease, group=group or settings.group)

    async def freeze(self, backend: Backend) -> None:
        assert isinstance(backend, RedisBackend)
        backend._lease.stop()


@pytest.mark.parametrize("check", CONTRACT, ids=str)
async def test_redis_keeps_the_contract(check: Check, redis_url: str) -> None:
    async with RedisFactory(redis_url) as factory:
        await check(factory)

"""What adapters share: the server's own account of what is left, and filling it through an emitter."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from benchmarks.durable import Emit, EmitMany
from benchmarks.orders import new_order, order_id

_AT_ONCE = 100
"""How many calls are under way at once where a system enqueues one by one."""


async def create_group(url: str, stream: str, group: str) -> None:
    """Make a consumer group that begins with the first event, unless it is there."""
    async with Redis.from_url(url) as client:
        with suppress(ResponseError):
            await client.xgroup_create(stream, group, id="0", mkstream=True)


async def until_none_pending(url: str, stream: str, group: str) -> None:
    """Wait until all that was read is acknowledged."""

    async def pending(client: Any) -> int:
        return int((await client.xpending(stream, group))["pending"])

    await until_zero(url, pending)


async def until_zero(url: str, owed: Callable[[Any], Awaitable[int]]) -> None:
    """Wait until the server owes nothing."""
    async with Redis.from_url(url) as client:
        while await owed(client):  # noqa: ASYNC110 -- only the server knows
            await asyncio.sleep(0.001)


async def fill_by_emitting(emitter: Callable[[str], AbstractAsyncContextManager[Emit]], url: str, n: int) -> None:
    """Enqueue n orders, some at once."""
    async with emitter(url) as emit:
        numbers = iter(range(n))

        async def emit_some() -> None:
            for number in numbers:
                await emit(new_order(order_id(number)))

        await asyncio.gather(*[emit_some() for _ in range(min(n, _AT_ONCE))])


async def fill_in_bulk(
    bulk_emitter: Callable[[str], AbstractAsyncContextManager[EmitMany]],
    url: str,
    n: int,
    bulk: int,
) -> None:
    """Enqueue n orders, so many with each call."""
    async with bulk_emitter(url) as emit:
        for start in range(0, n, bulk):
            await emit([new_order(order_id(number)) for number in range(start, min(start + bulk, n))])

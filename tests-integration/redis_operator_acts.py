"""Everything that operators do with a Redis, in acts like those of workers: look, repair, forget, remove."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

from redis_acts import GIVEN_UP, Act, Count, finish, pulled, worker
from redis_checks import Stand, orders
from redis_watched import Swept

from necrostack import Event, Settlement
from necrostack_redis import RedisBackend, trimming
from necrostack_redis.groups import group_names, remove
from necrostack_redis.keys import Keys
from necrostack_redis.trimming import trim


async def it_is_counted(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as looks:
        await looks.enqueue(*orders(4))
        assert (await swept(looks.admin.stats)).queued == 4
        _, *some = await pulled(looks, 3)
        await looks.release(some[0])
        stats = await swept(looks.admin.stats)
        assert (stats.queued, stats.pending) == (2, 2)
    return await finish(stand, 4)


async def it_is_listed(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as looks:
        await looks.enqueue(*orders(3))
        await pulled(looks, 2)

        async def pending() -> int:
            return len([found async for found in looks.admin.pending()])

        assert await swept(pending) == 2
        (consumer,) = await swept(looks.admin.consumers)
        assert consumer.pending == 2
    return await finish(stand, 3)


async def given_up(backend: RedisBackend, number: int) -> list[str]:
    """Give up so many events, and return the ids of their letters."""
    deliveries = await pulled(backend, number)
    assert len(deliveries) == number
    await backend.settle(*(Settlement(delivery, dead=GIVEN_UP) for delivery in deliveries))
    return [letter.id async for letter in backend.admin.dead_letters()]


async def dead_letters_go_again(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as operator:
        await operator.enqueue(*orders(3))
        ids = await given_up(operator, 3)
        assert await operator.admin.redrive(ids[0]) == 1
        await swept(partial(operator.admin.redrive, *ids))
    return await finish(stand, 3)


async def dead_letters_are_discarded(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as operator:
        begin = orders(4)
        await operator.enqueue(*begin[2:], *begin[:2])
        ids = await given_up(operator, 2)
        await operator.admin.redrive(*ids)
        await swept(partial(operator.admin.discard, *ids))
        assert not [letter async for letter in operator.admin.dead_letters(redriven=True)]
    return await finish(stand, 4)


async def history_is_forgotten(stand: Stand, swept: Swept) -> Count:
    """But for what another group needs, in every way in which that is found out."""
    async with worker(stand) as ahead, worker(stand, group="behind") as behind:
        await ahead.enqueue(*(Event(event_type="ITEM", payload={"path": str(n)}) for n in range(12)))
        ids = await given_up(ahead, 4)
        await ahead.admin.redrive(*ids)
        await ahead.settle(*map(Settlement, await pulled(ahead, 20)))
        await behind.settle(*map(Settlement, await pulled(behind, 4)))
        (pending,) = await pulled(behind)

        link, keys = ahead._open().link, stand.keys
        with patch.object(trimming, "_AT_ONCE", 2):
            ways: Sequence[dict[str, Any]] = (
                {"max_length": 1, "forget_letters": True},
                {"max_length": 10},
                {"max_length": 9, "before": 1},
                {"max_length": None, "age": 0.0, "forget_letters": True},
            )
            for how in ways:
                await swept(partial(trim, link, keys, **how))
        await swept(partial(trim, link, keys, max_length=1, age=0.0, forget_letters=True))
        await behind.settle(Settlement(pending))
        await swept(partial(trim, link, keys, max_length=1))
        left = await pulled(behind, 20)
    got = Counter(delivery.event.payload["path"] for delivery in (pending, *left))
    wanted = {str(n) for n in range(4, 12)}
    return Count(8, len(wanted - got.keys()), got.total() - len(got))


async def a_group_is_removed(stand: Stand, swept: Swept) -> Count:
    passing = {"group": "passing", "ephemeral_after": 1.0}
    async with worker(stand) as stays:
        await stays.enqueue(*orders(2))
        link, keys = stays._open().link, Keys(stand.app, "passing")
        async with worker(stand, **passing) as passes:
            await pulled(passes)
            await swept(partial(remove, link, keys, expired_only=True))
            await passes.aclose()
        await stand.tell("HSET", keys.groups, "alive:passing", 1)
        await swept(partial(remove, link, keys, expired_only=True))
        assert "passing" not in await group_names(link, keys)
    return await finish(stand, 2)


OPERATORS_ACTS: tuple[Act, ...] = (
    it_is_counted,
    it_is_listed,
    dead_letters_go_again,
    dead_letters_are_discarded,
    history_is_forgotten,
    a_group_is_removed,
)

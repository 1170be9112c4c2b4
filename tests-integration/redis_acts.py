"""Everything that workers do with a Redis, in acts: each brings about what it needs, and does one thing.

Together with `redis_operator_acts` they run through every line of every script. What came of it is counted: orders
lead to two items each, as in `redis_checks`, and a worker that comes later finds all that is left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from redis_checks import Stand, handled, lost_and_doubled, orders, work
from redis_watched import Swept

from necrostack import Delivery, Event, Settlement
from necrostack.delivery import Failure, Retry
from necrostack.errors import BackendError, BackendUnavailable
from necrostack_redis import RedisBackend
from necrostack_redis.keys import RELEASED

GIVEN_UP = [Failure(reason="give_up")]


@dataclass(frozen=True)
class Count:
    """What became of the events of an act, dead letters included."""

    events: int = 0
    lost: int = 0
    doubled: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.events + other.events, self.lost + other.lost, self.doubled + other.doubled)


Act = Callable[[Stand, Swept], Awaitable[Count]]


@asynccontextmanager
async def worker(stand: Stand, **options: Any) -> AsyncIterator[RedisBackend]:
    """Make a worker whose lease is not renewed in between: each call is made by the act. Some take a while."""
    async with stand.worker(**{"lease": 600.0, "call_timeout": 60.0, **options}) as made:
        await made.admin.stats()  # so that it knows that there is a Redis, before that is killed
        yield made


async def pulled(backend: RedisBackend, limit: int = 1) -> Sequence[Delivery]:
    """Pull whatever there is, by a look at everything."""
    backend._open().reader.look_next()
    return await backend.pull(limit=limit, timeout=0)


async def make_due(stand: Stand) -> None:
    """Let the time come of all that goes again later."""
    for key in (stand.keys.retries, stand.keys.schedule):
        for member in await stand.tell("ZRANGE", key, 0, -1):
            await stand.tell("ZADD", key, "XX", 0, member)


async def finish(stand: Stand, number: int, *, letters: int = 0) -> Count:
    """Let another worker handle what is left, now that all others are dead, and count."""
    for dead in await stand.tell("ZRANGE", stand.keys.leases, 0, -1):
        await stand.tell("ZADD", stand.keys.leases, "XX", 0, dead)
    async with worker(stand) as successor:
        await make_due(stand)
        await work(successor, successor)
        lost, doubled = await lost_and_doubled(successor, number)
        dead_letters = (await successor.admin.stats()).dead
    return Count(3 * number + letters, lost + max(letters - dead_letters, 0), doubled + max(dead_letters - letters, 0))


# --- keeping ---------------------------------------------------------------------------------------------


async def an_event_is_kept(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as producer:
        begin = orders(1)
        await swept(lambda: producer.enqueue(*begin))
    return await finish(stand, 1)


async def an_event_is_refused(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as producer:
        begin = orders(1)
        await stand.tell("SET", stand.keys.events, "somebody else's")
        with pytest.raises(BackendError, match="must be a stream"):
            await swept(lambda: producer.enqueue(*begin))
        await stand.tell("DEL", stand.keys.events)
        await producer.enqueue(*begin)
    return await finish(stand, 1)


async def events_are_kept_within_a_bound(stand: Stand, swept: Swept) -> Count:
    async with worker(stand, max_size=100) as producer, worker(stand, group="other") as other:
        first, second, *rest = orders(4)
        await producer.enqueue(first)
        await swept(lambda: producer.enqueue(second))  # nobody has ever pulled
        await pulled(other)
        fails, waits = await pulled(producer, 2)
        await producer.settle(handled(fails))
        await producer.release(waits)
        await swept(lambda: producer.enqueue(*rest))
    return await finish(stand, 4)


async def events_are_kept_for_later(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as producer:
        begin = orders(3)
        await swept(lambda: producer.enqueue(*begin, delay=0.001))
    return await finish(stand, 3)


# --- pulling ---------------------------------------------------------------------------------------------


async def a_worker_pulls_for_the_first_time(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as comes:
        await comes.enqueue(*orders(2))
        assert len(await swept(lambda: pulled(comes, 10))) == 2
    return await finish(stand, 2)


async def a_worker_pulls_whatever_there_is(stand: Stand, swept: Swept) -> Count:
    """What two dead ones left, what was handed back, is due, goes again, is gone, or was written by somebody else."""
    keys = stand.keys
    async with (
        worker(stand) as busy,
        worker(stand) as dies,
        worker(stand) as dies_of_the_same,
        worker(stand) as dies_with_more,
        worker(stand) as hands_back,
        worker(stand, max_recoveries=1) as pulls,
    ):
        fails, leads_to_two, *rest, late = orders(6)
        gone = Event(event_type="ITEM", payload={"path": "9"})
        await busy.enqueue(fails, leads_to_two, gone, *rest)
        ends = [handled(delivery) for delivery in await pulled(busy, 2)]
        await busy.settle(Settlement(ends[0].delivery, retries=[Retry(organ="Organ", delay=60.0)]), ends[1])
        await busy.admin.replay(event_type="ITEM", ids={event.id async for event in busy.admin.history()} - {gone.id})
        assert len(await pulled(dies)) == 1
        await stand.end_lease(dies)
        (kills,) = await pulled(dies_of_the_same)
        assert (kills.origin, kills.event.event_type) == ("replay", "ITEM")
        held = await pulled(dies_with_more, 3)
        paths = [delivery.event.payload["path"] for delivery in held]
        assert paths == ["1.1", "9", "2"], paths
        await stand.tell("XDEL", keys.events, str(held[1].receipt))
        await hands_back.release(*await pulled(hands_back))
        await busy.enqueue(late, delay=60.0)
        await stand.tell("ZADD", keys.retries, 0, "somebody else's")
        await make_due(stand)
        await stand.end_lease(dies_of_the_same)
        await stand.end_lease(dies_with_more)

        taken: list[Delivery] = []
        while more := await swept(lambda: pulled(pulls, 3)):
            taken += more
        assert all(await pulls.settle(*map(handled, taken)))
    return await finish(stand, 6, letters=2)


async def what_a_worker_holds_without_knowing_is_handed_back(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as holds:
        await pulled(holds)
        await holds.enqueue(*orders(2))
        read = ("XREADGROUP", "GROUP", "default", holds._consumer, "COUNT", 1, "STREAMS", stand.keys.events, ">")
        await stand.tell(*read)
        holds._open().reader._next_check = 0.0
        await swept(lambda: pulled(holds, 1), "strays", "release")
    return await finish(stand, 2)


async def deliveries_are_handed_back(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as hands_back:
        await hands_back.enqueue(*orders(2))
        deliveries = await pulled(hands_back, 2)
        await swept(lambda: hands_back.release(*deliveries))
    return await finish(stand, 2)


# --- settling --------------------------------------------------------------------------------------------


async def deliveries_are_settled(stand: Stand, swept: Swept) -> Count:
    """In every way, of both streams, and one that somebody else settled."""
    async with worker(stand) as settles:
        *begin, before = orders(5)
        await settles.enqueue(before)
        (delivery,) = await pulled(settles)
        await settles.settle(handled(delivery))
        await settles.admin.replay(event_type="ITEM")
        await settles.enqueue(*begin)
        deliveries = await pulled(settles, 10)
        ended = []
        for delivery in deliveries:
            match delivery.event.payload["path"]:
                case "1":
                    ended.append(Settlement(delivery, retries=[Retry(organ="Organ", delay=0.0)]))
                case "2":
                    ended.append(Settlement(delivery, emitted=handled(delivery).emitted, dead=GIVEN_UP))
                case _:
                    ended.append(handled(delivery))
        (of_another, *_) = [delivery for delivery in deliveries if delivery.event.event_type == "ITEM"][::-1]
        stream = {1: stand.keys.events, 2: stand.keys.inbox}[of_another.receipt.stream]  # type: ignore[attr-defined]
        await stand.tell("XACK", stream, "default", str(of_another.receipt))
        answers = await swept(lambda: settles.settle(*ended))
        assert [delivery for delivery, answer in zip(deliveries, answers, strict=True) if not answer] == [of_another]
    return await finish(stand, 5, letters=1)


async def a_delivery_is_settled_that_was_lost_with_its_group(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as settles:
        await settles.enqueue(*orders(1))
        (delivery,) = await pulled(settles)
        await stand.tell("XGROUP", "DESTROY", stand.keys.events, "default")
        assert await swept(lambda: settles.settle(handled(delivery))) == [False]
    return await finish(stand, 1)


# --- coming and going ------------------------------------------------------------------------------------


async def a_worker_joins(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as there, worker(stand, ephemeral_after=60.0) as comes:
        await there.enqueue(*orders(1))
        await there.join("one")
        assert await swept(lambda: comes.join("another")) == {"one"}
    return await finish(stand, 1)


async def a_worker_makes_a_group_that_begins_now(stand: Stand, swept: Swept) -> Count:
    late = {"group": "late", "start": "latest"}
    async with worker(stand) as there, worker(stand, **late) as comes:
        await there.enqueue(*orders(1))
        await swept(lambda: comes.join("one"))
        assert not await pulled(comes)
    return await finish(stand, 1)


async def a_lease_is_renewed(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as lives:
        await lives.enqueue(*orders(1))
        await pulled(lives)
        # Somebody who froze, was removed, and reads now.
        await stand.tell("XGROUP", "CREATECONSUMER", stand.keys.events, "default", "late-1-a")

        async def renew() -> None:
            client = lives._connector.blocking_client()
            try:
                await asyncio.to_thread(lives._lease._renew, client)
            except redis.ConnectionError as error:
                raise BackendUnavailable from error
            finally:
                client.close()

        await swept(renew)
    return await finish(stand, 1)


_HAND_BACK = """
for _, stream in ipairs(KEYS) do
  for _, pending in ipairs(redis.call('XPENDING', stream, 'default', '-', '+', 100, ARGV[1])) do
    redis.call('XCLAIM', stream, 'default', ARGV[2], 0, pending[1], 'JUSTID')
  end
end
"""


async def hand_back_for(gone: RedisBackend, stand: Stand) -> None:
    """Let all be as if it had never come."""
    keys = stand.keys
    await stand.tell("EVAL", _HAND_BACK, 2, keys.events, keys.inbox, gone._consumer, RELEASED)
    await stand.tell("ZADD", keys.leases, "XX", 0, gone._consumer)


async def a_worker_leaves(stand: Stand, swept: Swept) -> Count:
    async with worker(stand) as busy:
        await busy.enqueue(*orders(4)[1:], *orders(1))
        (delivery,) = await pulled(busy)
        await busy.settle(handled(delivery))
        await busy.admin.replay(event_type="ITEM")

        async def come_and_go() -> None:
            async with stand.worker(lease=600.0, call_timeout=60.0, ephemeral_after=60.0) as leaves:
                await pulled(leaves, 4)
                await leaves.aclose()
                await hand_back_for(leaves, stand)  # if it could not do so itself

        await swept(come_and_go, "leave")
    return await finish(stand, 4)


WORKERS_ACTS: tuple[Act, ...] = (
    an_event_is_kept,
    an_event_is_refused,
    events_are_kept_within_a_bound,
    events_are_kept_for_later,
    a_worker_pulls_for_the_first_time,
    a_worker_pulls_whatever_there_is,
    what_a_worker_holds_without_knowing_is_handed_back,
    deliveries_are_handed_back,
    deliveries_are_settled,
    a_delivery_is_settled_that_was_lost_with_its_group,
    a_worker_joins,
    a_worker_makes_a_group_that_begins_now,
    a_lease_is_renewed,
    a_worker_leaves,
)

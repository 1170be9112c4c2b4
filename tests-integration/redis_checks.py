"""Quick checks of the promise on a real server, one for each way in which it is classically broken.

They leave nothing to chance: a worker is a `RedisBackend` that a check moves call by call, dies where the check says,
and is dead when the check ends its lease. So each of them finds its mistake every time; see `redis_mutants`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import redis.asyncio
from redis_proxy import Proxy, proxy_before

from necrostack import Delivery, Event, Settlement
from necrostack.delivery import Failure, Retry
from necrostack.errors import BackendError, BackendFull, BackendUnavailable
from necrostack_redis import RedisBackend
from necrostack_redis.keys import Keys

PATIENCE = 3.0
"""Seconds without any progress after which what is left is stuck."""

_HANDSHAKE = ("CLIENT", "HELLO", "AUTH", "SELECT")

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Stand:
    """Where a check works.

    Attributes:
        url: A server that nobody else uses.
        app: An app of its own.
    """

    url: str
    app: str

    def part(self, number: int) -> Stand:
        """Another app, for one of the rounds of a check."""
        return Stand(self.url, f"{self.app}-{number}")

    @property
    def keys(self) -> Keys:
        return Keys(self.app, "default")

    def backend(self, url: str = "", **options: Any) -> RedisBackend:
        """Make a worker of whose end somebody else takes care."""
        return RedisBackend(url or self.url, **{"app": self.app, "lease": 60.0, **options})

    @asynccontextmanager
    async def worker(self, url: str = "", **options: Any) -> AsyncIterator[RedisBackend]:
        """Make a worker that dies with the check, unless it left or was killed before."""
        worker = self.backend(url, **options)
        try:
            yield worker
        finally:
            await die(worker)

    async def tell(self, *command: str | int) -> Any:
        """Send the server a command."""
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def end_lease(self, worker: RedisBackend) -> None:
        """Freeze a worker for longer than its lease, in no time."""
        worker._lease.stop()
        await self.tell("ZADD", self.keys.leases, 0, worker._consumer)


async def die(worker: RedisBackend) -> None:
    """End a worker as a crash does: it says nothing any more."""
    worker._lease.stop()
    await worker._lease.ended()
    if worker._session is not None:
        if (watching := worker._session.reader._watching) is not None:
            watching.cancel()
            await asyncio.wait({watching})
        await worker._session.link.aclose()


def orders(number: int) -> list[Event]:
    """Each of these leads to two items. The first one fails at first."""
    return [Event(event_type="ORDER", payload={"path": str(n), "fails": n == 0}) for n in range(number)]


def handled(delivery: Delivery) -> Settlement:
    """Say how the handling of a delivery ends."""
    path, kind = delivery.event.payload["path"], delivery.event.event_type
    if kind == "ITEM":
        return Settlement(delivery)
    if delivery.event.payload["fails"] and delivery.origin == "live":
        return Settlement(delivery, retries=[Retry(organ="Organ", delay=0.001)])
    items = [Event(event_type="ITEM", payload={"path": f"{path}.{part}"}) for part in range(2)]
    return Settlement(delivery, emitted=items)


async def lost_and_doubled(worker: RedisBackend, number: int) -> tuple[int, int]:
    """Count what is kept of so many orders and their items."""
    kept = Counter([event.payload["path"] async for event in worker.admin.history()])
    wanted = {path for n in range(number) for path in (f"{n}", f"{n}.0", f"{n}.1")}
    assert kept.keys() <= wanted
    return len(wanted - kept.keys()), kept.total() - len(kept)


async def once(call: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Make a call."""
    return await call()


async def until_answered(call: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Make a call, and make it again when its reply was lost."""
    while True:
        try:
            return await call()
        except BackendUnavailable:
            await asyncio.sleep(0)


async def work(
    worker: RedisBackend, looker: RedisBackend, make: Callable[..., Awaitable[Any]] = once, *, limit: int = 2
) -> int:
    """Handle all that there is.

    Args:
        worker: Who does it.
        looker: Through whom to see whether there is more.
        make: Makes the calls.
        limit: How many deliveries to pull at once.

    Returns:
        How many settlements were refused.
    """
    refused, progress = 0, time.monotonic()
    while True:
        taken: Sequence[Delivery] = await make(lambda: worker.pull(limit=limit, timeout=0))
        for delivery in taken:
            ended = handled(delivery)
            (is_ours,) = await make(lambda: worker.settle(ended))  # noqa: B023
            refused += not is_ours
            progress = time.monotonic()
        if not taken and (await looker.admin.stats()).idle:
            return refused
        assert time.monotonic() < progress + PATIENCE, "something is left, and nobody gets it"


async def pulled(worker: RedisBackend, limit: int = 10) -> list[Any]:
    """Pull at once, and return the paths of what came."""
    return [delivery.event.payload["path"] for delivery in await worker.pull(limit=limit, timeout=0)]


def cut_reply(proxy: Proxy, number: int) -> None:
    """Lose the reply of the call with this number, from now on, and no other; of none, if it is 0.

    A first round without any cut lets the server know the scripts, so that each later call is one.
    """
    numbers = count(1)
    proxy.cut.clear()
    proxy.cuts = lambda name: name not in _HANDSHAKE and next(numbers) == number


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


# --- the step --------------------------------------------------------------------------------------------


async def a_worker_may_die_after_any_of_its_calls(stand: Stand) -> None:
    async with proxy_before(port_of(stand.url)) as proxy:
        for number in count():
            part = stand.part(number)
            async with part.worker(proxy.url) as mortal, part.worker() as successor:
                await successor.enqueue(*orders(2))
                cut_reply(proxy, number)
                try:
                    await work(mortal, successor)
                except BackendUnavailable:
                    await die(mortal)
                    await part.end_lease(mortal)
                await work(successor, successor, limit=1)
                found = await lost_and_doubled(successor, 2)
                assert found == (0, 0), f"dead after call {number}, {dict(proxy.cut)}: lost, doubled {found}"
                if number and not proxy.cut:
                    return


async def a_call_whose_reply_was_lost_may_be_repeated(stand: Stand) -> None:
    async with proxy_before(port_of(stand.url)) as proxy:
        for number in count():
            part = stand.part(number)
            async with part.worker(proxy.url) as worker, part.worker() as looker:
                begin = orders(2)
                cut_reply(proxy, number)
                await until_answered(lambda: worker.enqueue(*begin))  # noqa: B023
                refused = await work(worker, looker, until_answered)
                found = await lost_and_doubled(looker, 2)
                assert found == (0, 0), f"repeated call {number}, {dict(proxy.cut)}: lost, doubled {found}"
                assert not refused, f"repeated call {number}, {dict(proxy.cut)}: a settlement was refused"
                if number and not proxy.cut:
                    return


async def of_a_frozen_worker_and_its_successor_one_settles(stand: Stand) -> None:
    for number in range(2):
        part = stand.part(number)
        async with part.worker() as frozen, part.worker() as successor:
            await frozen.enqueue(orders(2)[1])
            (late,) = await frozen.pull(timeout=0)
            await part.end_lease(frozen)
            (taken,) = await successor.pull(timeout=0)
            ways = [(frozen, late), (successor, taken)]
            answers = [await one.settle(handled(delivery)) for one, delivery in (ways if number else ways[::-1])]
            items = [event async for event in successor.admin.history(event_type="ITEM")]
            assert (answers, len(items)) == ([[True], [False]], 2)


async def nothing_of_a_refused_step_is_done(stand: Stand) -> None:
    async with stand.worker() as worker:
        await worker.enqueue(orders(2)[1])
        (delivery,) = await worker.pull(timeout=0)
        await stand.tell("SET", stand.keys.dead, "somebody else's")
        ended = Settlement(delivery, emitted=handled(delivery).emitted, dead=[Failure(reason="give_up")])
        try:
            await worker.settle(ended)
        except BackendError:
            pending = await stand.tell("XPENDING", stand.keys.events, "default")
            kept = await stand.tell("XLEN", stand.keys.events)
            assert (pending["pending"], kept) == (1, 1), "a part was done"
        else:
            raise AssertionError("it was not refused")
        await stand.tell("DEL", stand.keys.dead)
        assert await worker.settle(ended) == [True]


async def a_full_server_lets_what_it_has_be_settled(stand: Stand) -> None:
    async with stand.worker() as worker:
        await worker.enqueue(*orders(2))
        deliveries = await worker.pull(limit=2, timeout=0)
        await stand.tell("CONFIG", "SET", "maxmemory", 1)
        try:
            answers = await worker.settle(*map(handled, deliveries))
        except BackendFull:
            answers = ()
        finally:
            await stand.tell("CONFIG", "SET", "maxmemory", 0)
        assert answers == [True, True]


async def what_was_lost_with_its_group_was_not_settled(stand: Stand) -> None:
    async with stand.worker() as worker:
        assert await pulled(worker) == []
        await worker.enqueue(*orders(1))
        (delivery,) = await worker.pull(timeout=0)
        await stand.tell("XGROUP", "DESTROY", stand.keys.events, "default")
        assert await worker.settle(handled(delivery)) == [False]
        assert await pulled(worker) == ["0"]


# --- recovery --------------------------------------------------------------------------------------------


async def what_a_living_worker_holds_is_left_to_it(stand: Stand) -> None:
    async with stand.worker() as holder, stand.worker() as other:
        await holder.enqueue(*orders(2))
        assert await pulled(holder) == ["0", "1"]
        assert await pulled(other) == []


async def a_worker_stays_alive_while_it_handles(stand: Stand) -> None:
    lease = 1.5
    async with stand.worker(lease=lease) as holder, stand.worker() as other:
        await holder.enqueue(*orders(1))
        assert await pulled(holder) == ["0"]
        assert not await other.pull(timeout=1.5 * lease)


async def what_was_handed_over_unasked_is_found(stand: Stand) -> None:
    async with stand.worker(lease=0.6) as worker, stand.worker() as looker:
        await worker.pull(timeout=0)
        await worker.enqueue(*orders(2))
        # The server does a call that was given up long ago.
        read = ("XREADGROUP", "GROUP", "default", worker._consumer, "COUNT", 1, "STREAMS", stand.keys.events, ">")
        await stand.tell(*read)
        assert not await work(worker, looker)


async def whoever_reads_after_its_removal_has_a_lease_that_ends(stand: Stand) -> None:
    async with stand.worker() as worker:
        await worker.pull(timeout=0)
        await worker.enqueue(*orders(1))
        await stand.tell("XREADGROUP", "GROUP", "default", "late-1-a", "STREAMS", stand.keys.events, ">")
        client = worker._connector.blocking_client()
        await asyncio.to_thread(worker._lease._renew, client)
        client.close()
        assert await stand.tell("ZSCORE", stand.keys.leases, "late-1-a"), "nobody will ever take over"


async def a_worker_that_leaves_hands_back_what_it_holds(stand: Stand) -> None:
    async with stand.worker() as leaves, stand.worker() as stays:
        await leaves.enqueue(*orders(3))
        assert await pulled(leaves, 2) == ["0", "1"]
        await leaves.aclose()
        assert await pulled(stays) == ["0", "1", "2"]


async def nobody_hands_back_what_another_holds_now(stand: Stand) -> None:
    async with stand.worker() as frozen, stand.worker() as successor, stand.worker() as third:
        await frozen.enqueue(*orders(1))
        late = await frozen.pull(timeout=0)
        await stand.end_lease(frozen)
        assert await pulled(successor) == ["0"]
        await frozen.release(*late)
        assert await pulled(third) == []


async def what_was_not_started_in_time_is_not_started(stand: Stand) -> None:
    async with stand.worker(lease=0.3) as worker:
        await worker.enqueue(*orders(1))
        (delivery,) = await worker.pull(timeout=0)
        worker._lease.stop()
        deadline = time.monotonic() + PATIENCE
        while worker.may_start(delivery):
            assert time.monotonic() < deadline, "others may have it by now, and it may be started"
            await asyncio.sleep(0.01)


async def an_event_that_kills_becomes_one_dead_letter(stand: Stand) -> None:
    async with stand.worker() as survivor:
        await survivor.enqueue(orders(2)[1])
        for _ in range(2):
            async with stand.worker(max_recoveries=1) as victim:
                (delivery,) = await victim.pull(timeout=0)
                await stand.end_lease(victim)
        async with stand.worker(max_recoveries=1) as buries:
            assert await pulled(buries) == []
            assert await pulled(buries) == []
            assert await victim_is_refused(delivery, stand)
            stats = await buries.admin.stats()
        assert (stats.dead, stats.pending, stats.history) == (1, 0, 1)


async def victim_is_refused(delivery: Delivery, stand: Stand) -> bool:
    """Settle, as a worker would that came back after it was taken for dead."""
    async with stand.worker() as revived:
        revived._held.add(delivery.receipt)  # type: ignore[arg-type]
        return await revived.settle(handled(delivery)) == [False]


# --- what goes again -------------------------------------------------------------------------------------


async def a_retry_is_never_early(stand: Stand) -> None:
    async with stand.worker() as worker:
        await worker.enqueue(*orders(1))
        (delivery,) = await worker.pull(timeout=0)
        await worker.settle(Settlement(delivery, retries=[Retry(organ="Organ", delay=60.0)]))
        assert await pulled(worker) == []


# --- what is forgotten -----------------------------------------------------------------------------------


async def what_some_group_needs_is_kept(stand: Stand) -> None:
    ways: Iterable[dict[str, Any]] = ({"max_length": 0}, {"before": datetime.now(UTC) + timedelta(days=1)})
    for number, how in enumerate(ways):
        part = stand.part(number)
        async with part.worker(group="ahead") as ahead, part.worker(group="behind") as behind:
            await ahead.pull(timeout=0)
            await behind.pull(timeout=0)
            await ahead.enqueue(*(Event(event_type="ITEM", payload={"path": str(n)}) for n in range(5)))
            assert len(await ahead.settle(*map(Settlement, await ahead.pull(limit=5, timeout=0)))) == 5
            deliveries = await behind.pull(limit=3, timeout=0)
            assert len(deliveries) == 3
            await behind.settle(Settlement(deliveries[0]), Settlement(deliveries[2]))

            await ahead.admin.trim(**how)
            assert await behind.settle(Settlement(deliveries[1])) == [True]
            kept = [event.payload["path"] async for event in ahead.admin.history()]
            assert kept == ["1", "2", "3", "4"], "what was pending, and what is behind it"
            await ahead.admin.trim(**how)
            assert await pulled(behind) == ["3", "4"]


CHECKS: tuple[Callable[[Stand], Awaitable[None]], ...] = (
    a_worker_may_die_after_any_of_its_calls,
    a_call_whose_reply_was_lost_may_be_repeated,
    of_a_frozen_worker_and_its_successor_one_settles,
    nothing_of_a_refused_step_is_done,
    a_full_server_lets_what_it_has_be_settled,
    what_was_lost_with_its_group_was_not_settled,
    what_a_living_worker_holds_is_left_to_it,
    a_worker_stays_alive_while_it_handles,
    what_was_handed_over_unasked_is_found,
    whoever_reads_after_its_removal_has_a_lease_that_ends,
    a_worker_that_leaves_hands_back_what_it_holds,
    nobody_hands_back_what_another_holds_now,
    what_was_not_started_in_time_is_not_started,
    an_event_that_kills_becomes_one_dead_letter,
    a_retry_is_never_early,
    what_some_group_needs_is_kept,
)

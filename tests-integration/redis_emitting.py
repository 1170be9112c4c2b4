"""Quick checks of what is emitted: by many at once, by several Organs, and of entries that hold no event.

They are of the kind of `redis_checks`; their mistakes are in `redis_emitting_mutants`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from redis_checks import Stand, cut_reply, orders, port_of, pulled, until_answered
from redis_proxy import proxy_before
from redis_waiting import in_time

from necrostack import Event, Organ, Spine
from necrostack.errors import BackendError, BackendFull, BackendUnavailable
from necrostack_redis import RedisBackend
from necrostack_redis.gathering import Gatherer


async def kept_by(worker: RedisBackend) -> list[Any]:
    return [event.payload["path"] async for event in worker.admin.history()]


def emit_together(worker: RedisBackend, number: int) -> list[asyncio.Task[None]]:
    """Begin so many calls to enqueue: the first goes alone, and those that come meanwhile go together after it."""
    return [asyncio.create_task(worker.enqueue(event)) for event in orders(number)]


def gatherer_of(worker: RedisBackend) -> Gatherer:
    assert worker._session is not None
    return worker._session.gatherer


# --- together ----------------------------------------------------------------------------------------------


async def each_of_those_who_emit_together_gets_its_own_answer(stand: Stand) -> None:
    # More than go at once, and more than there is room for.
    async with stand.worker(max_size=250) as worker:
        calls = emit_together(worker, 300)
        answers = await in_time(asyncio.gather(*calls, return_exceptions=True), "some get no answer")
        assert [type(answer) for answer in answers] == [type(None)] * 250 + [BackendFull] * 50
        assert await kept_by(worker) == [str(number) for number in range(250)]


async def those_who_emit_together_may_lose_the_reply(stand: Stand) -> None:
    async with proxy_before(port_of(stand.url)) as proxy:
        for number in count():
            part = stand.part(number)
            async with part.worker(proxy.url) as worker, part.worker() as looker:
                cut_reply(proxy, number)
                calls = [until_answered(lambda event=event: worker.enqueue(event)) for event in orders(5)]  # type: ignore[misc]
                await asyncio.gather(*calls)
                found = Counter(await kept_by(looker))
                assert found == Counter("01234"), f"repeated call {number}, {dict(proxy.cut)}: {found}"
                if number and not proxy.cut:
                    return


async def whoever_emits_is_told_what_was_not_kept(stand: Stand) -> None:
    async with (
        proxy_before(port_of(stand.url)) as proxy,
        stand.worker(proxy.url) as worker,
        stand.worker() as looker,
    ):
        await worker.enqueue(Event(event_type="ORDER", payload={"path": "first"}))
        calls = emit_together(worker, 5)
        await asyncio.sleep(0)
        await proxy.refuse()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert any(isinstance(answer, BackendUnavailable) for answer in answers)
        told = {str(number) for number, answer in enumerate(answers) if answer is None}
        assert told <= {*await kept_by(looker)}, "what was told to be kept is lost"


async def who_is_cancelled_takes_nobody_along(stand: Stand) -> None:
    async with stand.worker() as worker:
        calls = emit_together(worker, 8)
        await asyncio.sleep(0)
        for call in calls[:3]:  # one that is on its way, and two that wait for it
            call.cancel()
        await in_time(asyncio.wait(calls[:3]), "the cancelled stay")
        for _ in range(100):  # by turns of the event loop, so that there is no answer yet
            await asyncio.sleep(0)
            if not gatherer_of(worker)._waiting:
                break
        calls[4].cancel()  # one that is on its way with others
        answers = await in_time(asyncio.gather(*calls, return_exceptions=True), "others wait for ever")
        assert answers[3] is None
        assert answers[5:] == [None] * 3
        found = Counter(await kept_by(worker))
        assert {"3", "5", "6", "7"} <= found.keys()
        assert set(found.values()) == {1}


async def a_call_that_was_refused_may_be_made_again(stand: Stand) -> None:
    async with stand.worker() as worker:
        (event,) = orders(1)
        await stand.tell("SET", stand.keys.events, "somebody else's")
        try:
            await worker.enqueue(event)
        except BackendError:
            await stand.tell("DEL", stand.keys.events)
        await worker.enqueue(event)
        assert await kept_by(worker) == ["0"]


async def a_call_that_was_kept_is_so_on_a_full_server(stand: Stand) -> None:
    async with stand.worker() as worker:
        (event,) = orders(1)
        await worker.enqueue(event)
        await stand.tell("CONFIG", "SET", "maxmemory", 1)
        try:
            (told,) = await asyncio.gather(worker.enqueue(event), return_exceptions=True)
        finally:
            await stand.tell("CONFIG", "SET", "maxmemory", 0)
        assert told is None, "it is kept, and told not to be"
        await worker.enqueue(event)
        assert await kept_by(worker) == ["0"]


# --- Organs ------------------------------------------------------------------------------------------------


class Emitting(Organ):
    listens_to = ["ORDER"]

    def handle(self, event: Event) -> Event:
        return Event(event_type="ITEM", payload={"path": self.name})


async def what_all_that_handle_an_event_emit_is_kept(stand: Stand) -> None:
    async with stand.worker() as worker:
        await Spine([Emitting(name="one"), Emitting(name="two")], worker).run_until_idle(*orders(1))
        assert await kept_by(worker) == ["0", "one", "two"]


async def what_is_no_event_becomes_a_dead_letter(stand: Stand) -> None:
    for number, is_run in enumerate((False, True)):
        part = stand.part(number)
        async with part.worker() as worker:
            await part.tell("XADD", part.keys.events, "*", "nobody", "knows")
            if is_run:
                await Spine([Emitting()], worker).run_until_idle()
            else:
                assert await pulled(worker) == []
            stats = await worker.admin.stats()
            assert (stats.dead, stats.pending, stats.queued) == (1, 0, 0), "in a run" if is_run else "in a pull"


CHECKS: tuple[Callable[[Stand], Awaitable[None]], ...] = (
    each_of_those_who_emit_together_gets_its_own_answer,
    those_who_emit_together_may_lose_the_reply,
    whoever_emits_is_told_what_was_not_kept,
    who_is_cancelled_takes_nobody_along,
    a_call_that_was_refused_may_be_made_again,
    a_call_that_was_kept_is_so_on_a_full_server,
    what_all_that_handle_an_event_emit_is_kept,
    what_is_no_event_becomes_a_dead_letter,
)

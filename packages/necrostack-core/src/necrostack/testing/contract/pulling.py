"""Pull: in which order events come, who gets them, and what a pull that waits does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from necrostack.backend import Backend
from necrostack.delivery import Delivery
from necrostack.errors import ConfigurationError
from necrostack.event import Event
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import (
    expect,
    expect_empty,
    expect_equal,
    expect_error,
    expect_once_each,
    numbers,
    pull_all,
    pull_one,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import numbered, several


@check()
async def check_events_come_in_the_order_in_which_they_were_enqueued(factory: BackendFactory) -> None:
    """First in, first out, over calls and over pulls of any size."""
    backend = await factory.make()
    events = several(100)
    await backend.enqueue(*events[:40])
    for event in events[40:60]:
        await backend.enqueue(event)
    await backend.enqueue(*events[60:])

    taken = await pull_all(factory, backend, 100, limit=7)

    expect_equal(numbers(taken), list(range(100)), "the order")
    await expect_empty(backend, "after all were pulled")


@check()
async def check_a_new_event_is_delivered_live_for_the_first_time_and_to_all(factory: BackendFactory) -> None:
    """A delivery says what it is: attempt 1, live, for every Organ that listens."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))

    delivery = await pull_one(factory, backend)

    said = (delivery.attempt, delivery.origin, delivery.organs, delivery.attempts)
    expect_equal(said, (1, "live", None, ()), "attempt, origin, organs and attempts")


@check()
async def check_a_pull_hands_over_at_most_its_limit(factory: BackendFactory) -> None:
    """One event unless asked for more, and never more than asked for."""
    backend = await factory.make()
    await backend.enqueue(*several(10))

    expect_equal(len(await backend.pull(timeout=5 * factory.unit)), 1, "deliveries without a limit")
    for limit in (1, 2, 3):
        taken = await backend.pull(limit=limit, timeout=5 * factory.unit)
        expect(1 <= len(taken) <= limit, f"pull(limit={limit}) handed over {len(taken)}")


@check()
async def check_a_limit_that_is_no_count_is_refused(factory: BackendFactory) -> None:
    """Zero or fewer deliveries is a mistake of the caller, not an empty queue."""
    backend = await factory.make()

    await expect_error(backend.pull(limit=0), ConfigurationError)


@check()
async def check_a_pull_without_a_timeout_only_looks(factory: BackendFactory) -> None:
    """`timeout=0` returns without waiting."""
    backend = await factory.make()
    waiting = asyncio.create_task(factory.wait(5 * factory.unit))

    taken = await backend.pull(timeout=0)

    expect_equal(list(taken), [], "what an empty backend hands over")
    expect(not waiting.done(), "pull(timeout=0) waited")
    waiting.cancel()


@check()
async def check_a_pull_waits_for_its_timeout_and_then_returns_nothing(factory: BackendFactory) -> None:
    """An idle consumer blocks instead of asking again and again."""
    backend = await factory.make()
    started = backend.clock.monotonic()

    taken = await backend.pull(timeout=3 * factory.unit)

    expect_equal(list(taken), [], "what an empty backend hands over")
    waited = backend.clock.monotonic() - started
    expect(waited >= 2.5 * factory.unit, f"pull(timeout={3 * factory.unit:g}) returned after {waited:g} s")


@check()
async def check_a_pull_that_waits_gets_what_is_enqueued_meanwhile(factory: BackendFactory) -> None:
    """A blocked pull wakes for an event."""
    backend = await factory.make()
    pulling = asyncio.create_task(backend.pull(timeout=20 * factory.unit))
    await factory.wait(factory.unit)

    await backend.enqueue(numbered(7))

    await factory.wait(factory.unit)
    woken = pulling.done()
    taken = await pulling
    expect(woken, "a pull that waited did not wake for a new event")
    expect_equal(numbers(taken), [7], "what it got")


@check()
async def check_pulls_that_wait_together_get_each_event_once(factory: BackendFactory) -> None:
    """Consumers compete: an event goes to one of them."""
    backend = await factory.make()
    pulls = [asyncio.create_task(backend.pull(timeout=3 * factory.unit)) for _ in range(5)]
    await factory.wait(factory.unit)
    events = several(3)

    await backend.enqueue(*events)

    taken = [delivery.event for pulled in await asyncio.gather(*pulls) for delivery in pulled]
    expect_once_each(taken, events, "five waiting pulls")


@check()
async def check_many_producers_and_consumers_lose_and_double_nothing(factory: BackendFactory) -> None:
    """Ten producers and eight consumers at once: every event is settled exactly once."""
    backend = await factory.make()
    events = [several(5) for _ in range(100)]
    sent = [event for call in events for event in call]
    settled: list[Event] = []

    async def produce(calls: list[list[Event]]) -> None:
        for call in calls:
            await backend.enqueue(*call)

    async def consume(number: int) -> None:
        while taken := await backend.pull(limit=1 + number % 3, timeout=3 * factory.unit):
            for delivery in taken:
                await _give_way(number)
                settled.extend(await _acked(backend, [delivery]))

    producers = [produce(events[start::10]) for start in range(10)]
    await asyncio.gather(*producers, *(consume(number) for number in range(8)))

    expect_once_each(settled, sent, "ten producers, eight consumers")
    expect((await backend.admin.stats()).idle, "something is left after everything was settled")


@check()
async def check_a_cancelled_pull_loses_nothing(factory: BackendFactory) -> None:
    """150 pulls, each cancelled at another moment around the arrival of an event."""
    backend = await factory.make()
    events = several(150)
    settled: list[Event] = []

    for number, event in enumerate(events):
        pulling = asyncio.create_task(backend.pull(timeout=20 * factory.unit))
        await _give_way(number % 5)
        await backend.enqueue(event)
        await _give_way(number // 5 % 5)
        pulling.cancel()
        await asyncio.wait({pulling})
        if not pulling.cancelled():
            settled += await _acked(backend, pulling.result())

    # What a durable backend handed to a pull that was cancelled on the way comes back when it is recovered.
    patience = factory.recovery if "durable" in factory.features else factory.unit
    while taken := await backend.pull(limit=100, timeout=patience):
        settled += await _acked(backend, taken)
    expect_once_each(settled, events, "150 cancelled pulls")


async def _acked(backend: Backend, deliveries: Sequence[Delivery]) -> list[Event]:
    return [delivery.event for delivery in deliveries if await backend.ack(delivery)]


async def _give_way(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


@check()
async def check_sealed_deliveries_are_those_that_a_pull_hands_over(factory: BackendFactory) -> None:
    """What a Spine pulls: in the same order, once, and with events that may be asked for at any time."""
    backend = await factory.make()
    events = several(6)
    await backend.enqueue(*events)

    sealed = list(await backend.pull_sealed(limit=4, timeout=30.0))
    rest = await pull_all(factory, backend, 6 - len(sealed))

    for _ in range(2):
        expect_equal([each.event for each in (*sealed, *rest)], events, "the events")
        for each in sealed:
            each.seal()
    expect_equal([await backend.ack(each) for each in (*sealed, *rest)], [True] * 6, "the answers")
    await expect_empty(backend, "after all were settled")

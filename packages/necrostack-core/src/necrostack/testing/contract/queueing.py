"""Enqueue and pull: what is kept, in which order it comes, and who gets it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from necrostack.backend import Backend
from necrostack.delivery import Delivery, Failure, Retry, Settlement
from necrostack.errors import BackendFull, ConfigurationError, EventError, EventTooLarge
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
from necrostack.testing.contract.samples import misfit, numbered, ordered, several


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
async def check_an_enqueue_of_nothing_keeps_nothing(factory: BackendFactory) -> None:
    """No events, no effect."""
    backend = await factory.make()

    await backend.enqueue()

    await expect_empty(backend, "after enqueue()")


@check()
async def check_a_negative_delay_is_refused(factory: BackendFactory) -> None:
    """A delay is a number of seconds from now on."""
    backend = await factory.make()

    for delay in (-1.0, float("inf"), float("nan")):
        await expect_error(backend.enqueue(numbered(1), delay=delay), ConfigurationError)

    await expect_empty(backend, "after refused delays")


@check()
async def check_an_enqueue_keeps_all_or_nothing(factory: BackendFactory) -> None:
    """One event that is not what its type says keeps the others of the call out, too."""
    backend = await factory.make()

    for events in ([numbered(1), misfit()], [misfit(), numbered(1)], [numbered(1), misfit(), numbered(2)]):
        await expect_error(backend.enqueue(*events), EventError)

    await expect_empty(backend, "after refused calls")
    expect_equal((await backend.admin.stats()).history, 0, "the history after refused calls")


@check()
async def check_an_enqueue_of_too_large_an_event_keeps_nothing(factory: BackendFactory) -> None:
    """The size limit is checked where bytes exist, before anything is kept."""
    backend = await factory.make(max_event_size=1_000)

    large = numbered(2, text="ü" * 600)
    await expect_error(backend.enqueue(numbered(1), large), EventTooLarge)

    await expect_empty(backend, "after a refused call")
    await backend.enqueue(numbered(3, text="ü" * 400))
    expect_equal(numbers(await pull_all(factory, backend, 1)), [3], "what is just small enough")


@check()
async def check_an_identical_enqueue_is_kept_once(factory: BackendFactory) -> None:
    """A call whose answer was lost may be made again, also when its events were handled meanwhile."""
    backend = await factory.make()
    events = [numbered(1), ordered(2)]

    await backend.enqueue(*events)
    await backend.enqueue(*events)
    for delivery in await pull_all(factory, backend, 2):
        await backend.ack(delivery)
    await backend.enqueue(*events)

    await expect_empty(backend, "after the third identical call")


@check()
async def check_copies_in_one_enqueue_are_all_kept(factory: BackendFactory) -> None:
    """What one call says twice, it means twice."""
    backend = await factory.make()
    event = numbered(1)

    await backend.enqueue(event, event, event)

    expect_equal(numbers(await pull_all(factory, backend, 3)), [1, 1, 1], "copies")


@check()
async def check_the_same_ids_with_other_content_are_another_enqueue(factory: BackendFactory) -> None:
    """Only the identical call is a repetition: an event may be corrected, or come along with another one."""
    backend = await factory.make()
    event = numbered(1)
    corrected = event.model_copy(update={"payload": numbered(2).payload})

    await backend.enqueue(event)
    await backend.enqueue(corrected)
    await backend.enqueue(event, numbered(3))
    await backend.enqueue(event)

    expect_equal(numbers(await pull_all(factory, backend, 4)), [1, 2, 1, 3], "what was kept")
    await expect_empty(backend, "after a call that was identical to the first")


@check("bounded")
async def check_a_full_backend_refuses_whole_calls(factory: BackendFactory) -> None:
    """`max_size` refuses what does not fit, all of it, and takes what fits."""
    backend = await factory.make(max_size=3)
    await backend.enqueue(*several(2))

    await expect_error(backend.enqueue(numbered(7), numbered(8)), BackendFull)
    await backend.enqueue(numbered(2))
    await expect_error(backend.enqueue(numbered(9)), BackendFull)
    await expect_error(backend.enqueue(numbered(9), delay=factory.unit), BackendFull)

    expect_equal(numbers(await pull_all(factory, backend, 3)), [0, 1, 2], "what was kept")
    await expect_empty(backend, "after refused calls")


@check("bounded")
async def check_a_refused_enqueue_may_be_made_again(factory: BackendFactory) -> None:
    """What was refused was not kept, so making the call again is no repetition."""
    backend = await factory.make(max_size=1)
    await backend.enqueue(numbered(1))
    event = numbered(2)
    await expect_error(backend.enqueue(event), BackendFull)
    await backend.ack(await pull_one(factory, backend))

    await backend.enqueue(event)

    expect_equal(numbers(await pull_all(factory, backend, 1)), [2], "what was kept the second time")


@check("bounded")
async def check_an_enqueue_may_be_repeated_when_it_filled_the_backend(factory: BackendFactory) -> None:
    """The repetition of a call that was kept is answered as it was, also when nothing more fits."""
    backend = await factory.make(max_size=2)
    events = several(2)
    await backend.enqueue(*events)

    await backend.enqueue(*events)

    expect_equal(numbers(await pull_all(factory, backend, 2)), [0, 1], "what was kept")
    await expect_empty(backend, "after the repetition")


@check("bounded")
async def check_a_full_backend_still_settles(factory: BackendFactory) -> None:
    """What handling leads to is never refused for size, or a full backend could not be drained."""
    backend = await factory.make(max_size=2)
    await backend.enqueue(*several(2))
    delivery = await pull_one(factory, backend)
    await backend.enqueue(numbered(2))

    ours = await backend.settle(
        Settlement(
            delivery,
            emitted=several(5),
            retries=[Retry(organ="Billing", delay=0.0)],
            dead=[Failure(reason="given up", organ="Audit")],
        )
    )

    expect_equal(list(ours), [True], "the answer of a full backend")
    expect_equal((await backend.admin.stats()).dead, 1, "dead letters")
    await pull_all(factory, backend, 8)


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
                if await backend.ack(delivery):
                    settled.append(delivery.event)

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
        pulling = asyncio.create_task(backend.pull(limit=2, timeout=20 * factory.unit))
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

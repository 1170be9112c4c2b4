"""What is due later: delayed events and retries. Never early, and never in the way of others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from necrostack.delivery import Attempt, Retry, Settlement
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import (
    expect,
    expect_empty,
    expect_equal,
    numbers,
    pull_all,
    pull_one,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import numbered, several

FAILED = datetime(2026, 3, 4, 5, 6, 7, 891, tzinfo=UTC)


@check()
async def check_a_delayed_event_is_never_early(factory: BackendFactory) -> None:
    """It is scheduled until its delay has passed, and then it comes."""
    backend = await factory.make()
    started = backend.clock.monotonic()
    await backend.enqueue(numbered(1), delay=5 * factory.unit)

    for _ in range(3):
        await expect_empty(backend, "before an event is due")
        expect_equal((await backend.admin.stats()).scheduled, 1, "scheduled before an event is due")
        await factory.wait(factory.unit)
    await pull_one(factory, backend)

    waited = backend.clock.monotonic() - started
    expect(waited >= 4.9 * factory.unit, f"an event delayed by {5 * factory.unit:g} s came after {waited:g} s")


@check()
async def check_a_pull_that_waits_gets_what_falls_due(factory: BackendFactory) -> None:
    """Nobody has to enqueue something for a due event to come."""
    backend = await factory.make()
    await backend.enqueue(numbered(1), delay=3 * factory.unit)
    pulling = asyncio.create_task(backend.pull(timeout=30 * factory.unit))

    await factory.wait(10 * factory.unit)

    woken = pulling.done()
    expect_equal(numbers(await pulling), [1], "what the waiting pull got")
    expect(woken, "a pull that waited did not wake for what fell due")


@check()
async def check_due_events_come_in_the_order_in_which_they_fall_due(factory: BackendFactory) -> None:
    """Not in the order in which they were enqueued; those of one call in the call's order."""
    backend = await factory.make()
    await backend.enqueue(numbered(3), delay=4 * factory.unit)
    await backend.enqueue(*several(3), delay=2 * factory.unit)
    await factory.wait(6 * factory.unit)

    expect_equal(numbers(await pull_all(factory, backend, 4)), [0, 1, 2, 3], "the order")


@check()
async def check_waiting_for_what_is_due_later_blocks_nobody(factory: BackendFactory) -> None:
    """Live events overtake delayed ones."""
    backend = await factory.make()
    await backend.enqueue(numbered(1), delay=5 * factory.unit)
    await backend.enqueue(numbered(2))

    expect_equal(numbers([await pull_one(factory, backend)]), [2], "what comes first")
    await expect_empty(backend, "before the delayed event is due")


@check()
async def check_a_retry_is_for_one_organ_later_and_remembers_its_failures(factory: BackendFactory) -> None:
    """Attempt 2, to the Organ that failed alone, with what failed before, and never early."""
    backend = await factory.make()
    event = numbered(1)
    await backend.enqueue(event)
    first = Attempt(FAILED, "TimeoutError: no answer", 4 * factory.unit)
    retry = Retry(organ="Billing", delay=4 * factory.unit, attempts=(first,))
    started = backend.clock.monotonic()

    await backend.settle(Settlement(await pull_one(factory, backend), retries=[retry]))

    await factory.wait(2 * factory.unit)
    await expect_empty(backend, "before a retry is due")
    delivery = await pull_one(factory, backend)
    waited = backend.clock.monotonic() - started
    expect(waited >= 3.9 * factory.unit, f"a retry after {4 * factory.unit:g} s came after {waited:g} s")
    expect_equal(delivery.event, event, "the event of a retry")
    said = (delivery.attempt, delivery.origin, delivery.organs, delivery.attempts)
    expect_equal(said, (2, "retry", ("Billing",), (first,)), "attempt, origin, organs and attempts")


@check()
async def check_a_retry_of_a_retry_counts_on(factory: BackendFactory) -> None:
    """Each failure is one attempt more, and history grows."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    history: tuple[Attempt, ...] = ()

    for number in range(1, 6):
        delivery = await pull_one(factory, backend)
        expect_equal((delivery.attempt, delivery.attempts), (number, history), "attempt and the failures before it")
        history += (Attempt(FAILED, f"ValueError: attempt {number}", 0.0),)
        await backend.settle(Settlement(delivery, retries=[Retry(organ="Billing", delay=0.0, attempts=history)]))


@check()
async def check_organs_that_fail_together_are_retried_apart(factory: BackendFactory) -> None:
    """Each at its own time; the others of the event are left alone."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    retries = [Retry(organ="Billing", delay=4 * factory.unit), Retry(organ="Audit", delay=2 * factory.unit)]

    await backend.settle(Settlement(await pull_one(factory, backend), retries=retries))

    organs = [delivery.organs for delivery in await pull_all(factory, backend, 2)]
    expect_equal(organs, [("Audit",), ("Billing",)], "the Organs, in the order in which they came")
    await expect_empty(backend, "after both retries")


@check()
async def check_copies_of_an_event_are_retried_apart(factory: BackendFactory) -> None:
    """Two deliveries of one event that fail alike leave two retries."""
    backend = await factory.make()
    event = numbered(1)
    await backend.enqueue(event, event)
    retry = Retry(organ="Billing", delay=factory.unit)

    await backend.settle(*(Settlement(delivery, retries=[retry]) for delivery in await pull_all(factory, backend, 2)))

    await pull_all(factory, backend, 2)


@check()
async def check_a_retry_without_delay_comes_at_once(factory: BackendFactory) -> None:
    """Zero seconds are over when they begin."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))

    await backend.settle(Settlement(await pull_one(factory, backend), retries=[Retry(organ="Billing", delay=0.0)]))

    expect_equal((await pull_one(factory, backend)).attempt, 2, "the attempt")

"""Release, and receipts: what was handed back is nobody's any more, and comes again as it was."""

from __future__ import annotations

import asyncio

from necrostack.delivery import Delivery, Retry, Settlement
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


@check()
async def check_released_deliveries_come_again_at_once_in_order_and_unchanged(
    factory: BackendFactory,
) -> None:
    """They were not started, so they count as the oldest, and not as attempts."""
    backend = await factory.make()
    await backend.enqueue(*several(3))
    taken = await pull_all(factory, backend, 3)
    await backend.enqueue(numbered(3))

    await backend.release(*taken)

    again = await pull_all(factory, backend, 4)
    expect_equal(numbers(again), [0, 1, 2, 3], "the order")
    said = {(delivery.attempt, delivery.origin, delivery.organs) for delivery in again}
    expect_equal(said, {(1, "live", None)}, "attempt, origin and organs")
    await expect_empty(backend, "after the release")


@check()
async def check_a_released_retry_is_the_same_retry(factory: BackendFactory) -> None:
    """With its Organ, its attempt and its history."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    await backend.settle(Settlement(await pull_one(factory, backend), retries=[Retry(organ="Billing", delay=0.0)]))
    retry = await pull_one(factory, backend)

    await backend.release(retry)

    expect_equal(_facts(await pull_one(factory, backend)), _facts(retry), "the retry")


@check()
async def check_a_release_wakes_a_pull_that_waits(factory: BackendFactory) -> None:
    """Others may pull what is released at once."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    delivery = await pull_one(factory, backend)
    pulling = asyncio.create_task(backend.pull(timeout=20 * factory.unit))
    await factory.wait(factory.unit)

    await backend.release(delivery)

    await factory.wait(2 * factory.unit)
    woken = pulling.done()
    expect_equal(numbers(await pulling), [1], "what the waiting pull got")
    expect(woken, "a pull that waited did not wake for what was released")


@check()
async def check_a_receipt_is_stale_after_the_release(factory: BackendFactory) -> None:
    """Who handed a delivery back cannot settle it any more, nor hand it back again."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    released = await pull_one(factory, backend)
    await backend.release(released)
    late = Settlement(released, emitted=[numbered(2)])

    expect_equal(list(await backend.settle(late)), [False], "the answer while nobody has it")
    again = await pull_one(factory, backend)
    expect_equal(list(await backend.settle(late)), [False], "the answer while somebody else has it")
    await backend.release(released)
    await expect_empty(backend, "after a stale release")
    expect_equal(await backend.ack(again), True, "the answer to who has it")


@check()
async def check_a_release_of_what_was_settled_does_nothing(factory: BackendFactory) -> None:
    """What is done stays done."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    delivery = await pull_one(factory, backend)
    await backend.ack(delivery)

    await backend.release(delivery)
    await backend.release()

    await expect_empty(backend, "after the release of what was settled")


@check()
async def check_a_foreign_receipt_is_refused(factory: BackendFactory) -> None:
    """Another backend's delivery, or a made-up one, is not ours to settle, and costs nobody anything."""
    backend, other = await factory.make(), await factory.make()
    await backend.enqueue(numbered(1))
    await other.enqueue(numbered(2))
    mine, theirs = await pull_one(factory, backend), await pull_one(factory, other)
    made_up = [Delivery(numbered(3), receipt=receipt) for receipt in (None, "0-0", object())]

    for foreign in (theirs, *made_up):
        ours = await backend.settle(Settlement(foreign, emitted=[numbered(9)]))
        expect_equal(list(ours), [False], f"the answer to the receipt {foreign.receipt!r}")
        await backend.release(foreign)

    await expect_empty(backend, "after foreign settlements")
    expect_equal(await backend.ack(mine), True, "the answer to its own delivery")
    expect_equal(await other.ack(theirs), True, "the answer of the other backend")


def _facts(delivery: Delivery) -> tuple[object, ...]:
    return (delivery.event, delivery.attempt, delivery.origin, delivery.organs, delivery.attempts)

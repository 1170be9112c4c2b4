"""Closing, and what is left afterwards."""

from __future__ import annotations

import asyncio
import contextlib

from necrostack.delivery import Failure, Settlement
from necrostack.errors import BackendClosed
from necrostack.event import Event
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import (
    dead_letters,
    expect,
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
async def check_a_backend_may_be_closed_again(factory: BackendFactory) -> None:
    """Ten times at once, and once more."""
    backend = await factory.make()
    await backend.enqueue(*several(3))
    await pull_one(factory, backend)

    await asyncio.gather(*(backend.aclose() for _ in range(10)))
    await backend.aclose()


@check()
async def check_a_backend_that_was_never_used_can_be_closed(factory: BackendFactory) -> None:
    """Nothing has to be opened first."""
    await (await factory.make()).aclose()


@check()
async def check_leaving_its_context_closes_a_backend(factory: BackendFactory) -> None:
    """`async with` ends with `aclose`."""
    async with await factory.make() as backend:
        await backend.enqueue(numbered(1))

    await expect_error(backend.enqueue(numbered(2)), BackendClosed)


@check()
async def check_a_closed_backend_says_so(factory: BackendFactory) -> None:
    """Nothing vanishes into it."""
    backend = await factory.make()
    await backend.enqueue(*several(2))
    delivery = await pull_one(factory, backend)
    await backend.aclose()

    await expect_error(backend.enqueue(numbered(3)), BackendClosed)
    await expect_error(backend.pull(timeout=0), BackendClosed)
    await expect_error(backend.settle(Settlement(delivery)), BackendClosed)
    await expect_error(backend.ack(delivery), BackendClosed)
    await expect_error(backend.release(delivery), BackendClosed)


@check()
async def check_nothing_goes_again_in_a_closed_backend(factory: BackendFactory) -> None:
    """A redrive or replay is refused, too, instead of losing what it takes."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    failure = Failure(reason="given up", organ="Billing")
    await backend.settle(Settlement(await pull_one(factory, backend), dead=[failure]))
    letter = (await dead_letters(backend))[0]
    await backend.aclose()

    await expect_error(backend.admin.redrive(letter.id), BackendClosed)
    await expect_error(backend.admin.replay(), BackendClosed)


@check()
async def check_closing_ends_a_pull_that_waits(factory: BackendFactory) -> None:
    """With nothing, or with the news that the backend is closed."""
    backend = await factory.make()
    pulling = asyncio.create_task(backend.pull(timeout=30 * factory.unit))
    await factory.wait(factory.unit)

    await backend.aclose()

    await factory.wait(5 * factory.unit)
    expect(pulling.done(), "a pull still waits in a closed backend")
    with contextlib.suppress(BackendClosed):
        expect_equal(list(await pulling), [], "what the pull got")


# --- durable ---------------------------------------------------------------------------------------------


@check("durable")
async def check_what_is_kept_outlives_its_worker(factory: BackendFactory) -> None:
    """Queued, scheduled, dead and past events are there for the next one."""
    backend = await factory.make()
    await backend.enqueue(*several(3))
    await backend.enqueue(numbered(3), delay=2 * factory.unit)
    failure = Failure(reason="given up", organ="Billing")
    await backend.settle(Settlement(await pull_one(factory, backend), dead=[failure]))
    await backend.aclose()

    again = await factory.attach(backend)

    expect_equal(numbers(await pull_all(factory, again, 3)), [1, 2, 3], "what was queued, then what was due")
    expect_equal([letter.organ for letter in await dead_letters(again)], ["Billing"], "dead letters")
    expect((await again.admin.stats()).history >= 3, "history is gone")


@check("durable")
async def check_work_goes_on_through_many_closings(factory: BackendFactory) -> None:
    """Five batches, each by another worker that is closed in the middle of the next one."""
    backend = await factory.make()
    events = several(100)
    settled: list[Event] = []
    for batch in range(5):
        await backend.enqueue(*events[batch * 20 : batch * 20 + 20])
        taken = await pull_all(factory, backend, 15)
        answers = await backend.settle(*map(Settlement, taken))
        settled += [delivery.event for delivery, ours in zip(taken, answers, strict=True) if ours]
        await backend.aclose()
        backend = await factory.attach(backend)
    rest = await pull_all(factory, backend, 25)
    await backend.settle(*map(Settlement, rest))
    settled += [delivery.event for delivery in rest]

    expect_once_each(settled, events, "five workers in turn")
    expect((await backend.admin.stats()).idle, "something is left after everything was settled")


@check("durable")
async def check_what_a_dead_worker_held_is_handed_over_again(factory: BackendFactory) -> None:
    """Recovered, with its attempt unchanged: crashes are not failures."""
    dead = await factory.make()
    await dead.enqueue(numbered(1))
    held = await pull_one(factory, dead)
    alive = await factory.attach(dead)
    await factory.freeze(dead)

    taken = await alive.pull(timeout=factory.recovery)

    expect_equal([delivery.event for delivery in taken], [held.event], "what is recovered")
    said = (taken[0].attempt, taken[0].origin)
    expect_equal(said, (1, "recovered"), "attempt and origin")


@check("durable")
async def check_a_worker_that_was_taken_over_cannot_settle(factory: BackendFactory) -> None:
    """The first to settle wins, and the other's emissions are not kept."""
    frozen = await factory.make()
    await frozen.enqueue(numbered(1))
    held = await pull_one(factory, frozen)
    alive = await factory.attach(frozen)
    await factory.freeze(frozen)
    (taken,) = await alive.pull(timeout=factory.recovery)

    ours = await alive.settle(Settlement(taken, emitted=[numbered(2)]))
    theirs = await frozen.settle(Settlement(held, emitted=[numbered(3)]))

    expect_equal((list(ours), list(theirs)), ([True], [False]), "the answers")
    expect_equal(numbers(await pull_all(factory, alive, 1)), [2], "what was emitted")


@check("durable")
async def check_workers_of_one_group_share_the_events(factory: BackendFactory) -> None:
    """Each event goes to one of them, and every worker is listed."""
    one = await factory.make()
    other = await factory.attach(one)
    events = several(50)
    await one.enqueue(*events)
    settled: list[Event] = []

    for _ in range(25):
        held = [(backend, await pull_one(factory, backend)) for backend in (one, other)]
        for backend, delivery in held:
            expect_equal(await backend.ack(delivery), True, "the answer to the worker that pulled it")
            settled.append(delivery.event)

    expect_once_each(settled, events, "two workers")
    expect_equal(len(await one.admin.consumers()), 2, "workers that are listed")


@check("durable", "groups")
async def check_each_group_gets_every_event(factory: BackendFactory) -> None:
    """Also a group that comes late; settling and giving up in one changes nothing for the other."""
    one = await factory.make()
    await one.enqueue(*several(2))
    deliveries = await pull_all(factory, one, 2)
    failure = Failure(reason="given up", organ="Billing")
    await one.settle(Settlement(deliveries[0], dead=[failure]), Settlement(deliveries[1]))

    late = await factory.attach(one, group="late")

    expect_equal(numbers(await pull_all(factory, late, 2)), [0, 1], "what the late group gets")
    expect_equal(await dead_letters(late), [], "its dead letters")
    expect_equal((await one.admin.stats()).dead, 1, "the dead letters of the first group")

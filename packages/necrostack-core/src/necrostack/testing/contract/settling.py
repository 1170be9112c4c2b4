"""Settle: a delivery ends once, and all that came of it is kept with that or not at all."""

from __future__ import annotations

import asyncio

from necrostack.delivery import Failure, Retry, Settlement
from necrostack.errors import EventError, EventTooLarge
from necrostack.event import Event
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import (
    dead_letters,
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
from necrostack.testing.contract.samples import CHILD, misfit, numbered, several

RACES = 30


@check()
async def check_an_acknowledged_delivery_does_not_come_again(factory: BackendFactory) -> None:
    """`ack` ends it."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))

    ours = await backend.ack(await pull_one(factory, backend))

    expect_equal(ours, True, "the answer to ack")
    expect((await backend.admin.stats()).idle, "an acknowledged delivery is still counted")
    await expect_empty(backend, "after ack")


@check()
async def check_a_pulled_event_is_not_handed_over_twice(factory: BackendFactory) -> None:
    """It is pending: nobody else gets it before it is settled or released."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    await pull_one(factory, backend)

    await expect_empty(backend, "while a delivery is pending")


@check()
async def check_a_delivery_is_settled_once(factory: BackendFactory) -> None:
    """The second settlement is refused with False, and nothing of it is done."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    delivery = await pull_one(factory, backend)
    failure = Failure(reason="given up", organ="Billing")
    ended = Settlement(delivery, [numbered(2)], [Retry(organ="Audit", delay=0.0)], [failure])

    answers = [(await backend.settle(ended))[0] for _ in range(3)]
    answers.append(await backend.ack(delivery))

    expect_equal(answers, [True, False, False, False], "the answers")
    expect_equal(sorted(numbers(await pull_all(factory, backend, 2))), [1, 2], "the retry and what was emitted")
    await expect_empty(backend, "after one settlement of three was accepted")
    expect_equal(len(await dead_letters(backend)), 1, "dead letters")


@check()
async def check_one_call_settles_a_delivery_once(factory: BackendFactory) -> None:
    """Also when it is given twice at once."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    ended = Settlement(await pull_one(factory, backend), emitted=[numbered(2)])

    ours = await backend.settle(ended, ended)

    expect_equal(list(ours), [True, False], "the answers")
    await pull_all(factory, backend, 1)
    await expect_empty(backend, "after one delivery was given twice")


@check()
async def check_of_settlements_that_race_one_wins(factory: BackendFactory) -> None:
    """Commit, retry and dead letter at once: one is done, whole, and the others not at all."""
    backend = await factory.make()
    for number in range(RACES):
        await backend.enqueue(numbered(number))
        delivery = await pull_one(factory, backend)
        rivals = [
            Settlement(delivery, emitted=[numbered(number, CHILD)]),
            Settlement(delivery, retries=[Retry(organ="Billing", delay=0.0)]),
            Settlement(delivery, dead=[Failure(reason="given up", organ="Billing")]),
        ]
        rivals = rivals[number % 3 :] + rivals[: number % 3]
        before = len(await dead_letters(backend))

        answers = [ours for (ours,) in await asyncio.gather(*(backend.settle(rival) for rival in rivals))]

        expect_equal(sorted(answers), [False, False, True], f"the answers of race {number}")
        winner = rivals[answers.index(True)]
        came = await backend.pull(limit=10, timeout=0 if winner.dead else 5 * factory.unit)
        expect_equal(len(came), len(winner.emitted) + len(winner.retries), "what the winner left to pull")
        expect_equal(len(await dead_letters(backend)) - before, len(winner.dead), "the winner's dead letters")
        await backend.settle(*map(Settlement, came))
    expect((await backend.admin.stats()).idle, "something is left after all races")


@check()
async def check_a_settlement_keeps_all_or_nothing(factory: BackendFactory) -> None:
    """One emitted event that cannot be kept: nothing is emitted, retried, given up or acknowledged."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    delivery = await pull_one(factory, backend)
    torn = Settlement(
        delivery,
        emitted=[numbered(2), misfit(), numbered(3)],
        retries=[Retry(organ="Audit", delay=0.0)],
        dead=[Failure(reason="given up", organ="Billing")],
    )

    await expect_error(backend.settle(torn), EventError)

    await expect_empty(backend, "after a refused settlement")
    stats = await backend.admin.stats()
    left = (stats.queued, stats.pending, stats.scheduled, stats.dead)
    expect_equal(left, (0, 1, 0, 0), "queued, pending, scheduled and dead after a refused settlement")
    expect_equal(await backend.ack(delivery), True, "the answer to a settlement that can be kept")


@check()
async def check_settlements_of_one_call_are_all_refused_together(factory: BackendFactory) -> None:
    """What cannot be kept is found before the first of them is done, wherever it stands."""
    backend = await factory.make()
    await backend.enqueue(*several(2))
    first, second = await pull_all(factory, backend, 2)

    for torn in (
        [Settlement(first, emitted=[numbered(7)]), Settlement(second, emitted=[misfit()])],
        [Settlement(first, emitted=[misfit()]), Settlement(second, emitted=[numbered(7)])],
    ):
        await expect_error(backend.settle(*torn), EventError)

    await expect_empty(backend, "after refused settlements")
    expect_equal(list(await backend.settle(Settlement(first), Settlement(second))), [True, True], "afterwards")


@check()
async def check_a_settlement_with_too_large_an_event_keeps_nothing(factory: BackendFactory) -> None:
    """The size limit holds for what handlers emit, too."""
    backend = await factory.make(max_event_size=1_000)
    await backend.enqueue(numbered(1))
    delivery = await pull_one(factory, backend)
    large = numbered(3, text="x" * 1_000)

    await expect_error(backend.settle(Settlement(delivery, emitted=[numbered(2), large])), EventTooLarge)

    await expect_empty(backend, "after a refused settlement")
    expect_equal(await backend.ack(delivery), True, "the answer to a settlement that can be kept")


@check()
async def check_settlements_are_answered_in_their_order(factory: BackendFactory) -> None:
    """One that is refused does not hold up the others of the call."""
    backend = await factory.make()
    await backend.enqueue(*several(5))
    deliveries = await pull_all(factory, backend, 5)
    await backend.settle(Settlement(deliveries[1]), Settlement(deliveries[3]))

    ours = await backend.settle(*(Settlement(delivery, [numbered(9)]) for delivery in deliveries))

    expect_equal(list(ours), [True, False, True, False, True], "the answers")
    await pull_all(factory, backend, 3)
    await expect_empty(backend, "after three settlements of five were accepted")


@check()
async def check_a_settlement_of_nothing_answers_nothing(factory: BackendFactory) -> None:
    """No settlements, no answers."""
    backend = await factory.make()

    expect_equal(list(await backend.settle()), [], "the answers")


@check()
async def check_emitted_events_come_in_the_order_in_which_they_were_emitted(factory: BackendFactory) -> None:
    """Also a thousand of them, and those of several settlements in one call."""
    backend = await factory.make()
    await backend.enqueue(*several(2))
    first, second = await pull_all(factory, backend, 2)
    events = several(1_000, CHILD)

    await backend.settle(Settlement(first, events[:900]), Settlement(second, events[900:]))

    taken = await pull_all(factory, backend, 1_000)
    expect_equal(numbers(taken), list(range(1_000)), "the order")
    expect_equal({delivery.origin for delivery in taken}, {"live"}, "the origin of what was emitted")


@check()
async def check_a_cancelled_settle_may_be_made_again(factory: BackendFactory) -> None:
    """Cancelled at any moment and made again, a settlement is done exactly once."""
    backend = await factory.make()
    children = several(60, CHILD)
    for number, child in enumerate(children):
        await backend.enqueue(numbered(number))
        ended = Settlement(await pull_one(factory, backend), emitted=[child])
        settling = asyncio.create_task(backend.settle(ended))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        settling.cancel()
        await asyncio.wait({settling})

        again = await backend.settle(ended)

        if not settling.cancelled():
            expect_equal(list(again), [False], "the answer to a settlement that was accepted before")
        came = await pull_all(factory, backend, 1)
        expect_equal([delivery.event for delivery in came], [child], "what the settlement emitted")
        await backend.ack(came[0])
    await expect_empty(backend, "after cancelled settlements")


@check()
async def check_chains_of_settlements_lose_and_double_nothing(factory: BackendFactory) -> None:
    """Six consumers settle 200 events, each into two, handing back and racing: the counts are exact."""
    backend = await factory.make()
    parents = several(200)
    children = {event.id: [numbered(0, CHILD), numbered(1, CHILD)] for event in parents}
    handled: list[Event] = []
    await backend.enqueue(*parents)

    async def consume() -> None:
        while taken := await backend.pull(limit=3, timeout=3 * factory.unit):
            *handed_back, delivery = taken
            await backend.release(*handed_back)
            ended = Settlement(delivery, emitted=children.get(delivery.event.id, ()))
            answers = await asyncio.gather(backend.settle(ended), backend.settle(ended))
            handled.extend([delivery.event] * sum(ours for (ours,) in answers))
            await asyncio.sleep(0)

    await asyncio.gather(*(consume() for _ in range(6)))

    born = [child for pair in children.values() for child in pair]
    expect_once_each(handled, [*parents, *born], "six consumers")
    expect((await backend.admin.stats()).idle, "something is left after everything was settled")


@check()
async def check_what_was_admitted_is_kept_like_any_event(factory: BackendFactory) -> None:
    """A Spine asks `admit` after each Organ, and settles what it returned: the same events, in the same order."""
    backend = await factory.make()
    await backend.enqueue(numbered(0))
    delivery = await pull_one(factory, backend)
    events = [numbered(number) for number in range(1, 6)]

    admitted = backend.admit(events[:2])
    admitted = backend.admit(events[2:], admitted)
    ours = await backend.settle(Settlement(delivery, emitted=admitted))

    expect_equal(list(ours), [True], "the answer")
    expect_equal(len(admitted), 5, "events that were admitted")
    expect_equal([event.id for event in admitted], [event.id for event in events], "their ids")
    expect_equal([each.event for each in await pull_all(factory, backend, 5)], events, "what was kept")


@check()
async def check_what_cannot_be_kept_is_not_admitted(factory: BackendFactory) -> None:
    """It is refused then, and not only when it is settled."""
    backend = await factory.make()
    large = Event(event_type="LARGE", payload={"text": "x" * (backend.max_event_size + 1)})

    for event in (misfit(), large):
        try:
            backend.admit([numbered(1), event])
        except EventError:
            continue
        expect(False, f"a {event.event_type} that cannot be kept was admitted")

"""Stats, pending deliveries and consumers: what an operator sees is what is."""

from __future__ import annotations

import asyncio

from necrostack.backend import Backend
from necrostack.delivery import Failure, Retry, Settlement
from necrostack.errors import BackendError
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import (
    collected,
    dead_letters,
    expect,
    expect_equal,
    expect_error,
    numbers,
    pull_all,
    pull_one,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import CHILD, numbered, several


@check()
async def check_a_new_backend_is_idle(factory: BackendFactory) -> None:
    """Nothing is in it."""
    backend = await factory.make()

    stats = await backend.admin.stats()

    expect(stats.idle, f"a new backend is not idle: {stats}")
    expect_equal((stats.dead, stats.history, stats.oldest_pending), (0, 0, None), "dead, history and oldest_pending")


@check()
async def check_what_is_due_later_is_shown(factory: BackendFactory) -> None:
    """Delayed events and retries: which, for whom, and the next one first."""
    backend = await factory.make()
    await backend.enqueue(numbered(0))
    await backend.enqueue(numbered(1), delay=6 * factory.unit)
    first = await pull_one(factory, backend)
    retries = [Retry(organ="Billing", delay=9 * factory.unit), Retry(organ="Audit", delay=3 * factory.unit)]
    await backend.settle(Settlement(first, retries=retries))

    found = await collected(backend.admin.scheduled())

    told = [(one.event.payload["number"], one.attempt, one.organs) for one in found]
    expect_equal(told, [(0, 2, ("Audit",)), (1, 1, None), (0, 2, ("Billing",))], "what is due later")
    dues = [one.due for one in found]
    expect_equal(dues, sorted(dues), "when that is")


@check()
async def check_stats_tell_where_everything_is(factory: BackendFactory) -> None:
    """Queued, pending, scheduled and dead, through the life of four events."""
    backend = await factory.make()

    await backend.enqueue(*several(3))
    await backend.enqueue(numbered(3), delay=3 * factory.unit)
    await _expect_counts(backend, "after enqueue", queued=3, scheduled=1)
    first, second, third = await pull_all(factory, backend, 3)
    await _expect_counts(backend, "after pull", pending=3, scheduled=1)
    await backend.release(third)
    await _expect_counts(backend, "after release", queued=1, pending=2, scheduled=1)
    await backend.settle(
        Settlement(first, emitted=several(2, CHILD), retries=[Retry(organ="Billing", delay=3 * factory.unit)]),
        Settlement(second, dead=[Failure(reason="given up", organ="Billing")]),
    )
    await _expect_counts(backend, "after settle", queued=3, scheduled=2, dead=1)
    await backend.admin.redrive((await dead_letters(backend))[0].id)
    await _expect_counts(backend, "after redrive", queued=4, scheduled=2)
    await backend.settle(*map(Settlement, await pull_all(factory, backend, 6)))
    await _expect_counts(backend, "at the end")
    expect((await backend.admin.stats()).idle, "everything is settled, but the backend is not idle")


@check()
async def check_what_is_pending_can_be_looked_at(factory: BackendFactory) -> None:
    """Each pending delivery, oldest first, with who has it since when."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    await backend.settle(Settlement(await pull_one(factory, backend), retries=[Retry(organ="Billing", delay=0.0)]))
    await pull_one(factory, backend)
    await factory.wait(2 * factory.unit)
    await backend.enqueue(numbered(2))
    await pull_one(factory, backend)

    old, young = await collected(backend.admin.pending())

    expect_equal(numbers([old.event, young.event]), [1, 2], "the events")
    expect_equal((old.attempt, old.organs), (2, ("Billing",)), "attempt and organs of a retry")
    expect_equal((young.attempt, young.organs), (1, None), "attempt and organs of a live one")
    expect(old.idle >= 1.5 * factory.unit, f"pulled {2 * factory.unit:g} s ago, but idle={old.idle:g}")
    expect(young.idle < old.idle, "a younger delivery is said to be idle for longer")
    oldest = (await backend.admin.stats()).oldest_pending
    expect(oldest is not None and oldest >= 1.5 * factory.unit, f"oldest_pending={oldest}")
    names = {consumer.name for consumer in await backend.admin.consumers()}
    expect({old.consumer, young.consumer} <= names, f"pending with {old.consumer!r}, not one of {names}")


@check()
async def check_a_probe_says_nothing_and_changes_nothing(factory: BackendFactory) -> None:
    """However often, and from several at once."""
    backend = await factory.make()
    await backend.probe()
    await backend.enqueue(*several(2))
    delivery = await pull_one(factory, backend)
    before = await backend.admin.stats()

    await asyncio.gather(*(backend.probe() for _ in range(10)))

    after = await backend.admin.stats()
    counts = [(stats.queued, stats.pending, stats.scheduled, stats.dead, stats.history) for stats in (before, after)]
    expect_equal(counts[1], counts[0], "what is there after it was probed")
    expect_equal(await backend.ack(delivery), True, "the answer for what was pulled before")
    expect_equal(numbers(await pull_all(factory, backend, 1)), [1], "what is pulled afterwards")


@check()
async def check_consumers_and_what_they_hold_are_listed(factory: BackendFactory) -> None:
    """Whoever pulls is a consumer."""
    backend = await factory.make()
    await backend.enqueue(*several(3))
    deliveries = await pull_all(factory, backend, 3)

    expect_equal([consumer.pending for consumer in await backend.admin.consumers()], [3], "what is held")
    await backend.ack(deliveries[0])
    await backend.release(deliveries[1])

    expect_equal([consumer.pending for consumer in await backend.admin.consumers()], [1], "what is still held")
    expect_equal((await backend.admin.stats()).consumers, 1, "how many the stats count")


@check()
async def check_groups_tell_what_they_hold(factory: BackendFactory) -> None:
    """The group of this backend is one of them, with the same stats."""
    backend = await factory.make()
    await backend.enqueue(*several(3))
    await pull_one(factory, backend)

    (group,) = await backend.admin.groups()

    stats = await backend.admin.stats()
    said = (group.stats.queued, group.stats.pending, group.stats.consumers)
    expect_equal(said, (stats.queued, stats.pending, stats.consumers), "queued, pending and consumers")


@check("durable", "groups")
async def check_a_group_that_nobody_serves_can_be_removed(factory: BackendFactory) -> None:
    """Not while one of its workers is alive. Afterwards nothing is kept for it."""
    backend = await factory.make()
    other = await factory.attach(backend, group="other")
    await backend.enqueue(*several(3))
    for worker in (backend, other):
        await pull_one(factory, worker)

    held = {group.name: (group.stats.queued, group.stats.pending) for group in await backend.admin.groups()}
    expect_equal((len(held), held.get("other")), (2, (2, 1)), "how many groups, and what one holds")
    await expect_error(backend.admin.remove_group("other"), BackendError)
    await other.aclose()

    expect_equal(await backend.admin.remove_group("other"), True, "whether there was one")
    expect_equal(await backend.admin.remove_group("other"), False, "whether there was one again")
    expect_equal(len(await backend.admin.groups()), 1, "the groups that are left")
    await pull_all(factory, backend, 2)


@check()
async def check_stats_are_not_idle_while_an_event_is_on_its_way(factory: BackendFactory) -> None:
    """All counts are of one instant: between being pulled and having led to the next, it is somewhere."""
    backend = await factory.make()
    length = 100
    await backend.enqueue(numbered(0))
    looking = asyncio.create_task(_looks_until_idle(backend))

    for number in range(1, length):
        delivery = await pull_one(factory, backend)
        await asyncio.sleep(0)
        retries = [Retry(organ="Billing", delay=0.0)] if number % 3 == 0 else []
        emitted = [] if retries else [numbered(number)]
        await backend.settle(Settlement(delivery, emitted, retries))
        expect(not looking.done(), f"stats said idle while event {number} was on its way")
    await backend.ack(await pull_one(factory, backend))

    expect(await looking > 0, "stats never said that something was there")


async def _looks_until_idle(backend: Backend) -> int:
    looks = 0
    while not (await backend.admin.stats()).idle:
        looks += 1
        await asyncio.sleep(0)
    return looks


async def _expect_counts(
    backend: Backend, when: str, *, queued: int = 0, pending: int = 0, scheduled: int = 0, dead: int = 0
) -> None:
    stats = await backend.admin.stats()
    found = (stats.queued, stats.pending, stats.scheduled, stats.dead)
    expect_equal(found, (queued, pending, scheduled, dead), f"queued, pending, scheduled and dead {when}")
    expect_equal(stats.idle, not (queued or pending or scheduled), f"idle {when}")

"""History: the events that were kept, in order, and how they go again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import uuid4

from necrostack.backend import Backend
from necrostack.delivery import Failure, Retry, Settlement
from necrostack.errors import ConfigurationError
from necrostack.event import Event
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import (
    collected,
    dead_letters,
    expect,
    expect_empty,
    expect_equal,
    expect_error,
    numbers,
    pull_all,
    pull_one,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import CHILD, numbered, ordered, several


@check()
async def check_history_holds_every_event_once_in_order(factory: BackendFactory) -> None:
    """What was enqueued and what was emitted; not the retries, redrives, replays and releases of it."""
    backend = await factory.make()
    root, child = ordered(), numbered(1, CHILD)
    await backend.enqueue(root)
    await backend.release(await pull_one(factory, backend))
    retry = Retry(organ="Billing", delay=0.0)
    await backend.settle(Settlement(await pull_one(factory, backend), emitted=[child], retries=[retry]))
    for delivery in await pull_all(factory, backend, 2):
        await backend.settle(Settlement(delivery, dead=[Failure(reason="given up", organ="Billing")]))
    await backend.admin.redrive(*(letter.id for letter in await dead_letters(backend)))
    await backend.admin.replay()
    await pull_all(factory, backend, 4)

    history = await collected(backend.admin.history())

    expect_equal(history, [root, child], "the history")
    expect_equal([type(event) for event in history], [type(root), Event], "the classes")
    expect_equal((await backend.admin.stats()).history, 2, "how many the stats count")


@check()
async def check_history_is_found_by_type_and_time(factory: BackendFactory) -> None:
    """`since` includes its moment, `until` does not."""
    backend = await factory.make()
    between = await _two_ages(factory, backend)
    admin = backend.admin

    expect_equal(await _numbers(admin.history(event_type=CHILD)), [1, 3], "by event type")
    expect_equal(await _numbers(admin.history(since=between)), [2, 3], "since a time")
    expect_equal(await _numbers(admin.history(until=between)), [0, 1], "until a time")
    expect_equal(await _numbers(admin.history(since=between, event_type=CHILD)), [3], "by both")
    expect_equal(await _numbers(admin.history(since=between, until=between)), [], "of no time at all")


@check()
async def check_history_is_found_by_id(factory: BackendFactory) -> None:
    """Of many events, those that somebody names; a replay takes the same."""
    backend = await factory.make()
    events = several(5)
    await _handled(factory, backend, events)
    ids = [events[3].id, events[1].id, uuid4()]

    expect_equal(await _numbers(backend.admin.history(ids=ids)), [1, 3], "by id")
    expect_equal(await _numbers(backend.admin.history(event_type=CHILD, ids=ids)), [], "by id and event type")
    expect_equal(await _numbers(backend.admin.history(ids=())), [], "by no id")
    expect_equal(await backend.admin.replay(ids=ids), 2, "how many go again")
    expect_equal(numbers(await pull_all(factory, backend, 2)), [1, 3], "what goes again")
    await expect_empty(backend, "after the replay")


@check()
async def check_history_can_be_followed(factory: BackendFactory) -> None:
    """From a position on, and from the newest back: whoever looks again sees each event once."""
    backend = await factory.make()
    between = await _two_ages(factory, backend)
    kept = await collected(backend.admin.kept())
    before = [found.kept_at < between for found in kept]

    expect_equal(list(numbers([found.event for found in kept])), [0, 1, 2, 3], "the history")
    expect_equal(before, [True, True, False, False], "whether they were kept before a time")
    expect_equal(await _kept(backend, after=kept[1].position), [2, 3], "after a position")
    expect_equal(await _kept(backend, since=between, after=kept[0].position), [2, 3], "since a time, after one before")
    expect_equal(await _kept(backend, since=between, after=kept[2].position), [3], "since a time, after one since")
    expect_equal(await _kept(backend, newest_first=True), [3, 2, 1, 0], "from the newest back")
    expect_equal(await _kept(backend, newest_first=True, after=kept[1].position), [3, 2], "back to a position")
    expect_equal(await _kept(backend, after=kept[3].position), [], "after the newest")
    await backend.enqueue(numbered(4))
    expect_equal(await _kept(backend, after=kept[3].position), [4], "what is new")


@check()
async def check_history_does_not_hold_what_is_not_due(factory: BackendFactory) -> None:
    """Or a replay would deliver it early."""
    backend = await factory.make()
    await backend.enqueue(numbered(1), delay=2 * factory.unit)

    expect_equal(await _numbers(backend.admin.history()), [], "the history before it is due")
    expect_equal(await backend.admin.replay(), 0, "how many go again before it is due")

    expect_equal(numbers(await pull_all(factory, backend, 1)), [1], "what comes when it is due")
    expect_equal(await _numbers(backend.admin.history()), [1], "the history afterwards")


@check()
async def check_a_replay_delivers_history_again(factory: BackendFactory) -> None:
    """The same events in their order, said to be replayed, and history stays as it was."""
    backend = await factory.make()
    events = several(3)
    await _handled(factory, backend, events)

    expect_equal(await backend.admin.replay(), 3, "how many go again")

    taken = await pull_all(factory, backend, 3)
    expect_equal([delivery.event for delivery in taken], events, "what goes again")
    said = {(delivery.attempt, delivery.origin, delivery.organs, delivery.attempts) for delivery in taken}
    expect_equal(said, {(1, "replay", None, ())}, "attempt, origin, organs and attempts")
    await expect_empty(backend, "after the replay")
    expect_equal(await _numbers(backend.admin.history()), [0, 1, 2], "the history afterwards")


@check()
async def check_a_replay_goes_to_the_organs_that_are_asked_for(factory: BackendFactory) -> None:
    """A new Organ can catch up without the others running again."""
    backend = await factory.make()
    await _handled(factory, backend, several(1))

    await backend.admin.replay(organs=["Audit", "Billing"])

    expect_equal((await pull_one(factory, backend)).organs, ("Audit", "Billing"), "the Organs")


@check()
async def check_a_replay_takes_what_is_asked_for(factory: BackendFactory) -> None:
    """By type and time, as history does; a dry run only counts."""
    backend = await factory.make()
    between = await _two_ages(factory, backend)

    expect_equal(await backend.admin.replay(since=between, dry_run=True), 2, "how many would go")
    await expect_empty(backend, "after a dry run")
    expect_equal(await backend.admin.replay(since=between, event_type=CHILD), 1, "how many go")

    expect_equal(numbers(await pull_all(factory, backend, 1)), [3], "what goes again")
    await expect_empty(backend, "after the replay")


@check()
async def check_a_replay_may_be_made_again(factory: BackendFactory) -> None:
    """It is no enqueue: the identical call is no repetition."""
    backend = await factory.make()
    await _handled(factory, backend, several(2))

    for _ in range(2):
        await backend.admin.replay()

    expect_equal(numbers(await pull_all(factory, backend, 4)), [0, 1, 0, 1], "what goes again")


@check()
async def check_a_replay_keeps_to_its_rate(factory: BackendFactory) -> None:
    """So that live events are not drowned."""
    backend = await factory.make()
    await _handled(factory, backend, several(4))
    started = backend.clock.monotonic()
    told: list[int] = []
    replaying = asyncio.create_task(backend.admin.replay(rate=1 / factory.unit, on_progress=told.append))

    taken = await pull_all(factory, backend, 4)

    expect_equal(await replaying, 4, "how many go again")
    expect_equal(numbers(taken), [0, 1, 2, 3], "what goes again")
    expect_equal(told, [1, 2, 3, 4], "what was told of how far it is")
    waited = backend.clock.monotonic() - started
    expect(waited >= 2.5 * factory.unit, f"4 events at 1 in {factory.unit:g} s went in {waited:g} s")
    for rate in (0.0, -1.0, float("nan")):
        await expect_error(backend.admin.replay(rate=rate), ConfigurationError)


@check()
async def check_trimming_forgets_the_oldest_history(factory: BackendFactory) -> None:
    """By length or by time, and it says how much it forgot."""
    backend = await factory.make()
    between = await _two_ages(factory, backend)

    expect_equal(await backend.admin.trim(before=between), 2, "forgotten by time")
    expect_equal(await _numbers(backend.admin.history()), [2, 3], "the history since then")
    expect_equal(await backend.admin.trim(max_length=1), 1, "forgotten by length")
    expect_equal(await _numbers(backend.admin.history()), [3], "the newest of it")
    expect_equal(await backend.admin.trim(max_length=5), 0, "forgotten when there is less than that")
    expect_equal(await backend.admin.trim(max_length=0), 1, "forgotten when all may go")
    expect_equal((await backend.admin.stats()).history, 0, "how many the stats count")


@check()
async def check_trimming_takes_nothing_that_is_needed(factory: BackendFactory) -> None:
    """What is queued, pending or scheduled is still handled, and what is dead is kept."""
    backend = await factory.make()
    await backend.enqueue(*several(4))
    pending, dead, retried = await pull_all(factory, backend, 3)
    await backend.settle(
        Settlement(dead, dead=[Failure(reason="given up", organ="Billing")]),
        Settlement(retried, retries=[Retry(organ="Billing", delay=factory.unit)]),
    )

    await backend.admin.trim(max_length=0)

    expect_equal(numbers(await pull_all(factory, backend, 2)), [3, 2], "what was queued, and the retry")
    expect_equal(await backend.ack(pending), True, "the answer to what was pending")
    letters = await dead_letters(backend)
    expect_equal([letter.event and letter.event.payload["number"] for letter in letters], [1], "dead letters")


@check()
async def check_trimming_ends_at_what_is_not_settled(factory: BackendFactory) -> None:
    """History has no holes, and what waits is part of it."""
    backend = await factory.make()
    await backend.enqueue(*several(4))
    first, second, third = await pull_all(factory, backend, 3)
    await backend.settle(Settlement(first), Settlement(third))

    expect_equal(await backend.admin.trim(max_length=0), 1, "forgotten while the second is pending")
    expect_equal(await _numbers(backend.admin.history()), [1, 2, 3], "the history from there on")
    await backend.release(second)
    expect_equal(await backend.admin.trim(max_length=0), 0, "forgotten when it was handed back")
    await backend.settle(Settlement(await pull_one(factory, backend)))
    expect_equal(await backend.admin.trim(max_length=0), 2, "forgotten when only the fourth waits")
    expect_equal(await _numbers(backend.admin.history()), [3], "the history in the end")


async def _handled(factory: BackendFactory, backend: Backend, events: list[Event]) -> None:
    await backend.enqueue(*events)
    await backend.settle(*(Settlement(delivery) for delivery in await pull_all(factory, backend, len(events))))


async def _two_ages(factory: BackendFactory, backend: Backend) -> datetime:
    """Handle two events, then two more; return a time between."""
    await _handled(factory, backend, [numbered(0), numbered(1, CHILD)])
    await factory.wait(factory.unit)
    between = backend.clock.now()
    await factory.wait(factory.unit)
    await _handled(factory, backend, [numbered(2), numbered(3, CHILD)])
    return between


async def _kept(backend: Backend, **asked: Any) -> list[int]:
    return list(numbers([found.event for found in await collected(backend.admin.kept(**asked))]))


async def _numbers(events: AsyncIterator[Event]) -> list[int]:
    return list(numbers(await collected(events)))

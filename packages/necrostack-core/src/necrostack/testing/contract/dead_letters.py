"""Dead letters: kept with all their facts until somebody redrives or discards them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from necrostack.backend import Backend
from necrostack.delivery import Attempt, DeadLetter, Failure, Settlement
from necrostack.errors import ConfigurationError, EventError, EventTooLarge
from necrostack.event import Event
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import (
    collected,
    dead_letters,
    expect,
    expect_empty,
    expect_equal,
    expect_error,
    pull_all,
    pull_one,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import CHILD, numbered, ordered

FAILED = datetime(2026, 3, 4, 5, 6, 7, 891, tzinfo=UTC)

FAILURE = Failure(
    reason="attempts_exhausted",
    organ="Billing",
    error_type="PaymentError",
    error="the bank said «nein» 🏦\nand hung up",
    traceback='Traceback (most recent call last):\n  File "billing.py", line 1\nPaymentError: the bank',
    attempts=(
        Attempt(FAILED, "TimeoutError: no answer", 1.5),
        Attempt(FAILED.replace(second=9), "PaymentError: the bank said «nein»", None),
    ),
)


@check()
async def check_a_dead_letter_keeps_every_fact(factory: BackendFactory) -> None:
    """The event, the Organ, the reason, the error, its traceback, every attempt and the time."""
    backend = await factory.make()
    before = backend.clock.now()
    letter = await _buried(factory, backend, ordered(), FAILURE)
    after = backend.clock.now()

    for fact in ("reason", "organ", "error_type", "error", "traceback", "attempts"):
        expect_equal(getattr(letter, fact), getattr(FAILURE, fact), f"the dead letter's {fact}")
    expect_equal(type(letter.event), type(ordered()), "the class of its event")
    expect(
        letter.id and isinstance(letter.id, str),
        f"the id of a dead letter must be a string, not {letter.id!r}",
    )
    expect(before <= letter.dead_at <= after, f"dead_at={letter.dead_at} is not between {before} and {after}")
    expect_equal((letter.raw, letter.redriven_at), (None, None), "raw and redriven_at")
    await expect_empty(backend, "after the event was given up")


@check()
async def check_each_organ_that_gave_up_leaves_a_dead_letter(factory: BackendFactory) -> None:
    """One event, two failures, two letters with ids of their own."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    failures = [Failure(reason="given up", organ=organ) for organ in ("Billing", "Audit")]

    await backend.settle(Settlement(await pull_one(factory, backend), dead=failures))

    letters = await dead_letters(backend)
    expect_equal([letter.organ for letter in letters], ["Billing", "Audit"], "the Organs")
    expect_equal(len({letter.id for letter in letters}), 2, "different ids")


@check()
async def check_dead_letters_are_listed_oldest_first_and_without_a_limit(factory: BackendFactory) -> None:
    """All of them, also when there are hundreds."""
    backend = await factory.make()
    events = [numbered(number) for number in range(250)]
    await backend.enqueue(*events)
    deliveries = await pull_all(factory, backend, 250)

    await backend.settle(*(Settlement(delivery, dead=[FAILURE]) for delivery in deliveries))

    letters = await dead_letters(backend)
    expect_equal([letter.event for letter in letters], events, "the events of the letters")
    expect_equal((await backend.admin.stats()).dead, 250, "how many the stats count")


@check()
async def check_dead_letters_are_found_by_type_organ_error_and_time(factory: BackendFactory) -> None:
    """Each filter alone, and together."""
    backend = await factory.make()
    admin = backend.admin
    first = await _buried(factory, backend, numbered(1), FAILURE)
    await factory.wait(factory.unit)
    between = backend.clock.now()
    await factory.wait(factory.unit)
    failure = Failure(reason="given up", organ="Audit", error_type="ValueError", error="no such account")
    second = await _buried(factory, backend, numbered(2, CHILD), failure)

    expect_equal(await _ids(admin.dead_letters(event_type=CHILD)), [second.id], "by event type")
    expect_equal(await _ids(admin.dead_letters(organ="Billing")), [first.id], "by Organ")
    expect_equal(await _ids(admin.dead_letters(error="PaymentError")), [first.id], "by error type")
    expect_equal(await _ids(admin.dead_letters(error="such acc")), [second.id], "by the error's text")
    expect_equal(await _ids(admin.dead_letters(since=between)), [second.id], "since a time")
    expect_equal(await _ids(admin.dead_letters(until=between)), [first.id], "until a time")
    expect_equal(await _ids(admin.dead_letters(organ="Billing", since=between)), [], "by two at once")


@check()
async def check_a_dead_letter_is_found_by_its_id(factory: BackendFactory) -> None:
    """Whether it waits or went again, with the time of that; and nothing by what is no letter's id."""
    backend = await factory.make()
    letter = await _buried(factory, backend, numbered(1), FAILURE)
    admin = backend.admin

    expect_equal(await admin.dead_letter(letter.id), letter, "the letter that waits")
    for name in ("", "absent", "1-1", str(uuid4())):
        expect(name == letter.id or await admin.dead_letter(name) is None, f"there must be no letter {name!r}")
    await admin.redrive(letter.id)
    again = await admin.dead_letter(letter.id)
    expect(again is not None and again.redriven_at is not None, f"the letter that went again is {again!r}")
    await admin.discard(letter.id)
    expect_equal(await admin.dead_letter(letter.id), None, "the letter that was discarded")


@check()
async def check_a_redriven_letter_goes_to_its_organ_as_at_first(factory: BackendFactory) -> None:
    """Attempt 1 again, 0 hops, to the Organ that failed, with the event's id and lineage."""
    backend = await factory.make()
    event = numbered(1).model_copy(
        update={"correlation_id": uuid4(), "causation_id": uuid4(), "hops": 7, "headers": {"trace": "1"}}
    )
    letter = await _buried(factory, backend, event, FAILURE)

    expect_equal(await backend.admin.redrive(letter.id), 1, "how many went again")

    delivery = await pull_one(factory, backend)
    said = (delivery.attempt, delivery.origin, delivery.organs, delivery.attempts)
    expect_equal(said, (1, "redrive", ("Billing",), ()), "attempt, origin, organs and attempts")
    expect_equal(delivery.event, event.model_copy(update={"hops": 0}), "the event")
    expect_equal(dict(delivery.event.headers), {"trace": "1"}, "its headers")


@check()
async def check_a_letter_without_an_organ_goes_to_all(factory: BackendFactory) -> None:
    """Nobody was asked before: too many hops, or nobody listened."""
    backend = await factory.make()
    letter = await _buried(factory, backend, numbered(1), Failure(reason="max_hops"))

    await backend.admin.redrive(letter.id)

    expect_equal((await pull_one(factory, backend)).organs, None, "the Organs")


@check()
async def check_a_letter_is_redriven_once(factory: BackendFactory) -> None:
    """Again, twice in one call, five times at once: it goes once, and each call says how many went."""
    backend = await factory.make()
    letter = await _buried(factory, backend, numbered(1), FAILURE)
    other = await _buried(factory, backend, numbered(2), FAILURE)

    expect_equal(await backend.admin.redrive(letter.id, letter.id, "nobody's"), 1, "how many went at first")
    expect_equal(await backend.admin.redrive(letter.id), 0, "how many went again")
    counts = await asyncio.gather(*(backend.admin.redrive(letter.id, other.id) for _ in range(5)))

    expect_equal(sum(counts), 1, "how many of the other one went in five calls at once")
    await pull_all(factory, backend, 2)
    await expect_empty(backend, "after both were redriven")


@check()
async def check_a_redriven_letter_leaves_the_list_and_stays_readable(factory: BackendFactory) -> None:
    """It does not wait any more, and can be read with `redriven=True`."""
    backend = await factory.make()
    letter = await _buried(factory, backend, numbered(1), FAILURE)
    waiting = await _buried(factory, backend, numbered(2), FAILURE)

    await backend.admin.redrive(letter.id)

    expect_equal(await _ids(backend.admin.dead_letters()), [waiting.id], "the letters that wait")
    expect_equal((await backend.admin.stats()).dead, 1, "how many the stats count")
    redriven = await collected(backend.admin.dead_letters(redriven=True))
    expect_equal([found.id for found in redriven], [letter.id], "the letters that were redriven")
    expect(redriven[0].redriven_at is not None, "a redriven letter does not say when it went")
    expect_equal(redriven[0].error, FAILURE.error, "its error")


@check()
async def check_redriven_letters_are_listed_oldest_first_too(factory: BackendFactory) -> None:
    """In the order in which they were given up, whichever went again first."""
    backend = await factory.make()
    first = await _buried(factory, backend, numbered(1), FAILURE)
    second = await _buried(factory, backend, numbered(2), FAILURE)

    await backend.admin.redrive(second.id)
    await backend.admin.redrive(first.id)

    expect_equal(
        await _ids(backend.admin.dead_letters(redriven=True)), [first.id, second.id], "the letters that were redriven"
    )


@check()
async def check_what_fails_after_a_redrive_is_a_new_letter(factory: BackendFactory) -> None:
    """With an id of its own, to be redriven in its turn."""
    backend = await factory.make()
    letter = await _buried(factory, backend, numbered(1), FAILURE)
    await backend.admin.redrive(letter.id)

    await backend.settle(Settlement(await pull_one(factory, backend), dead=[FAILURE]))

    again = await dead_letters(backend)
    expect_equal(len(again), 1, "the letters that wait")
    expect(again[0].id != letter.id, "a new dead letter has the id of an old one")
    expect_equal(await backend.admin.redrive(again[0].id), 1, "how many went again")


@check()
async def check_an_edited_letter_keeps_its_id_and_lineage(factory: BackendFactory) -> None:
    """Edit and redrive: another payload, the same event."""
    backend = await factory.make()
    event = ordered(1).model_copy(update={"correlation_id": uuid4(), "causation_id": uuid4(), "hops": 5})
    letter = await _buried(factory, backend, event, FAILURE)
    payload = ordered(2).model_dump(mode="json")["payload"]

    expect_equal(await backend.admin.redrive(letter.id, payload=payload), 1, "how many went again")

    delivery = await pull_one(factory, backend)
    expect_equal(type(delivery.event), type(event), "the class")
    expect_equal(delivery.event.payload, ordered(2).payload, "the payload")
    for field, value in {"id": event.id, "hops": 0, "timestamp": event.timestamp}.items():
        expect_equal(getattr(delivery.event, field), value, f"its {field}")
    lineage = (delivery.event.correlation_id, delivery.event.causation_id)
    expect_equal(lineage, (event.correlation_id, event.causation_id), "its lineage")
    expect_equal(delivery.organs, ("Billing",), "the Organs")


@check()
async def check_a_bad_edit_changes_nothing(factory: BackendFactory) -> None:
    """A payload that is not what the type says, no JSON, or too large is refused; the letter stays."""
    backend = await factory.make(max_event_size=1_000)
    letter = await _buried(factory, backend, ordered(), FAILURE)
    plain = await _buried(factory, backend, numbered(1), FAILURE)

    await expect_error(backend.admin.redrive(letter.id, payload={"number": "no number"}), EventError)
    await expect_error(backend.admin.redrive(plain.id, payload={"number": float("nan")}), EventError)
    await expect_error(backend.admin.redrive(plain.id, payload={"text": "x" * 1_000}), EventTooLarge)
    await expect_error(backend.admin.redrive(letter.id, plain.id, payload={"number": 1}), ConfigurationError)

    await expect_empty(backend, "after refused edits")
    expect_equal(await _ids(backend.admin.dead_letters()), [letter.id, plain.id], "the letters that wait")
    expect_equal(await backend.admin.redrive(letter.id), 1, "how many went again")


@check()
async def check_a_discarded_letter_is_gone(factory: BackendFactory) -> None:
    """It is forgotten, cannot be redriven, and each call says how many there were to forget."""
    backend = await factory.make()
    letter = await _buried(factory, backend, numbered(1), FAILURE)
    waiting = await _buried(factory, backend, numbered(2), FAILURE)

    expect_equal(await backend.admin.discard(letter.id, letter.id, "nobody's"), 1, "how many were forgotten")

    expect_equal(await backend.admin.discard(letter.id), 0, "how many were forgotten again")
    expect_equal(await backend.admin.redrive(letter.id), 0, "how many went again")
    expect_equal(await _ids(backend.admin.dead_letters()), [waiting.id], "the letters that wait")
    expect_equal((await backend.admin.stats()).dead, 1, "how many the stats count")
    await expect_empty(backend, "after a letter was discarded")


@check("restores")
async def check_a_restored_letter_waits_with_every_fact(factory: BackendFactory) -> None:
    """Discarded or redriven before, here or elsewhere: it says what it said, behind those that are there."""
    backend, other = await factory.make(), await factory.make()
    letter = await _buried(factory, backend, ordered(), FAILURE)
    await backend.admin.redrive(letter.id)
    (redriven,) = await collected(backend.admin.dead_letters(redriven=True))
    await factory.wait(factory.unit)
    between = other.clock.now()
    there = await _buried(factory, other, numbered(2), FAILURE)

    await other.admin.restore(redriven)

    first, restored = await dead_letters(other)
    expect_equal(first, there, "the letter that was there")
    expect_equal(restored, replace(letter, id=restored.id), "the restored letter")
    expect(restored.id != there.id, "a restored letter has the id of another one")
    expect_equal(await other.admin.dead_letter(restored.id), restored, "the letter of its id")
    expect_equal(await _ids(other.admin.dead_letters(until=between)), [restored.id], "what was given up before then")
    await expect_empty(other, "after a letter was restored")
    expect_equal(await other.admin.redrive(restored.id), 1, "how many went again")
    delivery = await pull_one(factory, other)
    expect_equal((delivery.event, delivery.organs), (letter.event, ("Billing",)), "the event, and for whom it is")


@check("restores")
async def check_a_letter_without_an_event_is_not_restored(factory: BackendFactory) -> None:
    """Nor what is to be restored with it: all or none."""
    backend = await factory.make()
    letter = await _buried(factory, backend, numbered(1), FAILURE)
    await backend.admin.discard(letter.id)

    await expect_error(backend.admin.restore(letter, replace(letter, event=None)), EventError)

    expect_equal(await dead_letters(backend), [], "the letters that wait")


async def _buried(factory: BackendFactory, backend: Backend, event: Event, failure: Failure) -> DeadLetter:
    """Let an event be given up; return its dead letter."""
    await backend.enqueue(event)
    await backend.settle(Settlement(await pull_one(factory, backend), dead=[failure]))
    letters = await dead_letters(backend)
    expect(letters, "an event that was given up left no dead letter")
    expect_equal(letters[-1].event, event, "the event of its dead letter")
    return letters[-1]


async def _ids(letters: AsyncIterator[DeadLetter]) -> list[str]:
    return [letter.id async for letter in letters]

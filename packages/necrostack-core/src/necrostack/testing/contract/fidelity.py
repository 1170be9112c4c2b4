"""What arrives is what was emitted: the same values, as the class that is declared for the event type."""

from __future__ import annotations

from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel

from necrostack.delivery import Failure, Retry, Settlement
from necrostack.event import Event
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import (
    dead_letters,
    expect,
    expect_empty,
    expect_equal,
    pull_all,
    pull_one,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import Ordered, misfit, numbered, ordered, ordered_plainly

REDECLARED = "necrostack.contract.redeclared"


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"deepest": True}
    for _ in range(levels - 1):
        value = {"deeper": value}
    return value


PAYLOADS: list[dict[str, Any]] = [
    {},
    {"": "", " ": " ", "null": None, "true": True, "false": False},
    {"float": 0.1, "small": 5e-324, "large": 1.7976931348623157e308, "negative": -0.5},
    {"integer": 2**63, "larger": 10**4_000, "least": -(2**80)},
    {"text": "naïve 日本語 🧟‍♀️ \u0000 \u001b[31m \u2028 \ufeff \\ \" ' \r\n"},
    {"日本語": {"🧠": ["ключ", "مفتاح"]}},
    {"list": [1, [2, [3, []]], {}, None, "", 0.0]},
    _nested(60),
]


@check()
async def check_every_field_of_an_event_arrives_as_it_was(factory: BackendFactory) -> None:
    """Ids, time, type, lineage, headers and payload, in every script, size and depth."""
    backend = await factory.make()
    sent = [
        Event(
            event_type="ÉVÉNEMENT 事件 🎉",
            payload=payload,
            headers={"traceparent": "00-ab-cd-01", "ключ": "値\n"},
            correlation_id=uuid4(),
            causation_id=uuid4(),
            hops=3,
        )
        for payload in PAYLOADS
    ]
    await backend.enqueue(*sent)

    for delivery, event in zip(await pull_all(factory, backend, len(sent)), sent, strict=True):
        expect_equal(delivery.event, event, "an event on arrival")
        expect_equal(dict(delivery.event.headers), dict(event.headers), "its headers")
        expect_equal(type(delivery.event), Event, "its class")


@check()
async def check_a_typed_event_arrives_as_its_class(factory: BackendFactory) -> None:
    """With decimals, datetimes and tuples as they were."""
    backend = await factory.make()
    event = ordered()
    await backend.enqueue(event)

    arrived = (await pull_one(factory, backend)).event

    expect_equal(type(arrived), Ordered, "the class")
    expect_equal(arrived, event, "the event")


@check()
async def check_a_plain_event_of_a_declared_type_arrives_as_its_class(factory: BackendFactory) -> None:
    """Whoever emits without the class reaches those who listen with it: at enqueue and in a settlement."""
    backend = await factory.make()
    await backend.enqueue(ordered_plainly(1), delay=factory.unit)
    await backend.enqueue(numbered(0))
    await backend.settle(Settlement(await pull_one(factory, backend), emitted=[ordered_plainly(2)]))

    arrived = [delivery.event for delivery in await pull_all(factory, backend, 2)]

    expect_equal([type(event) for event in arrived], [Ordered, Ordered], "the classes")
    expect_equal(sorted(event.payload.number for event in arrived), [1, 2], "the typed payloads")


@check()
async def check_a_typed_event_stays_typed_whatever_way_it_goes_again(factory: BackendFactory) -> None:
    """Released, retried, redriven, replayed: the same class and the same event each time."""
    backend = await factory.make()
    event = ordered()
    await backend.enqueue(event)
    arrived = []

    await backend.release(await pull_one(factory, backend))
    arrived.append(delivery := await pull_one(factory, backend))
    await backend.settle(Settlement(delivery, retries=[Retry(organ="Billing", delay=0.0)]))
    arrived.append(delivery := await pull_one(factory, backend))
    await backend.settle(Settlement(delivery, dead=[Failure(reason="given up", organ="Billing")]))
    await backend.admin.redrive((await dead_letters(backend))[0].id)
    arrived.append(delivery := await pull_one(factory, backend))
    await backend.ack(delivery)
    await backend.admin.replay()
    arrived.append(await pull_one(factory, backend))

    expect_equal([delivery.origin for delivery in arrived], ["live", "retry", "redrive", "replay"], "the origins")
    for delivery in arrived:
        expect_equal(type(delivery.event), Ordered, f"the class of a {delivery.origin} delivery")
        expect_equal(delivery.event, event, f"the event of a {delivery.origin} delivery")


@check()
async def check_what_is_no_longer_what_its_type_says_becomes_a_dead_letter(factory: BackendFactory) -> None:
    """What was kept before its class was declared differently is given up, plain, and others go on."""
    backend = await factory.make()
    _declare_loosely()
    await backend.enqueue(Event(event_type=REDECLARED, payload={"amount": "many"}), numbered(1))
    _declare_strictly()

    arrived = await pull_all(factory, backend, 1)

    expect_equal([delivery.event.event_type for delivery in arrived], [numbered(1).event_type], "what arrives")
    letters = await dead_letters(backend)
    expect_equal([letter.organ for letter in letters], [None], "the Organs of the dead letters")
    event = letters[0].event
    expect(event is not None and type(event) is Event, f"the dead letter must hold a plain event, not {event!r}")
    expect_equal(event and event.payload, {"amount": "many"}, "its payload")
    expect(letters[0].reason and letters[0].error, "the dead letter does not say why")


@check()
async def check_a_misfit_that_is_redriven_becomes_a_dead_letter_again(factory: BackendFactory) -> None:
    """Going again does not make it what its type says. An edited payload does."""
    backend = await factory.make()
    _declare_loosely()
    await backend.enqueue(Event(event_type=REDECLARED, payload={"amount": "many"}))
    strict = _declare_strictly()
    await expect_empty(backend, "before the redrive")

    await backend.admin.redrive(*(letter.id for letter in await dead_letters(backend)))
    await expect_empty(backend, "after the redrive of a misfit")
    letters = await dead_letters(backend)
    expect_equal(len(letters), 1, "dead letters after the redrive of a misfit")
    await backend.admin.redrive(letters[0].id, payload={"amount": 5})

    expect_equal(type((await pull_one(factory, backend)).event), strict, "the class after the edit")


@check()
async def check_what_was_emitted_as_a_misfit_is_refused_everywhere_alike(factory: BackendFactory) -> None:
    """A plain event that is not what its type says is the emitter's error, whichever way it is emitted."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    delivery = await pull_one(factory, backend)
    errors = []

    for refused in (backend.enqueue(misfit()), backend.settle(Settlement(delivery, emitted=[misfit()]))):
        try:
            await refused
        except ValueError as error:
            errors.append(str(error))

    expect_equal(len(errors), 2, "refusals")
    for told in errors:
        named = "Ordered" in told and "payload" in told
        expect(named, f"the refusal does not name the class and the field: {told}")


def _declare_loosely() -> None:
    class Loose(Event):
        event_type: Literal["necrostack.contract.redeclared"] = "necrostack.contract.redeclared"
        payload: dict[str, str | int]


def _declare_strictly() -> type[Event]:
    class Amount(BaseModel, frozen=True):
        amount: int

    class Strict(Event):
        event_type: Literal["necrostack.contract.redeclared"] = "necrostack.contract.redeclared"
        payload: Amount

    return Strict

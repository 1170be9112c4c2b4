"""What checks expect. Not `assert`: `python -O` leaves it out, and only pytest lets it explain itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Iterable, Sequence
from typing import TypeVar

from necrostack.backend import Backend
from necrostack.delivery import DeadLetter, Delivery
from necrostack.event import Event
from necrostack.testing.contract.factory import BackendFactory

T = TypeVar("T")
ErrorT = TypeVar("ErrorT", bound=BaseException)


def expect(condition: object, message: str) -> None:
    """Fail with a message unless a condition holds."""
    if not condition:
        raise AssertionError(message)


def expect_equal(found: object, wanted: object, what: str) -> None:
    """Fail unless something is what it must be."""
    if found != wanted:
        raise AssertionError(f"{what}: must be {_shown(wanted)}, is {_shown(found)}")


def expect_once_each(found: Iterable[Event], wanted: Iterable[Event], what: str) -> None:
    """Fail, counting what was lost and doubled, unless each event is there as often as it must be."""
    seen = Counter(event.id for event in found)
    sent = Counter(event.id for event in wanted)
    lost, doubled = sent - seen, seen - sent
    if lost or doubled:
        raise AssertionError(f"{what}: of {sent.total()} events {lost.total()} were lost, {doubled.total()} doubled")


async def expect_error(awaitable: Awaitable[object], *kinds: type[ErrorT]) -> ErrorT:
    """Fail unless an error of one of these kinds is raised; return it."""
    try:
        result = await awaitable
    except kinds as error:
        return error
    names = " or ".join(kind.__name__ for kind in kinds)
    raise AssertionError(f"must be refused with {names}, but returned {_shown(result)}")


async def expect_empty(backend: Backend, what: str) -> None:
    """Fail unless there is nothing to pull now."""
    surplus = await backend.pull(limit=100, timeout=0)
    expect_equal([delivery.event for delivery in surplus], [], f"{what}: what is left to pull")


async def pull_all(factory: BackendFactory, backend: Backend, count: int, *, limit: int = 100) -> list[Delivery]:
    """Pull until `count` deliveries came; fail when fewer come."""
    found: list[Delivery] = []
    while len(found) < count:
        more = await backend.pull(limit=min(limit, count - len(found)), timeout=5 * factory.unit)
        if not more:
            raise AssertionError(f"{count} deliveries must come, only {len(found)} came")
        found += more
    return found


async def pull_one(factory: BackendFactory, backend: Backend) -> Delivery:
    """Pull one delivery; fail when none comes."""
    return (await pull_all(factory, backend, 1))[0]


async def collected(items: AsyncIterable[T]) -> list[T]:
    """Collect what an async iterator gives."""
    return [item async for item in items]


async def dead_letters(backend: Backend) -> list[DeadLetter]:
    """Collect the dead letters that wait."""
    return await collected(backend.admin.dead_letters())


def numbers(events: Iterable[Event | Delivery]) -> Sequence[int]:
    """Return the numbers of numbered events, to compare orders by."""
    return [(item if isinstance(item, Event) else item.event).payload["number"] for item in events]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 500 else f"{text[:500]}… ({len(text)} characters)"

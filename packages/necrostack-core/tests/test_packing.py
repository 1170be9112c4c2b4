"""What waits behind many others is packed: the same event comes out, and the garbage collector has nothing to walk."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr, field_validator

from necrostack import Delivery, Event, InMemoryBackend, Organ, Spine
from necrostack.event import admit, as_declared
from necrostack.ids import id_of
from necrostack.packing import Packed, pack, unpack


class Line(BaseModel, frozen=True):
    sku: str
    price: Decimal


class Basket(BaseModel, frozen=True):
    lines: tuple[Line, ...] = ()
    weights: list[float] = []
    filled_at: datetime | None = None


class BasketFilled(Event):
    event_type: Literal["PACKING_BASKET_FILLED"] = "PACKING_BASKET_FILLED"
    payload: Basket


class Marked(Event):
    event_type: Literal["PACKING_MARKED"] = "PACKING_MARKED"
    payload: Basket
    _mark: int = PrivateAttr(default=0)


class Checked(BaseModel, frozen=True):
    number: int

    @field_validator("number")
    @classmethod
    def _looks(cls, number: int) -> int:
        return number


class NumberChecked(Event):
    event_type: Literal["PACKING_NUMBER_CHECKED"] = "PACKING_NUMBER_CHECKED"
    payload: Checked


class Stock(BaseModel, frozen=True):
    count: int = Field(ge=0)


class StockCounted(Event):
    event_type: Literal["PACKING_STOCK_COUNTED"] = "PACKING_STOCK_COUNTED"
    payload: Stock


class AnythingNoted(Event):
    """Of the plain payload that any event may have."""

    event_type: Literal["PACKING_ANYTHING_NOTED"] = "PACKING_ANYTHING_NOTED"


def packed(event: Event) -> Packed:
    waits = pack(*admit(event, 1_000_000))
    assert isinstance(waits, tuple), f"{event!r} was not packed"
    return waits


# --- what comes out -------------------------------------------------------------------------------------------

texts = st.text(max_size=6)
floats = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(datetime(2, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- as hypothesis wants its bounds
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
plain_payloads = st.dictionaries(texts, plain_values, max_size=3)
baskets = st.builds(
    Basket,
    lines=st.lists(st.builds(Line, sku=texts, price=st.decimals(allow_nan=False, allow_infinity=False)), max_size=3),
    weights=st.lists(floats, max_size=3),
    filled_at=st.none() | moments,
)
envelopes: dict[str, st.SearchStrategy[Any]] = {
    "id": st.uuids(),
    "timestamp": moments,
    "correlation_id": st.uuids(),
    "causation_id": st.none() | st.uuids(),
    "hops": st.integers(0, 2**53 - 1),
    "headers": st.dictionaries(texts, texts, max_size=2),
}


@given(
    st.builds(BasketFilled, payload=baskets, **envelopes)
    | st.builds(BasketFilled, payload=baskets)
    | st.builds(Event, event_type=st.just("packing.plain"), payload=plain_payloads, **envelopes)
)
def test_the_same_event_comes_out(event: Event) -> None:
    back = unpack(packed(event))

    assert type(back) is type(event)
    assert back == event
    assert back.headers == event.headers
    assert list(vars(back)) == list(vars(Event.from_json(event.to_json())))
    assert back.to_json() == event.to_json()


def test_what_comes_out_is_as_immutable_as_what_went_in() -> None:
    back = unpack(packed(Event(event_type="packing.plain", payload={"a": [1]}, headers={"b": "c"})))
    typed = unpack(packed(BasketFilled(payload=Basket(weights=[1.0]))))
    immutable = pytest.raises(TypeError, match="immutable")

    with immutable:
        back.payload["a"].append(2)
    with immutable:
        back.headers["b"] = "d"  # type: ignore[index]  # nobody may, and type checkers say so
    with immutable:
        typed.payload.weights.append(2.0)


@given(st.uuids(version=4) | st.uuids())
def test_an_id_is_made_again_from_its_number(event_id: Any) -> None:
    again = id_of(event_id.int)

    assert again == event_id
    assert (repr(again), again.version, hash(again)) == (repr(event_id), event_id.version, hash(event_id))


@pytest.mark.parametrize(
    "event",
    [Marked(payload=Basket()), NumberChecked(payload=Checked(number=1)), AnythingNoted(payload={"a": 1})],
    ids=lambda event: type(event).__name__,
)
def test_an_event_that_is_more_than_its_fields_is_left_as_it_is(event: Event) -> None:
    assert pack(*admit(event, 1_000_000)) is event


# --- the garbage collector --------------------------------------------------------------------------------------


def test_the_collector_has_nothing_to_walk() -> None:
    waits = packed(BasketFilled(payload=Basket(lines=(Line(sku="a", price=Decimal(1)),)), headers={"a": "b"}))

    # It finds out from the inside to the outside.
    gc.collect()
    gc.collect()

    assert not gc.is_tracked(waits)
    assert not any(gc.is_tracked(part) for part in waits)


async def objects_of(backend: InMemoryBackend, count: int) -> int:
    """How many objects the collector has to walk for as many events."""
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(count):
        await backend.enqueue(BasketFilled(payload=Basket(lines=(Line(sku="a", price=Decimal(1)),))))
    gc.collect()
    gc.collect()
    return len(gc.get_objects()) - before


async def test_of_many_that_wait_it_walks_the_first_only() -> None:
    backend = InMemoryBackend()

    first, others = await objects_of(backend, 1_000), await objects_of(backend, 2_000)

    print(f"\n{first} objects for 1,000 events, {others} for 2,000 more")
    assert first > 8_000
    assert others < 1_000  # not of the events: their identical calls are remembered


# --- in the backend ---------------------------------------------------------------------------------------------


@pytest.fixture
def packing_all(monkeypatch: pytest.MonkeyPatch) -> InMemoryBackend:
    """A backend that packs whatever can be."""
    monkeypatch.setattr("necrostack.store.LONG_QUEUE", 0)
    return InMemoryBackend()


def numbered(number: int) -> Event:
    return Event(event_type="packing.numbered", payload={"number": number})


def waiting(backend: InMemoryBackend) -> Sequence[object]:
    return [*backend._store.queue]


async def handled(backend: InMemoryBackend) -> list[int]:
    numbers: list[int] = []

    class Numbers(Organ[Event]):
        listens_to = ("packing.numbered",)

        def handle(self, event: Event) -> Event | None:
            numbers.append(event.payload["number"])
            return numbered(-event.payload["number"]) if event.payload["number"] > 0 else None

    await Spine(organs=[Numbers()], backend=backend).run_until_idle()
    return numbers


async def test_events_packed_and_not_keep_their_order() -> None:
    backend = InMemoryBackend()
    for start in range(1, 3_000, 100):
        await backend.enqueue(*[numbered(number) for number in range(start, start + 100)])
    kinds = [type(each) for each in waiting(backend)]

    numbers = await handled(backend)

    assert kinds == [Event] * 1_000 + [tuple] * 2_000
    assert numbers == [*range(1, 3_001), *range(-1, -3_001, -1)]


async def test_a_backend_with_a_history_packs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("necrostack.store.LONG_QUEUE", 0)
    backend = InMemoryBackend(history=10)
    await backend.enqueue(numbered(1))

    assert [type(each) for each in waiting(backend)] == [Event]


async def test_what_is_handed_back_is_not_packed_again(packing_all: InMemoryBackend) -> None:
    await packing_all.enqueue(numbered(1))
    before = waiting(packing_all)
    deliveries = await packing_all.pull(timeout=0)
    await packing_all.release(*deliveries)

    assert [type(each) for each in (*before, *waiting(packing_all))] == [tuple, Delivery]
    (again,) = await packing_all.pull(timeout=0)

    assert again.event == deliveries[0].event
    assert (again.attempt, again.origin) == (1, "live")


async def test_a_class_that_is_declared_meanwhile_gets_its_events(packing_all: InMemoryBackend) -> None:
    await packing_all.enqueue(Event(event_type="PACKING_LATE", payload={"sku": "a", "price": "1.5"}))

    class Late(Event):
        event_type: Literal["PACKING_LATE"] = "PACKING_LATE"
        payload: Line

    (delivery,) = await packing_all.pull(timeout=0)

    assert delivery.event.payload == Line(sku="a", price=Decimal("1.5"))
    assert type(delivery.event) is Late


async def test_what_does_not_fit_a_class_that_is_declared_meanwhile_is_a_dead_letter(
    packing_all: InMemoryBackend, caplog: pytest.LogCaptureFixture
) -> None:
    early = Event(event_type="PACKING_LATE", payload={"sku": ["a"]}, headers={"trace": "1"})
    await packing_all.enqueue(early, numbered(1))

    class Late(Event):
        event_type: Literal["PACKING_LATE"] = "PACKING_LATE"
        payload: Line

    with caplog.at_level(logging.ERROR, "necrostack"):
        deliveries = await packing_all.pull(limit=10, timeout=0)
    (letter,) = [letter async for letter in packing_all.admin.dead_letters()]

    assert [delivery.event.payload for delivery in deliveries] == [{"number": 1}]
    assert (letter.event, letter.reason) == (early, "undecodable")
    assert letter.event is not None
    assert (type(letter.event), letter.event.headers) == (Event, {"trace": "1"})
    assert [record.getMessage() for record in caplog.records] == ["dead_lettered"]
    assert Late.__name__ in letter.error


async def test_a_payload_that_nobody_validated_is_a_dead_letter_as_it_is_on_a_server(
    packing_all: InMemoryBackend,
) -> None:
    await packing_all.enqueue(StockCounted(payload=Stock.model_construct(count=-1)))

    assert await packing_all.pull(timeout=0) == []
    (letter,) = [letter async for letter in packing_all.admin.dead_letters()]

    assert letter.reason == "undecodable"
    assert letter.event is not None
    assert letter.event.payload == {"count": -1}


async def test_what_no_plain_event_may_be_either_leaves_its_bytes(packing_all: InMemoryBackend) -> None:
    class Tree(BaseModel, frozen=True):
        inner: Tree | None = None

    class TreeGrown(Event):
        event_type: Literal["PACKING_TREE_GROWN"] = "PACKING_TREE_GROWN"
        payload: Tree

    tree = Tree()
    for _ in range(80):
        tree = Tree(inner=tree)
    event = TreeGrown(payload=tree)
    await packing_all.enqueue(event)

    class TreeFelled(Event):
        """In its place, as after a reload."""

        event_type: Literal["PACKING_TREE_GROWN"] = "PACKING_TREE_GROWN"
        payload: Line

    assert await packing_all.pull(timeout=0) == []
    (letter,) = [letter async for letter in packing_all.admin.dead_letters()]

    assert letter.event is None
    assert letter.raw is not None
    assert str(event.id).encode() in letter.raw[b"event"]


async def test_an_event_of_a_run_keeps_its_lineage(packing_all: InMemoryBackend) -> None:
    root = numbered(1)
    seen: list[Event] = []

    class Watcher(Organ[Event]):
        listens_to = ("packing.numbered",)

        def handle(self, event: Event) -> Event | None:
            seen.append(event)
            return numbered(2) if event.payload["number"] == 1 else None

    await Spine(organs=[Watcher()], backend=packing_all).run_until_idle(root)

    assert seen[0] == root
    assert (seen[1].correlation_id, seen[1].causation_id, seen[1].hops) == (root.id, root.id, 1)
    assert as_declared(seen[1]) is seen[1]

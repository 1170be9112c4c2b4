"""Typed payloads: what a declared type promises is not checked again, and what it leaves open is."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    HttpUrl,
    Json,
    JsonValue,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretStr,
    Tag,
    ValidationError,
    computed_field,
    create_model,
    field_validator,
    model_serializer,
)
from typing_extensions import TypedDict

from necrostack.errors import EventError, EventTypeError
from necrostack.event import Event, admit, payload_json

T = TypeVar("T")


class Colour(Enum):
    RED = 1
    TEXT = "1"


class Kind(StrEnum):
    PLAIN = "plain"


class Rates(Enum):
    LOW = Decimal("0.1")


class Item(BaseModel, frozen=True, extra="forbid"):
    sku: str
    count: int = 1


class LikeAnItem(Item, frozen=True):
    pass


class Tree(BaseModel, frozen=True):
    name: str
    branches: tuple[Tree, ...] = ()


class ListTree(BaseModel, frozen=True):
    name: str
    branches: list[ListTree] = []


class Page(BaseModel, Generic[T], frozen=True):
    value: T


class Circle(BaseModel, frozen=True):
    kind: Literal["circle"] = "circle"
    radius: int


class Square(BaseModel, frozen=True):
    kind: Literal["square"] = "square"
    side: int


class Numbers(RootModel[tuple[int, ...]], frozen=True):
    pass


class Person(TypedDict):
    name: str
    tags: list[str]


@dataclass(frozen=True)
class Point:
    x: int
    path: list[int]


@dataclass(frozen=True, slots=True)
class SlottedPoint:
    x: int
    path: list[int]


class Pair(NamedTuple):
    first: int
    rest: list[int]


def declare(payload: Any) -> Any:
    """Declare a typed event class; the newest takes the place of the one before."""
    fields: dict[str, Any] = {"event_type": (Literal["TYPED"], "TYPED"), "payload": (payload, ...)}
    return create_model("Typed", __base__=Event, **fields)


def model_with(annotation: Any, **config: Any) -> type[BaseModel]:
    """A frozen model with one field."""
    fields: dict[str, Any] = {"value": (annotation, ...)}
    settings: Any = {"frozen": True, **config}
    return create_model("Model", __config__=settings, **fields)


def is_checked(cls: type[Event]) -> bool:
    """Whether pydantic calls into Python when an event of the class is made."""
    return "function-after" in str(cls.__pydantic_core_schema__["type"]) or cls._payload_check is not None


def assert_round_trips(event: Event) -> None:
    assert type(event).from_json(event.to_json()) == event
    assert type(event).model_validate_json(event.to_json()) == event
    assert type(event).model_validate(event.model_dump()) == event
    admitted, data = admit(event, 1_000_000)
    again = type(event).model_validate_json(b'{"payload":' + data + b"}")
    assert admitted is event
    assert again.payload == event.payload


# --- types that promise everything --------------------------------------------------------------------------

NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001 -- what it means is the model's affair
SAFE: dict[str, tuple[Any, Any]] = {
    "int": (int, 1),
    "str": (str, "ü\n\u2028"),
    "bool": (bool, True),
    "none": (type(None), None),
    "decimal": (Decimal, Decimal("1.10")),
    "datetime": (datetime, datetime(2024, 1, 1, 12, 30, 15, 5, UTC)),
    "naive_datetime": (datetime, NAIVE),
    "date": (date, date.max),
    "time": (time, time(1, 2, 3, 4)),
    "timedelta": (timedelta, timedelta.min),
    "uuid": (UUID, UUID(int=4)),
    "enum": (Colour, Colour.TEXT),
    "str_enum": (Kind, Kind.PLAIN),
    "finite_float": (FiniteFloat, 1e308),
    "tuple": (tuple[int, ...], (1, 2)),
    "mixed_tuple": (tuple[int, str], (1, "a")),
    "frozenset": (frozenset[str], frozenset({"a", "b"})),
    "optional": (int | None, None),
    "union_told_apart": (int | str | bool, "1"),
    "literal": (Literal["a", 1], 1),
    "model": (Item, Item(sku="a")),
    "models": (tuple[Item, ...], (Item(sku="a"),)),
    "recursive": (Tree, Tree(name="a", branches=(Tree(name="b"),))),
    "generic": (Page[int], Page[int](value=1)),
    "root_model": (Numbers, Numbers((1, 2))),
    "discriminated": (Annotated[Circle | Square, Field(discriminator="kind")], Square(side=1)),
    "alias_choices": (Annotated[int, Field(validation_alias=AliasChoices("value", "worth"))], 1),
    "written_by_alias": (Annotated[int, Field(serialization_alias="worth")], 1),
}


@pytest.mark.parametrize(("annotation", "value"), SAFE.values(), ids=SAFE)
def test_a_type_that_promises_everything_costs_no_python_per_event(annotation: Any, value: Any) -> None:
    model = model_with(annotation)

    cls = declare(model)

    assert not is_checked(cls)
    assert_round_trips(cls(payload=model(value=value)))


# --- types that leave something open ------------------------------------------------------------------------

WALKED: dict[str, tuple[Any, Any]] = {
    "float": (float, 1.5),
    "list": (list[int], [1]),
    "dict": (dict[str, int], {"a": 1}),
    "nested": (dict[str, list[Item]], {"a": [Item(sku="b")]}),
    "set": (set[int], {1, 2}),
    "dict_by_uuid": (dict[UUID, int], {UUID(int=1): 1}),
    "dict_by_int": (dict[int, str], {1: "a"}),
    "list_in_tuple": (tuple[list[int], ...], ([1], [2])),
    "recursive": (ListTree, ListTree(name="a", branches=[ListTree(name="b")])),
    "typed_dict": (Person, {"name": "a", "tags": ["b"]}),
    "dataclass": (Point, Point(1, [2])),
    "slotted_dataclass": (SlottedPoint, SlottedPoint(1, [2])),
    "floats_in_frozenset": (frozenset[float], frozenset({1.5})),
}
ROUND_TRIPPED: dict[str, tuple[Any, Any]] = {
    "any": (Any, {"a": [1, None]}),
    "object": (object, "a"),
    "bytes": (bytes, b"text"),
    "url": (HttpUrl, HttpUrl("https://example.org/a")),
    "path": (Path, Path("/a")),
    "address": (IPv4Address, IPv4Address("127.0.0.1")),
    "json_value": (JsonValue, {"a": [1]}),
    "sequence": (Sequence[int], [1]),
    "named_tuple": (Pair, Pair(1, [2])),
    "union_of_models": (Circle | Square, Square(side=1)),
    "union_of_text_like": (int | date, date(2024, 1, 1)),
}


@pytest.mark.parametrize(("annotation", "value"), WALKED.values(), ids=WALKED)
def test_containers_and_floats_cost_a_walk_and_no_round_trip(annotation: Any, value: Any) -> None:
    model = model_with(annotation)

    cls = declare(model)

    assert cls._payload_check is not None
    assert not cls._payload_check.round_trip
    assert_round_trips(cls(payload=model(value=value)))


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPPED.values(), ids=ROUND_TRIPPED)
def test_what_may_not_survive_json_is_written_and_read_back(annotation: Any, value: Any) -> None:
    model = model_with(annotation)

    cls = declare(model)

    assert cls._payload_check is not None
    assert cls._payload_check.round_trip
    assert_round_trips(cls(payload=model(value=value)))


# --- immutability -------------------------------------------------------------------------------------------


class Basket(BaseModel, frozen=True, extra="allow"):
    items: list[Item] = []
    prices: dict[str, list[int]] = {}
    tags: set[str] = set()
    pair: Pair = Pair(1, [2])
    point: Point = Point(1, [2])
    slotted: SlottedPoint = SlottedPoint(1, [2])
    anything: Any = None


def basket() -> Basket:
    return Basket.model_validate(
        {
            "items": [Item(sku="a")],
            "prices": {"a": [1]},
            "tags": {"new"},
            "anything": [{"deep": [1]}],
            "undeclared": [1],
        }
    )


CHANGES: dict[str, Callable[[Any], object]] = {
    "items": lambda payload: payload.items.append(Item(sku="b")),
    "prices": lambda payload: payload.prices.update(b=[2]),
    "prices_inside": lambda payload: payload.prices["a"].append(2),
    "tags": lambda payload: payload.tags.add("old"),
    "pair": lambda payload: payload.pair.rest.append(3),
    "point": lambda payload: payload.point.path.append(3),
    "slotted": lambda payload: payload.slotted.path.append(3),
    "anything": lambda payload: payload.anything.append(1),
    "anything_inside": lambda payload: payload.anything[0]["deep"].append(2),
    "undeclared": lambda payload: payload.undeclared.append(2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("way", ["new", "read", "deep_copy", "pickle", "model_copy"])
def test_nothing_inside_a_typed_payload_can_be_changed(change: Callable[[Any], object], way: str) -> None:
    event = BasketFilled(payload=basket())
    ways: dict[str, Callable[[], Event]] = {
        "new": lambda: event,
        "read": lambda: BasketFilled.from_json(event.to_json()),
        "deep_copy": lambda: copy.deepcopy(event),
        "pickle": lambda: pickle.loads(pickle.dumps(event)),  # noqa: S301 -- written on the line itself
        "model_copy": lambda: event.model_copy(update={"hops": 1}),
    }
    got = ways[way]()

    with pytest.raises(TypeError, match="event payloads are immutable"):
        change(got.payload)

    assert got.payload == event.payload == basket()


def test_the_payload_object_of_the_caller_stays_as_it_was_and_his_own() -> None:
    given = basket()
    event = BasketFilled(payload=given)

    given.items.append(Item(sku="b"))

    assert event.payload.items == [Item(sku="a")]
    assert type(given.items) is list


DOUBTFUL: dict[str, Any] = {
    "enum_of_decimals": Rates,
    "decimal_that_may_be_nan": Annotated[Decimal, Field(allow_inf_nan=True)],
    "dict_by_date": dict[date, int],
    "dict_by_float": dict[float, int],
    "literal_bytes": Literal[b"a"],
    "chosen_by_function": Annotated[
        Annotated[Circle, Tag("c")] | Annotated[Square, Tag("s")], Discriminator(lambda value: "c")
    ],
}


@pytest.mark.parametrize("annotation", DOUBTFUL.values(), ids=DOUBTFUL)
def test_types_whose_values_may_not_come_back_are_known_by_their_schema(annotation: Any) -> None:
    assert declare(model_with(annotation))._payload_check.round_trip


def test_floats_of_a_model_that_refuses_nan_cost_nothing() -> None:
    assert is_checked(declare(model_with(float)))
    assert not is_checked(declare(model_with(float, allow_inf_nan=False)))


def test_an_enum_that_json_cannot_bring_back_is_refused_by_its_field() -> None:
    with pytest.raises(ValidationError, match="cannot be read back from the JSON it is written as: value"):
        declare(model_with(Rates))(payload={"value": Rates.LOW})


def test_a_model_that_says_how_it_is_written_is_written_and_read_back() -> None:
    model = model_with(timedelta, ser_json_timedelta="float")
    cls = declare(model)

    assert cls._payload_check.round_trip
    assert_round_trips(cls(payload=model(value=timedelta(seconds=1.5))))


def test_a_payload_in_which_nothing_can_change_is_not_copied() -> None:
    given = model_with(float)(value=1.5)

    assert declare(type(given))(payload=given).payload is given


class Mutable(BaseModel):
    a: int = 1


@dataclass
class MutablePoint:
    x: int = 1


CHANGEABLE: dict[str, tuple[object, str]] = {
    "deque": (deque([1]), "is a deque, which can be changed; use a list, dict, set or tuple"),
    "bytearray": (bytearray(b"x"), "is a bytearray, which can be changed; use a list, dict, set or tuple"),
    "model": (Mutable(), "is a Mutable, which can be changed; write class Mutable(BaseModel, frozen=True)"),
    "dataclass": (MutablePoint(), "is a MutablePoint, which can be changed; write @dataclass(frozen=True)"),
}


@pytest.mark.parametrize(("value", "problem"), CHANGEABLE.values(), ids=CHANGEABLE)
def test_what_cannot_be_frozen_is_refused_by_its_place(value: object, problem: str) -> None:
    cls = declare(model_with(Any))

    with pytest.raises(ValidationError) as caught:
        cls(payload={"value": [value]})

    assert f"payload['value'][0] {problem}" in str(caught.value)


# --- values that JSON has not -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value", "place"),
    [
        (float, float("nan"), "['value']"),
        (list[float], [1.0, float("inf")], "['value'][1]"),
        (dict[str, float], {"a": float("-inf")}, "['value']['a']"),
        (frozenset[float], frozenset({float("nan")}), "['value'][0]"),
        (Page[float], Page[float](value=float("nan")), "['value']['value']"),
        (Any, {"a": float("nan")}, "['value']['a']"),
    ],
    ids=["field", "list", "dict", "frozenset", "model", "any"],
)
def test_nan_and_infinity_are_refused_wherever_a_model_admits_them(annotation: Any, value: object, place: str) -> None:
    cls = declare(model_with(annotation))

    with pytest.raises(ValidationError, match="which JSON does not have; send None or a string") as caught:
        cls(payload={"value": value})

    assert f"payload{place} is " in str(caught.value)


@pytest.mark.parametrize("annotation", [str, list[str]], ids=["safe", "checked"])
def test_a_lone_surrogate_is_refused_by_its_place(annotation: Any) -> None:
    model = model_with(annotation)
    bad = model.model_construct(value="\ud800" if annotation is str else ["\ud800"])
    cls = declare(model)

    with pytest.raises(ValueError, match=r"payload\['value'\].* holds a lone surrogate, which no bytes can carry"):
        admit(cls(payload=bad), 1000)


def test_an_event_that_cannot_be_written_names_itself_and_the_place() -> None:
    model = model_with(str)
    event = declare(model)(payload=model.model_construct(value="\ud800"))

    with pytest.raises(EventError) as caught:
        event.to_json()

    assert str(caught.value) == (
        f"event {event.id} (TYPED) cannot be written as JSON: payload['value'] holds a lone surrogate, "
        f"which no bytes can carry; decode the text with errors='replace'"
    )


def test_an_integer_that_cannot_be_read_back_is_refused_by_its_place() -> None:
    model = model_with(int)
    event = declare(model)(payload=model(value=10**5000))

    with pytest.raises(EventError, match=r"payload\['value'\] is an integer of over 4300 digits"):
        admit(event, 1_000_000)


def test_many_digits_in_a_text_do_no_harm() -> None:
    model = model_with(str)
    event = declare(model)(payload=model(value="1" * 5000))

    assert admit(event, 1_000_000)[0] is event


CHANGED_BY_JSON: dict[str, tuple[Any, object]] = {
    "tuple_as_any": (Any, (1, 2)),
    "set_as_any": (Any, {1}),
    "decimal_as_any": (Any, Decimal(1)),
    "secret": (SecretStr, "hunter2"),
    "ambiguous_union": (Item | LikeAnItem, LikeAnItem(sku="a")),
    "text_like_union": (str | date, date(2024, 1, 1)),
    "iterator": (Any, iter([])),
}


@pytest.mark.parametrize(("annotation", "value"), CHANGED_BY_JSON.values(), ids=CHANGED_BY_JSON)
def test_what_json_turns_into_something_else_is_refused_by_its_field(annotation: Any, value: object) -> None:
    cls = declare(model_with(annotation))

    with pytest.raises(ValidationError) as caught:
        cls(payload={"value": value})

    assert "payload['value'] comes back from JSON as something else; give it a type that JSON can carry" in str(
        caught.value
    )
    assert "hunter2" not in str(caught.value)


class Doubling(BaseModel, frozen=True):
    value: int

    @field_validator("value")
    @classmethod
    def double(cls, value: int) -> int:
        return value * 2


class Renaming(BaseModel, frozen=True):
    value: int

    @model_serializer
    def renamed(self) -> dict[str, int]:
        return {"other": self.value}


class Hiding(BaseModel, frozen=True):
    value: int
    hidden: str = Field(default="", exclude=True)


class Odd(BaseModel, frozen=True):
    value: Annotated[int, PlainSerializer(lambda value: f"#{value}")]


class NotAnObject(BaseModel, frozen=True):
    value: int

    @model_serializer
    def bare(self) -> int:
        return self.value


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (Doubling(value=1), "payload['value'] comes back from JSON as something else"),
        (Renaming(value=1), "cannot be read back from the JSON it is written as: value: Field required"),
        (Hiding(value=1, hidden="a"), "payload['hidden'] comes back from JSON as something else"),
        (Odd(value=1), "cannot be read back from the JSON it is written as: value: Input should be a valid"),
        (NotAnObject(value=1), "cannot be read back from the JSON it is written as: "),
        (model_with(bytes)(value=b"\xff"), "cannot be written as JSON: "),
        (model_with(Any)(value=object()), "cannot be written as JSON: "),
    ],
    ids=["validator", "model_serializer", "exclude", "serializer", "no_object", "bytes", "object"],
)
def test_a_model_that_does_not_write_what_it_reads_is_refused(payload: BaseModel, problem: str) -> None:
    cls = declare(type(payload))

    with pytest.raises(ValidationError) as caught:
        cls(payload=payload)

    assert problem in str(caught.value)


def test_a_validator_that_leaves_its_own_result_alone_is_fine() -> None:
    class Upper(BaseModel, frozen=True):
        value: str

        @field_validator("value")
        @classmethod
        def upper(cls, value: str) -> str:
            return value.upper()

    assert_round_trips(declare(Upper)(payload={"value": "a"}))


def test_computed_fields_are_not_written_so_that_a_model_without_extras_reads_its_own_json() -> None:
    class Square(BaseModel, frozen=True, extra="forbid"):
        side: int

        @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
        @property
        def area(self) -> int:
            return self.side**2

    cls = declare(Square)
    event = cls(payload=Square(side=3))

    assert not is_checked(cls)
    assert cls.from_json(event.to_json()) == event
    assert payload_json(event) == b'{"side":3}'


def test_json_in_a_field_is_written_as_json_in_a_field() -> None:
    class Wrapped(BaseModel, frozen=True):
        value: Json[list[int]]

    event = declare(Wrapped)(payload={"value": "[1]"})

    assert event.payload.value == [1]
    assert type(event).from_json(event.to_json()) == event


def test_a_strict_model_reads_its_own_json() -> None:
    model = model_with(tuple[Decimal, datetime, UUID, Colour], strict=True)
    event = declare(model)(payload=model(value=(Decimal(1), datetime.now(UTC), UUID(int=1), Colour.RED)))

    assert type(event).from_json(event.to_json()) == event


def test_an_object_of_a_subclass_of_the_payloads_model_is_refused_where_bytes_are_made() -> None:
    class RareItem(Item, frozen=True):
        rarity: int

    event = declare(Item)(payload=RareItem(sku="a", rarity=5))

    writers: list[Callable[[], object]] = [event.to_json, lambda: admit(event, 1000)]
    for write in writers:
        with pytest.raises(EventError) as caught:
            write()
        assert str(caught.value).endswith(
            "RareItem as its payload, but Typed declares Item; declare an event type for it"
        )


# --- types that are refused at declaration ------------------------------------------------------------------


class CamelCase(BaseModel, frozen=True):
    order_id: int = Field(alias="orderId")


class PersonByAlias(TypedDict):
    name: Annotated[str, Field(validation_alias="fullName")]


def changeable(name: str, fix: str) -> str:
    return f"holds {name}, whose objects can be changed, but events are immutable; write {fix}"


def by_alias(name: str, field: str) -> str:
    return (
        f"holds {name}, whose field {field!r} is read by its alias only, but events are written by "
        f"the names of fields; set populate_by_name=True in its configuration"
    )


def no_object(kind: str) -> str:
    return f"may be a JSON {kind}, but a payload is an object; declare a frozen pydantic model"


MUTABLE = changeable("Mutable", "class Mutable(BaseModel, frozen=True)")
MUTABLE_POINT = changeable("MutablePoint", "@dataclass(frozen=True)")
REFUSED: dict[str, tuple[Any, str]] = {
    "model": (Mutable, MUTABLE),
    "model_inside": (model_with(dict[str, list[Mutable] | None]), MUTABLE),
    "dataclass": (MutablePoint, MUTABLE_POINT),
    "dataclass_inside": (model_with(tuple[MutablePoint, ...]), MUTABLE_POINT),
    "alias": (CamelCase, by_alias("CamelCase", "order_id")),
    "alias_in_typed_dict": (PersonByAlias, by_alias("PersonByAlias", "name")),
    "int": (int, no_object("number")),
    "text": (str, no_object("string")),
    "time": (datetime, no_object("string")),
    "list": (list[Item], no_object("array")),
    "none": (Item | None, no_object("null")),
    "flag": (bool, no_object("boolean")),
    "literal": (Literal["a"], no_object("constant")),
    "root_model": (Numbers, no_object("array")),
    "union": (Item | int, no_object("number")),
}


@pytest.mark.parametrize(("annotation", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_payload_type_that_cannot_work_is_refused_when_declared(annotation: Any, problem: str) -> None:
    with pytest.raises(EventTypeError) as caught:
        declare(annotation)

    assert str(caught.value) == f"Typed.payload {problem}"


@pytest.mark.parametrize("config", [ConfigDict(populate_by_name=True), ConfigDict(frozen=True, populate_by_name=True)])
def test_an_alias_does_no_harm_when_the_name_is_read_too(config: ConfigDict) -> None:
    class Friendly(CamelCase, frozen=True):
        model_config = config

    cls = declare(Friendly)

    assert_round_trips(cls(payload={"orderId": 1}))
    assert_round_trips(cls(payload={"order_id": 1}))


def test_a_payload_that_is_any_json_object_may_be_typed_in_part() -> None:
    cls = declare(dict[str, Decimal])

    event = cls(payload={"a": "1.10"})

    assert event.payload == {"a": Decimal("1.10")}
    assert payload_json(event) == b'{"a":"1.10"}'
    assert_round_trips(event)


@pytest.mark.parametrize("annotation", [Person, Point, SlottedPoint, dict[str, int], Any], ids=str)
def test_payloads_need_not_be_models(annotation: Any) -> None:
    values = {Person: {"name": "a", "tags": ["b"]}, Point: Point(1, [2]), SlottedPoint: SlottedPoint(1, [2])}

    assert_round_trips(declare(annotation)(payload=values.get(annotation, {"a": 1})))


def test_a_payload_of_any_type_must_still_be_an_object() -> None:
    with pytest.raises(ValidationError, match="payload is no JSON object; declare a frozen pydantic model"):
        declare(Any)(payload=[1])


def test_private_attributes_of_a_payload_are_no_part_of_it() -> None:
    class Cached(BaseModel, frozen=True):
        value: int
        _seen: list[int] = PrivateAttr(default_factory=list)

    cls = declare(Cached)

    assert not is_checked(cls)
    assert cls.from_json(cls(payload=Cached(value=1)).to_json()).payload.value == 1


# --- laws ---------------------------------------------------------------------------------------------------

offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
earliest, latest = NAIVE.replace(year=2), NAIVE.replace(year=9998)
moments = st.datetimes(earliest, latest) | st.datetimes(earliest, latest, timezones=offsets)


class Rich(BaseModel, frozen=True):
    text: str
    count: int
    amount: Decimal
    when: datetime
    day: date
    hour: time
    took: timedelta
    ref: UUID
    colour: Colour
    tags: tuple[str, ...]
    item: Item | None
    either: int | str
    numbers: frozenset[int]


class Loose(Rich, frozen=True):
    share: float
    items: list[Item]
    by_name: dict[str, list[float]]


finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=5)
items = st.builds(Item, sku=texts, count=st.integers())
facts = {
    "text": texts,
    "count": st.integers(),
    "amount": st.decimals(allow_nan=False, allow_infinity=False),
    "when": moments,
    "hour": st.times(),
    "took": st.timedeltas(),
    "colour": st.sampled_from(Colour),
    "tags": st.lists(texts, max_size=3).map(tuple),
    "item": st.none() | items,
    "either": st.integers() | texts,
    "numbers": st.frozensets(st.integers(), max_size=3),
}


@given(st.builds(Rich, **facts))
def test_a_payload_of_a_type_that_promises_everything_round_trips(payload: Rich) -> None:
    assert_round_trips(RichHappened(payload=payload))


@given(
    st.builds(
        Loose,
        **facts,
        share=finite,
        items=st.lists(items, max_size=2),
        by_name=st.dictionaries(texts, st.lists(finite, max_size=2), max_size=2),
    )
)
def test_a_payload_of_a_type_that_leaves_something_open_round_trips(payload: Loose) -> None:
    assert_round_trips(LooseHappened(payload=payload))


class BasketFilled(Event):
    event_type: Literal["TYPED_BASKET_FILLED"] = "TYPED_BASKET_FILLED"
    payload: Basket


class RichHappened(Event):
    event_type: Literal["TYPED_RICH"] = "TYPED_RICH"
    payload: Rich


class LooseHappened(Event):
    event_type: Literal["TYPED_LOOSE"] = "TYPED_LOOSE"
    payload: Loose

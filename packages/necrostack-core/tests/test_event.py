"""Events: what the envelope promises, how it is written and read, and what a backend does with it."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from necrostack.errors import EventError, EventTooLarge
from necrostack.event import (
    MAX_EVENT_SIZE,
    Event,
    admit,
    as_declared,
    caused_by,
    check_event_type,
    declared_class,
    is_event,
    payload_json,
)

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)
NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001 -- this is what has to be refused


class Order(BaseModel, frozen=True, extra="forbid"):
    order_id: str
    amount: int = 0


class OrderPlaced(Event):
    event_type: Literal["EVENT_ORDER_PLACED"] = "EVENT_ORDER_PLACED"
    payload: Order


class RushOrderPlaced(OrderPlaced):
    """Merely inherits its event type."""


class Noted(Event):
    """Of the plain payload that any event may have."""

    event_type: Literal["EVENT_NOTED"] = "EVENT_NOTED"


def order_placed() -> OrderPlaced:
    return OrderPlaced(payload=Order(order_id="1", amount=2))


def make(**fields: Any) -> Event:
    return Event(**({"event_type": "X", "payload": {}} | fields))


# --- the envelope -------------------------------------------------------------------------------------------


def test_an_event_needs_no_class_of_its_own() -> None:
    before = datetime.now(UTC)
    event = Event(event_type="ORDER_PLACED", payload={"order_id": "1"})

    assert event.event_type == "ORDER_PLACED"
    assert event.payload == {"order_id": "1"}
    assert event.id.version == 4
    assert before <= event.timestamp <= datetime.now(UTC)
    assert event.timestamp.tzinfo is UTC
    assert (event.correlation_id, event.causation_id, event.hops) == (event.id, None, 0)
    assert event.headers == {}


def test_a_payload_may_be_left_out() -> None:
    assert make().payload == Event.model_validate({"event_type": "X"}).payload == {}


def test_two_events_never_share_an_id() -> None:
    assert len({make().id for _ in range(1000)}) == 1000


def test_a_given_id_is_kept_and_starts_the_chain() -> None:
    given = uuid4()

    event = make(id=given)

    assert event.id == event.correlation_id == given


@pytest.mark.parametrize("name", list(Event.model_fields))
def test_no_field_of_an_event_can_be_assigned(name: str) -> None:
    event = make()

    with pytest.raises(ValidationError, match="frozen"):
        setattr(event, name, getattr(event, name))


def test_no_field_of_an_event_can_be_deleted_and_none_added() -> None:
    event = make()

    with pytest.raises(ValidationError, match="frozen"):
        del event.payload
    with pytest.raises((ValidationError, ValueError)):
        event.extra = 1  # type: ignore[attr-defined]


def test_a_field_that_events_do_not_have_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"bogus\n.*Extra inputs are not permitted"):
        make(bogus=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "no uuid"),
        ("id", None),
        ("correlation_id", 5),
        ("causation_id", "no uuid"),
        ("hops", -1),
        ("hops", "many"),
        ("hops", 2**53),
        ("headers", None),
        ("headers", {"a": 1}),
        ("headers", {1: "a"}),
        ("headers", {"a": "\ud800"}),
        ("headers", [("a", "b")]),
        ("timestamp", None),
        ("timestamp", "yesterday"),
        ("payload", None),
    ],
)
def test_what_no_field_can_be_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        make(**{name: value})

    assert caught.value.errors()[0]["loc"][0] == name


def test_an_error_names_the_field_and_never_shows_the_payload() -> None:
    with pytest.raises(ValidationError) as caught:
        make(payload={"card": "4111-1111", "cvc": b"123"})

    assert "payload['cvc'] is a value of type bytes" in str(caught.value)
    assert "4111" not in str(caught.value)


# --- event types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", ["A", "x" * 255, "order.placed", "Zahlung fällig", "支払い", "a\u2028b"])
def test_an_event_type_is_any_text_without_control_characters(event_type: str) -> None:
    assert make(event_type=event_type).event_type == check_event_type(event_type) == event_type


@pytest.mark.parametrize("event_type", [" A ", "\nA\n", "\u2003A\u00a0"])
def test_blanks_around_an_event_type_are_stripped(event_type: str) -> None:
    assert make(event_type=event_type).event_type == check_event_type(event_type) == "A"


@pytest.mark.parametrize(
    "event_type",
    ["", "   ", "\n", "x" * 256, "a\x00b", "a\nb", "a\tb", "a\x7fb", "a\x85b", "\x1cA", "\ud800", "a\x9fb"],
)
def test_an_event_type_that_is_blank_too_long_or_holds_control_characters_is_refused(event_type: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make(event_type=event_type)
    with pytest.raises(EventError, match="is no event type; write 1 to 255 characters, no control characters"):
        check_event_type(event_type)

    assert caught.value.errors()[0]["loc"] == ("event_type",)


@pytest.mark.parametrize("event_type", [None, 5, ["A"], 1.0])
def test_an_event_type_that_is_no_text_is_refused(event_type: object) -> None:
    with pytest.raises(ValidationError, match="event_type"):
        make(event_type=event_type)


# --- timestamps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [NAIVE, "2024-01-01T00:00:00", "2024-01-01", date(2024, 1, 1)], ids=repr)
def test_a_naive_timestamp_is_refused(moment: object) -> None:
    with pytest.raises(ValidationError, match=r"timestamp\n.*should have timezone info"):
        make(timestamp=moment)


@pytest.mark.parametrize("moment", ["2024-01-01T05:30:00+05:30", "2023-12-31T19:00:00-05:00", 1704067200])
def test_other_offsets_become_utc(moment: object) -> None:
    event = make(timestamp=moment)

    assert event.timestamp == datetime(2024, 1, 1, tzinfo=UTC)
    assert event.timestamp.tzinfo is UTC


def test_an_offset_object_becomes_utc() -> None:
    moment = NAIVE.replace(tzinfo=timezone(timedelta(hours=5, minutes=30)))

    assert make(timestamp=moment).timestamp.isoformat() == "2023-12-31T18:30:00+00:00"


@pytest.mark.parametrize("moment", [EARLIEST, LATEST], ids=["earliest", "latest"])
def test_the_extremes_of_time_round_trip(moment: datetime) -> None:
    event = make(timestamp=moment)

    assert Event.from_json(event.to_json()).timestamp == event.timestamp == moment


@pytest.mark.parametrize(
    "moment",
    [
        LATEST.replace(tzinfo=timezone(timedelta(hours=-1))),
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
    ],
    ids=["object", "too_late", "too_early"],
)
def test_a_timestamp_outside_the_calendar_in_utc_is_refused(moment: object) -> None:
    with pytest.raises(ValidationError, match="lies outside the years 1 to 9999 in UTC"):
        make(timestamp=moment)


# --- equality -----------------------------------------------------------------------------------------------


def test_headers_are_no_part_of_equality() -> None:
    event = make()

    assert event == event.model_copy(update={"headers": {"trace": "1"}})
    assert hash(event) == hash(event.model_copy(update={"headers": {"trace": "1"}}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", UUID(int=1)),
        ("timestamp", datetime.now(UTC) + timedelta(days=1)),
        ("event_type", "Y"),
        ("payload", {"a": 1}),
        ("correlation_id", UUID(int=1)),
        ("causation_id", UUID(int=1)),
        ("hops", 1),
    ],
)
def test_every_other_field_is(name: str, value: object) -> None:
    event = make()

    assert event != event.model_copy(update={name: value})


def test_events_of_two_classes_are_not_equal() -> None:
    typed = order_placed()
    plain = Event.model_validate(typed.model_dump(mode="json"))

    assert typed != plain
    assert typed != "typed"


def test_events_can_be_members_of_a_set() -> None:
    event = make(payload={"a": [1]})

    assert len({event, event.model_copy(), make()}) == 2


# --- immutability and copies --------------------------------------------------------------------------------


def test_the_headers_of_an_event_cannot_change() -> None:
    given = {"trace": "1"}
    event = make(headers=given)

    given["trace"] = "2"
    with pytest.raises(TypeError, match="immutable"):
        event.headers["trace"] = "3"  # type: ignore[index]

    assert event.headers == {"trace": "1"}


def test_the_headers_that_nobody_gave_cannot_change_either() -> None:
    with pytest.raises(TypeError, match="immutable"):
        make().headers["trace"] = "3"  # type: ignore[index]


@pytest.mark.parametrize("event", [make(payload={"a": [{"b": 1}]}, headers={"t": "1"}), order_placed()], ids=type)
def test_copies_and_pickles_are_equal_and_as_immutable(event: Event) -> None:
    copies = [copy.copy(event), copy.deepcopy(event), event.model_copy(), event.model_copy(deep=True)]
    copies += [pickle.loads(pickle.dumps(event, n)) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)]  # noqa: S301

    for other in copies:
        assert other == event
        assert type(other) is type(event)
        assert other.headers == event.headers
        with pytest.raises((TypeError, ValidationError)):
            other.payload["a"].append(1) if type(event) is Event else setattr(other.payload, "order_id", "2")


def test_a_copy_with_changes_is_validated() -> None:
    event = order_placed()

    changed = event.model_copy(update={"headers": {"trace": "1"}, "payload": {"order_id": "2"}})

    assert changed.payload == Order(order_id="2")
    assert (changed.id, changed.headers) == (event.id, {"trace": "1"})
    with pytest.raises(TypeError, match="immutable"):
        changed.headers["trace"] = "2"  # type: ignore[index]
    with pytest.raises(ValidationError, match="timezone"):
        event.model_copy(update={"timestamp": NAIVE})
    with pytest.raises(ValidationError, match="bogus"):
        event.model_copy(update={"bogus": 1})


# --- what a constructor does not leave to pydantic ----------------------------------------------------------


T = TypeVar("T")


class Box(BaseModel, Generic[T], frozen=True):
    inside: T
    note: str | None = None


class BoxFilled(Event, Generic[T]):
    event_type: Literal["EVENT_BOX_FILLED"] = "EVENT_BOX_FILLED"
    payload: T


class BoxEmptied(Event):
    event_type: Literal["EVENT_BOX_EMPTIED"] = Field(default="EVENT_BOX_EMPTIED", validate_default=True)
    payload: Box[int] = Field(default=Box(inside=0), description="what was in it")


def as_validated(event: Event) -> Event:
    """What pydantic makes of the same arguments, at the same time and under the same id."""
    validated = type(event).model_validate({"payload": event.payload})
    vars(validated).update(id=event.id, correlation_id=event.id, timestamp=event.timestamp)
    return validated


@given(st.text(max_size=5), st.integers())
def test_an_event_made_of_a_payload_alone_is_what_pydantic_would_make_of_it(text: str, number: int) -> None:
    order, box = Order(order_id=text, amount=number), Box[int](inside=number)
    for event in (
        OrderPlaced(payload=order),
        RushOrderPlaced(payload=order),
        BoxFilled[Order](payload=order),
        BoxFilled[Box[int]](payload=box),
        BoxEmptied(payload=box),
    ):
        validated = as_validated(event)

        assert event == validated
        assert hash(event) == hash(validated)
        assert repr(event) == repr(validated)
        assert list(vars(event).items()) == list(vars(validated).items())
        assert event.__getstate__() == validated.__getstate__()
        assert event.model_fields_set == validated.model_fields_set == {"payload"}
        assert event.model_dump() == validated.model_dump()
        assert event.model_dump_json(exclude_unset=True) == validated.model_dump_json(exclude_unset=True)
        assert event.headers is validated.headers
        assert event.timestamp.tzinfo is UTC
        assert event.payload in (order, box)
        for copied in (copy.copy(event), copy.deepcopy(event), event.model_copy(), Event.model_copy(event, deep=True)):
            assert copied.__getstate__() == event.__getstate__()
        assert Event.model_validate_json(event.model_dump_json()).id == event.id


def test_that_takes_the_short_way_where_nothing_else_takes_part() -> None:
    assert OrderPlaced._made_of == RushOrderPlaced._made_of == (Order, "EVENT_ORDER_PLACED")
    assert BoxFilled[Order]._made_of == (Order, "EVENT_BOX_FILLED")


def test_the_constructor_is_the_one_that_type_checkers_and_pydantic_derive_from_the_fields() -> None:
    assert list(inspect.signature(OrderPlaced).parameters) == list(Event.model_fields)
    assert not OrderPlaced.__pydantic_custom_init__
    with pytest.raises(TypeError, match="positional"):
        cast("Any", OrderPlaced)(Order(order_id="1"))


class OpenOrder(BaseModel, frozen=True, revalidate_instances="always"):
    order_id: str


class SubclassedOrder(BaseModel, frozen=True, revalidate_instances="subclass-instances"):
    order_id: str


class Stated(BaseModel, frozen=True):
    """By its schema it is an order."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return handler.generate_schema(Order)


def upper(order: Order) -> Order:
    return Order(order_id=order.order_id.upper())


def not_directly_made() -> dict[str, tuple[type[Event], object]]:
    """Classes in whose constructor something else takes part, each with a payload that shows it."""

    class OnePlaced(Event):
        event_type: Literal["EVENT_ONE"] = "EVENT_ONE"
        payload: Order

    class ByField(OnePlaced):
        @field_validator("payload")
        @classmethod
        def _upper(cls, payload: Order) -> Order:
            return upper(payload)

    class ByEveryField(OnePlaced):
        @field_validator("*")
        @classmethod
        def _refuse(cls, value: object) -> object:
            raise ValueError("closed")

    class InheritsAValidator(ByField):
        event_type: Literal["EVENT_TWO"] = "EVENT_TWO"  # type: ignore[assignment]

    class Before(OnePlaced):
        @model_validator(mode="before")
        @classmethod
        def _upper(cls, data: Any) -> Any:
            return {"payload": upper(data["payload"])}

    class After(OnePlaced):
        @model_validator(mode="after")
        def _refuse(self) -> Self:
            raise ValueError("closed")

    class Annotation(Event):
        event_type: Literal["EVENT_ONE"] = "EVENT_ONE"
        payload: Annotated[Order, AfterValidator(upper)]

    class TypeAnnotation(Event):
        event_type: Annotated[Literal["EVENT_ONE"], AfterValidator(lambda _: 1 / 0)] = Field(
            "EVENT_ONE", validate_default=True
        )
        payload: Order

    class Private(OnePlaced):
        _seen: list[int] = PrivateAttr(default_factory=list)

    class PostInit(OnePlaced):
        def model_post_init(self, context: Any, /) -> None:
            vars(self)["payload"] = upper(self.payload)

    class OwnInit(OnePlaced):
        def __init__(self, **data: Any) -> None:
            super().__init__(**{**data, "payload": upper(data["payload"])})

    class OpenType(Event):
        event_type: Literal["EVENT_ONE", "EVENT_TWO"] = "EVENT_ONE"
        payload: Order

    class NoDefault(Event):
        event_type: Literal["EVENT_ONE"]
        payload: Order

    class Configured(OnePlaced):
        model_config = ConfigDict(revalidate_instances="always")

    class Revalidated(Event):
        event_type: Literal["EVENT_ONE"] = "EVENT_ONE"
        payload: OpenOrder

    class RevalidatedBelow(Event):
        event_type: Literal["EVENT_ONE"] = "EVENT_ONE"
        payload: SubclassedOrder

    class Frozen(Event):
        event_type: Literal["EVENT_ONE"] = "EVENT_ONE"
        payload: Box[list[int]]

    class RoundTrip(Event):
        event_type: Literal["EVENT_ONE"] = "EVENT_ONE"
        payload: Box[Any]

    class OneOfTwo(Event):
        event_type: Literal["EVENT_ONE"] = "EVENT_ONE"
        payload: Order | OpenOrder

    class OwnSchema(Event):
        event_type: Literal["EVENT_ONE"] = "EVENT_ONE"
        payload: Stated

    order = Order(order_id="a")
    usual: list[type[Event]] = [
        ByField,
        ByEveryField,
        InheritsAValidator,
        Before,
        After,
        Annotation,
        TypeAnnotation,
        Private,
        PostInit,
    ]
    usual += [OwnInit, OpenType, NoDefault, Configured, OneOfTwo]
    return {
        **{cls.__name__: (cls, order) for cls in usual},
        "Revalidated": (Revalidated, OpenOrder.model_construct(order_id=1)),
        "RevalidatedBelow": (RevalidatedBelow, SubclassedOrder(order_id="a")),
        "Frozen": (Frozen, Box[list[int]](inside=[1])),
        "RoundTrip": (RoundTrip, Box[Any](inside={1})),
        "OwnSchema": (OwnSchema, Stated.model_construct()),
    }


def outcome(make: Callable[[], Event]) -> object:
    """What became of an event, but for its id and its time."""
    try:
        event = make()
    except Exception as error:  # noqa: BLE001 -- it is compared
        return repr(error)
    kinds = {name: type(value) for name, value in vars(event).items()}
    dump = event.model_dump(exclude={"id", "correlation_id", "timestamp"})
    return dump, kinds, event.model_fields_set, event.__pydantic_private__, type(getattr(event.payload, "inside", None))


@pytest.mark.parametrize("name", not_directly_made())
def test_where_anything_else_takes_part_it_is_pydantic_that_makes_the_event(name: str) -> None:
    found, payload = not_directly_made()[name]
    cls: Any = found

    assert cls._made_of is None
    assert outcome(lambda: cls(payload=payload)) == outcome(lambda: cls.model_validate({"payload": payload}))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"payload": {"order_id": "1"}},
        {"payload": {"order_id": 1}},
        {"payload": None},
        {"payload": Box[int](inside=1)},
        {"payload": type("Sub", (Order,), {})(order_id="1")},
        {"payload": Order(order_id="1"), "colour": "red"},
        {"payload": Order(order_id="1"), "hops": 3},
        {"payload": Order(order_id="1"), "event_type": "EVENT_OTHER"},
        {"payload": Order(order_id="1"), "headers": {"a": "b"}},
        {"orders": Order(order_id="1")},
    ],
    ids=repr,
)
def test_all_other_arguments_are_validated(arguments: dict[str, Any]) -> None:
    assert outcome(lambda: OrderPlaced(**arguments)) == outcome(lambda: OrderPlaced.model_validate(arguments))


# --- bytes --------------------------------------------------------------------------------------------------

texts = st.text(max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
moments = st.datetimes(NAIVE.replace(year=2), timezones=st.just(UTC))
event_types = st.text(min_size=1, max_size=20).filter(
    # No class of another test declares it.
    lambda text: text.strip() and text.isprintable() and declared_class(text.strip()) is Event
)
events = st.builds(
    Event,
    id=st.uuids(),
    timestamp=moments,
    event_type=event_types,
    payload=st.dictionaries(texts, values, max_size=3),
    correlation_id=st.uuids(),
    causation_id=st.none() | st.uuids(),
    hops=st.integers(0, 2**53 - 1),
    headers=st.dictionaries(texts, texts, max_size=2),
)


@given(events)
def test_every_event_is_written_and_read_back_equal(event: Event) -> None:
    for back in (
        Event.from_json(event.to_json()),
        Event.from_json(event.to_json().decode()),
        Event.model_validate(event.model_dump(mode="json")),
        Event.model_validate(json.loads(json.dumps(event.model_dump(mode="json")))),
        Event.model_validate(event.model_dump()),
        Event.model_validate_json(event.model_dump_json()),
    ):
        assert back == event
        assert back.headers == event.headers


@given(events)
def test_what_is_admitted_under_a_limit_can_be_read_under_the_same(event: Event) -> None:
    limit = len(payload_json(event)) + (len(json.dumps(dict(event.headers))) if event.headers else 0)

    admitted, data = admit(event, limit)

    assert json.loads(data) == event.payload
    assert Event.from_json(admitted.to_json(), max_size=limit) == event


@given(st.text(max_size=30), st.integers(-(10**30), 10**30))
def test_a_typed_event_is_written_and_read_back_as_its_class(order_id: str, amount: int) -> None:
    event = OrderPlaced(payload=Order(order_id=order_id, amount=amount))

    for back in (
        Event.from_json(event.to_json()),
        OrderPlaced.from_json(event.to_json()),
        OrderPlaced.model_validate(event.model_dump(mode="json")),
        OrderPlaced.model_validate_json(event.model_dump_json()),
    ):
        assert back == event
        assert type(back) is OrderPlaced


def test_the_json_of_an_event_is_compact_utf8() -> None:
    event = make(id=UUID(int=1), timestamp=datetime(2024, 1, 1, tzinfo=UTC), payload={"name": "Zoë"})

    assert event.to_json().decode() == (
        '{"id":"00000000-0000-0000-0000-000000000001","correlation_id":"00000000-0000-0000-0000-000000000001",'
        '"causation_id":null,"hops":0,"timestamp":"2024-01-01T00:00:00Z","event_type":"X",'
        '"payload":{"name":"Zoë"},"headers":{}}'
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b'{"event_type":"X"} more', "Invalid JSON"),
        (b'\xef\xbb\xbf{"event_type":"X"}', "Invalid JSON"),
        (b'{"event_type":"X","payload":{"a":"\xff"}}', "Invalid JSON"),
        (b'{"event_type":"X","payload":{"a":"\\ud800"}}', "Invalid JSON"),
        (b'{"event_type":"X","payload":{"a":' + b"[" * 500 + b"]" * 500 + b"}}", "recursion limit exceeded"),
        (b'{"event_type":"X","payload":{"a":' + b"9" * 5000 + b"}}", "number out of range"),
        (b"[]", "Input should be an object"),
        (b"null", "Input should be an object"),
        (b"{}", "event_type: Field required"),
        (b'{"event_type":5}', "event_type: Input should be a valid string"),
        (b'{"event_type":" "}', "event_type: String should have at least 1 character"),
        (b'{"event_type":"X","bogus":1}', "bogus: Extra inputs are not permitted"),
        (
            b'{"event_type":"X","timestamp":"2024-01-01T00:00:00"}',
            "timestamp: Input should have timezone info",
        ),
        (b'{"event_type":"X","timestamp":"0000-01-01T00:00:00Z"}', "year"),
        (b'{"event_type":"X","payload":{"a":NaN}}', "payload: payload['a'] is nan"),
        (b'{"event_type":"X","payload":{"a":[1e999]}}', "payload: payload['a'][0] is inf"),
        (b'{"event_type":"X","payload":{"a":-Infinity}}', "payload: payload['a'] is -inf"),
        (b'{"event_type":"EVENT_ORDER_PLACED","payload":{}}', "payload.order_id: Field required"),
    ],
    ids=range(20),
)
def test_bytes_that_are_no_event_are_refused_with_the_reason(data: bytes, problem: str) -> None:
    with pytest.raises(EventError) as caught:
        Event.from_json(data)

    assert str(caught.value).startswith("this is not an event: ")
    assert problem in str(caught.value)


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_no_bytes_raise_anything_else(data: bytes | str) -> None:
    with pytest.raises(EventError):
        Event.from_json(data)


def test_a_text_with_a_lone_surrogate_is_no_event() -> None:
    with pytest.raises(EventError, match="holds a lone surrogate"):
        Event.from_json('{"event_type":"X\ud800"}')


def test_of_a_name_that_a_payload_repeats_the_last_counts() -> None:
    assert Event.from_json(b'{"event_type":"X","payload":{"a":1,"a":2}}').payload == {"a": 2}


@pytest.mark.parametrize(
    "data",
    [
        b'{"payload":{"order_id":"1"},"event_type":"EVENT_ORDER_PLACED"}',
        b'{ "event_type" : "EVENT_ORDER_PLACED" , "payload" : {"order_id":"1"}}',
        b'{"event_type":"EVENT\\u005fORDER_PLACED","payload":{"order_id":"1"}}',
        b'{"event_type":" EVENT_ORDER_PLACED ","payload":{"order_id":"1"}}',
    ],
    ids=["payload_first", "blanks", "escaped", "stripped"],
)
def test_the_class_is_found_however_the_json_is_written(data: bytes) -> None:
    extra = b'{"headers":{"event_type":"EVENT_NOTED"},' + data[1:]

    with pytest.raises(EventError, match="Extra inputs"):
        Event.from_json(data.replace(b'"order_id"', b'"other":1,"order_id"'))
    assert type(Event.from_json(data)) is OrderPlaced
    assert type(Event.from_json(extra)) is OrderPlaced


def test_an_event_that_only_mentions_another_type_is_read_as_what_it_is() -> None:
    data = b'{"payload":{"event_type":"EVENT_ORDER_PLACED"},"event_type":"X"}'

    assert type(Event.from_json(data)) is Event


def test_reading_by_a_class_that_the_event_is_not_of_is_an_error_that_says_so() -> None:
    with pytest.raises(EventError, match=r"'X' is read as a necrostack.event.Event, which is no OrderPlaced"):
        OrderPlaced.from_json(make().to_json())


def test_model_validate_of_a_class_returns_that_class() -> None:
    fields = order_placed().model_dump(mode="json")

    assert type(Event.model_validate(fields)) is Event
    assert type(OrderPlaced.model_validate(fields)) is OrderPlaced
    assert type(RushOrderPlaced.model_validate(fields)) is RushOrderPlaced


# --- size ---------------------------------------------------------------------------------------------------


def test_a_payload_over_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    event = make(payload={"a": "x" * 92})

    assert admit(event, 100)[0] is event
    with pytest.raises(EventTooLarge, match="has a payload and headers of 100 bytes, more than the 99 that are"):
        admit(event, 99)


def test_headers_count() -> None:
    event = make(headers={"a": "x" * 92})

    assert admit(event, 102)[0] is event
    with pytest.raises(EventTooLarge, match="102 bytes"):
        admit(event, 101)


def test_size_is_counted_in_bytes() -> None:
    with pytest.raises(EventTooLarge, match="of 208 bytes"):
        admit(make(payload={"a": "ü" * 100}), 150)


def test_two_mebibytes_are_too_much_to_read_unless_asked_for() -> None:
    data = make(payload={"a": "x" * 2 * MAX_EVENT_SIZE}).to_json()

    with pytest.raises(EventTooLarge, match="1048576 are allowed for payload and headers"):
        Event.from_json(data)
    assert Event.from_json(data, max_size=3 * MAX_EVENT_SIZE).payload["a"]


def test_the_longest_envelope_fits_beside_the_largest_payload() -> None:
    event = make(
        event_type='"' * 255,
        payload={"a": "x" * (MAX_EVENT_SIZE - 8)},
        causation_id=uuid4(),
        hops=2**53 - 1,
        timestamp=datetime.now(UTC).replace(microsecond=123456),
    )

    assert admit(event, MAX_EVENT_SIZE)[0] is event
    assert Event.from_json(event.to_json()) == event


# --- raising to the declared class --------------------------------------------------------------------------


def test_a_plain_event_is_raised_to_the_class_that_is_declared_for_its_type() -> None:
    plain = make(event_type="EVENT_ORDER_PLACED", payload={"order_id": "1"}, headers={"trace": "1"})

    raised = as_declared(plain)

    assert type(raised) is OrderPlaced
    assert raised.payload == Order(order_id="1")
    assert raised.model_dump(exclude={"payload"}) == plain.model_dump(exclude={"payload"})


def test_an_object_of_an_undeclared_subclass_becomes_what_is_declared() -> None:
    rush = RushOrderPlaced(payload=Order(order_id="1"))

    raised = as_declared(rush)

    assert type(raised) is OrderPlaced
    assert (raised.id, raised.payload) == (rush.id, rush.payload)


@pytest.mark.parametrize("event", [make(), order_placed()], ids=["plain", "typed"])
def test_what_is_of_its_declared_class_already_is_returned_itself(event: Event) -> None:
    assert as_declared(event) is event
    assert admit(event, 1000)[0] is event


def test_a_plain_event_that_is_not_what_its_type_says_cannot_be_raised() -> None:
    plain = make(event_type="EVENT_ORDER_PLACED", payload={"order": "secret"})

    with pytest.raises(EventError) as caught:
        as_declared(plain)

    assert str(caught.value) == (
        f"event {plain.id} is no {__name__}.OrderPlaced, which declares 'EVENT_ORDER_PLACED': "
        f"payload.order_id: Field required; payload.order: Extra inputs are not permitted"
    )


def test_a_declared_class_without_a_payload_of_its_own_keeps_the_plain_one() -> None:
    event = as_declared(make(event_type="EVENT_NOTED", payload={"a": [1]}))

    assert type(event) is Noted
    assert event.payload == {"a": [1]}
    assert payload_json(event) == b'{"a":[1]}'
    with pytest.raises(ValidationError, match="payload"):
        Noted(payload={"a": b""})


def test_an_event_is_told_from_everything_else() -> None:
    assert is_event(make())
    assert is_event(order_placed())
    assert not is_event(Order(order_id="1"))
    assert not is_event(OrderPlaced)
    assert not is_event(None)


# --- lineage ------------------------------------------------------------------------------------------------


def test_a_child_takes_its_lineage_from_its_parent_and_keeps_everything_else() -> None:
    parent = make(hops=4, correlation_id=uuid4())
    event = OrderPlaced(payload=Order(order_id="1"), headers={"trace": "1"}, hops=77)

    child = caused_by(event, parent)

    assert (child.correlation_id, child.causation_id, child.hops) == (parent.correlation_id, parent.id, 5)
    kept = {"id", "timestamp", "event_type", "payload", "headers"}
    assert child.model_dump(include=kept) == event.model_dump(include=kept)
    assert type(child) is OrderPlaced
    assert event.hops == 77
    assert Event.from_json(child.to_json()) == child


def test_a_child_of_a_root_belongs_to_the_chain_of_the_root() -> None:
    root = make()

    grandchild = caused_by(make(), caused_by(make(), root))

    assert (grandchild.correlation_id, grandchild.hops) == (root.id, 2)


def test_a_child_with_the_id_of_its_parent_is_refused() -> None:
    parent = make()

    with pytest.raises(EventError, match=r"carries the id of the event it was emitted for .* without id="):
        caused_by(make(id=parent.id), parent)


def test_the_children_of_one_parent_do_not_share_what_can_change() -> None:
    parent = make()
    first, second = caused_by(make(), parent), caused_by(make(), parent)

    first.__dict__["hops"] = 9

    assert second.hops == 1


def test_private_attributes_go_with_a_child() -> None:
    class Marked(Event):
        event_type: Literal["EVENT_MARKED"] = "EVENT_MARKED"
        _mark: int = PrivateAttr(default=0)

    event = Marked(payload={})
    object.__setattr__(event, "__pydantic_private__", {"_mark": 5})

    assert caused_by(event, make())._mark == 5  # type: ignore[attr-defined]

"""Plain payloads: any JSON object, deeply immutable, and nothing else."""

from __future__ import annotations

import copy
import json
import pickle
from collections import OrderedDict, abc, defaultdict, deque
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from necrostack.payload import (
    MAX_DEPTH,
    FrozenDict,
    FrozenList,
    FrozenSet,
    check_headers,
    freeze_json,
    json_bytes,
    may_be_unreadable,
)

texts = st.text(max_size=6)  # without surrogates, as Hypothesis makes them
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Kind(StrEnum):
    PLAIN = "plain"


class Order(BaseModel):
    order_id: str


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError


def containers(value: object) -> list[object]:
    """Every list and dict in a JSON value, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [] if inner is None else [value, *(found for item in inner for found in containers(item))]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


# --- what is a JSON object ----------------------------------------------------------------------------------


@given(json_objects)
def test_any_json_object_is_kept_as_it_is(payload: dict[str, Any]) -> None:
    assert freeze_json(payload) == payload


@given(json_objects)
def test_a_frozen_payload_is_written_and_read_back_equal(payload: dict[str, Any]) -> None:
    assert json.loads(json_bytes(freeze_json(payload))) == payload


@given(json_objects)
def test_nothing_that_can_change_is_shared_with_what_was_given(payload: dict[str, Any]) -> None:
    frozen = freeze_json(payload)

    assert {type(part) for part in containers(frozen)} <= {FrozenDict, FrozenList}
    assert not {id(part) for part in containers(frozen)} & {id(part) for part in containers(payload)}


def test_what_the_caller_changes_afterwards_does_not_arrive() -> None:
    lines = [{"sku": "a"}]
    frozen = freeze_json({"lines": lines})

    lines[0]["sku"] = "b"
    lines.append({"sku": "c"})

    assert frozen == {"lines": [{"sku": "a"}]}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (Kind.PLAIN, "plain"),
        (Size.BIG, 3),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (True, True),
        (FrozenList([FrozenDict(a=1)]), [{"a": 1}]),
    ],
    ids=["str_enum", "int_enum", "ordered_dict", "defaultdict", "bool", "frozen"],
)
def test_subclasses_of_json_types_become_what_json_makes_of_them(given: object, kept: object) -> None:
    value = freeze_json({"value": given})["value"]

    assert value == kept
    assert type(value) in (str, int, bool, FrozenDict, FrozenList)


def test_keys_that_are_members_of_an_enum_become_plain_strings() -> None:
    [key] = freeze_json({Kind.PLAIN: 1})

    assert type(key) is str
    assert key == "plain"


# --- what is none -------------------------------------------------------------------------------------------

DECLARE = "or declare a typed event"
OTHER = f"send strings, numbers, booleans, None, lists and dicts, {DECLARE}"
TOO_LONG = "is an integer of over 4300 digits, which no JSON parser reads; send a string"


def no_json(name: str, advice: str) -> str:
    return f"is a value of type {name}, which JSON does not have; {advice}"


NO_JSON = {
    "nan": (float("nan"), "is nan, which JSON does not have; send None or a string"),
    "infinity": (float("inf"), "is inf, which JSON does not have; send None or a string"),
    "minus_infinity": (float("-inf"), "is -inf, which JSON does not have; send None or a string"),
    "datetime": (datetime.now(UTC), no_json("datetime", f"send value.isoformat(), {DECLARE}")),
    "date": (date(2024, 1, 1), no_json("date", f"send value.isoformat(), {DECLARE}")),
    "time": (time(1), no_json("time", f"send value.isoformat(), {DECLARE}")),
    "decimal": (Decimal(1), no_json("Decimal", f"send str(value), {DECLARE}")),
    "uuid": (UUID(int=1), no_json("UUID", f"send str(value), {DECLARE}")),
    "bytes": (b"x", no_json("bytes", "send text, such as base64")),
    "bytearray": (bytearray(b"x"), no_json("bytearray", "send text, such as base64")),
    "set": ({1}, no_json("set", "send a sorted list")),
    "frozenset": (frozenset(), no_json("frozenset", "send a sorted list")),
    "tuple": ((1, 2), no_json("tuple", "send a list")),
    "enum": (Colour.RED, no_json("Colour", f"send its value, {DECLARE}")),
    "model": (Order(order_id="1"), no_json("Order", f"send value.model_dump(mode='json'), {DECLARE}")),
    "deque": (deque([1]), no_json("deque", OTHER)),
    "unshowable": (Unshowable(), no_json("Unshowable", OTHER)),
    "long_integer": (10**4300, TOO_LONG),
    "long_negative_integer": (-(10**4999), TOO_LONG),
    "surrogate": (
        "\ud800",
        "holds a lone surrogate, which no bytes can carry; decode the text with errors='replace'",
    ),
    "integer_key": ({1: "a"}, "has a key of type int; JSON keys are strings, write str(key)"),
    "none_key": ({None: "a"}, "has a key of type NoneType; JSON keys are strings, write str(key)"),
    "surrogate_key": (
        {"\udfff": "a"},
        "has a key with a lone surrogate, '\\udfff'; decode the text with errors='replace'",
    ),
}


@pytest.mark.parametrize(("value", "problem"), NO_JSON.values(), ids=NO_JSON)
def test_what_json_has_not_is_refused_with_place_reason_and_advice(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match="payload") as caught:
        freeze_json({"order": {"lines": ["fine", value]}})

    assert str(caught.value) == f"payload['order']['lines'][1] {problem}"


@pytest.mark.parametrize("value", [None, [1], "{}", 5, ({},), frozenset()], ids=repr)
def test_a_payload_that_is_no_dict_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="payload is a value of type") as caught:
        freeze_json(value)

    assert str(caught.value).endswith("; a payload is a dict, such as {'value': 1}")


def test_an_integer_of_exactly_as_many_digits_as_can_be_read_is_kept() -> None:
    longest = 10**4300 - 1

    frozen = freeze_json({"plus": longest, "minus": -longest})

    assert json.loads(json_bytes(frozen)) == {"plus": longest, "minus": -longest}


def test_as_many_levels_as_promised_are_kept_and_one_more_is_refused() -> None:
    assert freeze_json(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    with pytest.raises(ValueError, match=r"is nested deeper than 64 levels; flatten the payload$"):
        freeze_json(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("levels", [500, 50_000])
def test_no_depth_breaks_the_check(levels: int) -> None:
    with pytest.raises(ValueError, match="nested deeper than 64 levels"):
        freeze_json({"deep": nested(levels)})


def test_a_dict_in_itself_is_called_what_it_is() -> None:
    payload: dict[str, Any] = {}
    payload["me"] = {"again": payload}

    with pytest.raises(ValueError, match=r"contains itself$"):
        freeze_json(payload)


def test_a_list_in_itself_is_called_what_it_is() -> None:
    items: list[Any] = []
    items.append(items)

    with pytest.raises(ValueError, match=r"contains itself$"):
        freeze_json({"items": items})


def test_one_container_in_two_places_is_no_cycle() -> None:
    shared = [1]

    assert freeze_json({"a": shared, "b": {"c": shared}}) == {"a": [1], "b": {"c": [1]}}


def test_a_message_never_shows_a_value_that_may_be_secret() -> None:
    with pytest.raises(ValueError, match="password") as caught:
        freeze_json({"password": b"hunter2"})

    assert "hunter2" not in str(caught.value)


def test_a_long_path_is_cut() -> None:
    with pytest.raises(ValueError, match="…") as caught:
        freeze_json({"k" * 100_000: b""})

    assert len(str(caught.value)) < 300


# --- immutability -------------------------------------------------------------------------------------------

FROZEN = [FrozenDict(a=1), FrozenList([2, 1]), FrozenSet([1, 2])]
DICT_CHANGES: dict[str, tuple[Any, ...]] = {
    "__setitem__": ("a", 2),
    "__delitem__": ("a",),
    "__ior__": ({"a": 2},),
    "update": ({"a": 2},),
    "setdefault": ("b", 2),
    "pop": ("a",),
    "popitem": (),
    "clear": (),
}
LIST_CHANGES: dict[str, tuple[Any, ...]] = {
    "__setitem__": (0, 3),
    "__delitem__": (slice(None),),
    "__iadd__": ([3],),
    "__imul__": (2,),
    "append": (3,),
    "extend": ([3],),
    "insert": (0, 3),
    "pop": (),
    "remove": (1,),
    "clear": (),
    "sort": (),
    "reverse": (),
}
SET_CHANGES: dict[str, tuple[Any, ...]] = {
    "add": (3,),
    "discard": (1,),
    "remove": (1,),
    "pop": (),
    "clear": (),
    "update": ({3},),
    "difference_update": ({1},),
    "intersection_update": ({1},),
    "symmetric_difference_update": ({1},),
    "__ior__": ({3},),
    "__iand__": ({1},),
    "__isub__": ({1},),
    "__ixor__": ({1},),
}
CHANGES: list[tuple[Any, str, tuple[Any, ...]]] = [
    (frozen, method, arguments)
    for frozen, changes in zip(FROZEN, (DICT_CHANGES, LIST_CHANGES, SET_CHANGES), strict=True)
    for method, arguments in changes.items()
]


@pytest.mark.parametrize(("frozen", "method", "arguments"), CHANGES)
def test_no_method_changes_what_is_frozen(frozen: Any, method: str, arguments: tuple[Any, ...]) -> None:
    before = pickle.dumps(frozen)

    with pytest.raises(TypeError, match="event payloads are immutable; emit a new event"):
        getattr(frozen, method)(*arguments)

    assert pickle.dumps(frozen) == before


@pytest.mark.parametrize(
    ("frozen", "mutable", "readable"),
    [
        (FrozenDict, abc.MutableMapping, abc.Mapping),
        (FrozenList, abc.MutableSequence, abc.Sequence),
        (FrozenSet, abc.MutableSet, abc.Set),
    ],
)
def test_nothing_that_changes_a_builtin_is_left_in_its_frozen_form(frozen: type, mutable: type, readable: type) -> None:
    builtin = frozen.__mro__[1]
    changing = (set(dir(mutable)) - set(dir(readable))) | {"__iadd__", "__imul__", "__ior__"}

    left = {name for name in changing & set(dir(builtin)) if getattr(frozen, name) is getattr(builtin, name)}

    assert left == set()


@pytest.mark.parametrize("frozen", FROZEN, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_frozen_can_be_pickled_and_stays_frozen(frozen: Any, protocol: int) -> None:
    back = pickle.loads(pickle.dumps(frozen, protocol))  # noqa: S301 -- written on the line itself

    assert back == frozen
    assert type(back) is type(frozen)


@pytest.mark.parametrize("frozen", FROZEN, ids=lambda value: type(value).__name__)
def test_copies_of_what_is_frozen_are_itself(frozen: Any) -> None:
    assert copy.copy(frozen) is frozen
    assert copy.deepcopy(frozen) is frozen


def test_what_is_frozen_is_still_a_dict_and_a_list_to_everyone_else() -> None:
    frozen = freeze_json({"a": [1, 2], "b": {"c": None}})

    assert json.loads(json.dumps(frozen)) == {"a": [1, 2], "b": {"c": None}}
    assert dict(**frozen) == frozen
    assert [*frozen["a"], 3] == [1, 2, 3]
    assert frozen | {"d": 1} == {"a": [1, 2], "b": {"c": None}, "d": 1}
    match frozen:
        case {"a": [first, *_], "b": {"c": None}}:
            assert first == 1
        case _:
            pytest.fail("a frozen payload must match like any other")


def test_a_changeable_copy_is_one_call_away() -> None:
    changeable = dict(freeze_json({"a": 1}))

    changeable["a"] = 2

    assert changeable == {"a": 2}


# --- headers, bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{"trace": "\ud800"}, {"\ud800": "on"}])
def test_headers_with_a_lone_surrogate_are_refused_by_name(headers: dict[str, str]) -> None:
    [name] = headers

    with pytest.raises(ValueError, match="holds a lone surrogate") as caught:
        check_headers(headers)

    assert repr(name) in str(caught.value)


def test_only_bytes_with_very_many_digits_in_a_row_are_suspected() -> None:
    assert may_be_unreadable(b'{"a":' + b"1" * 4301 + b"}")
    assert not may_be_unreadable(b'{"a":' + b"1" * 4299 + b"}")
    assert not may_be_unreadable(b'{"a":"' + b"1a" * 4301 + b'"}')

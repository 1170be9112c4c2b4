"""Values: what they have in common is what `dataclass` would have given to each."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import pytest

import necrostack
from necrostack.value import Value


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Place(Value):
    name: str
    inside: object = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Street(Place): ...


@dataclass(frozen=True, slots=True)
class ByDataclass:
    name: str
    inside: object = None


def test_values_of_one_class_with_equal_parts_are_equal_and_have_one_hash() -> None:
    assert Place("a", 1.0) == Place("a", 1)
    assert hash(Place("a", 1.0)) == hash(Place("a", 1))
    assert Place("a") != Place("b")


def test_a_value_is_equal_to_none_of_another_class() -> None:
    assert Place("a") != Street("a")
    assert Place("a") != ("a", None)


def test_a_value_shows_itself_as_a_dataclass_does() -> None:
    ours, theirs = Place("a", [Place("b")]), ByDataclass("a", [ByDataclass("b")])

    assert repr(ours) == repr(theirs).replace("ByDataclass", "Place")


def test_a_value_that_holds_itself_can_be_shown() -> None:
    inside: list[object] = []
    place = Place("a", inside)
    inside.append(place)

    assert repr(place) == "Place(name='a', inside=[...])"


def test_a_value_with_a_part_that_has_no_hash_has_none() -> None:
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        hash(Place("a", []))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])  # noqa: S301
def test_a_copy_is_equal(copied: object) -> None:
    assert callable(copied)

    assert copied(Place("a", 1)) == Place("a", 1)


def test_what_is_written_here_is_not_generated_once_more() -> None:
    assert all(getattr(necrostack, name) for name in necrostack.__all__), "they are loaded when they are asked for"

    values = Value.__subclasses__()

    assert [value.__qualname__ for value in values if {"__eq__", "__hash__", "__repr__"} & vars(value).keys()] == []
    assert values

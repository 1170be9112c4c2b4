"""Who gets which events."""

from __future__ import annotations

import pytest

from necrostack.errors import OrganError
from necrostack.event import Event
from necrostack.organ import Organ
from necrostack.routing import Routes


class First(Organ):
    listens_to = ["A", "B", "A"]

    def handle(self, event: Event) -> None: ...


class Second(Organ):
    listens_to = ["B"]

    def handle(self, event: Event) -> None: ...


def names(routes: Routes, event_type: str) -> list[str]:
    return [spec.name for spec in routes.by_event_type.get(event_type, ())]


@pytest.mark.parametrize("organs", [[First(), Second()], [Second(), First()]], ids=["forth", "back"])
def test_the_organs_of_an_event_type_are_in_registration_order(organs: list[Organ]) -> None:
    routes = Routes(organs)

    assert names(routes, "B") == [organ.name for organ in organs]
    assert names(routes, "A") == ["First"]
    assert names(routes, "C") == []
    assert [*routes.by_name] == [spec.name for spec in routes.specs] == [organ.name for organ in organs]


def test_event_types_are_matched_exactly() -> None:
    routes = Routes([Second()])

    assert [names(routes, name) for name in ("b", "B ", "B.C", "*")] == [[], [], [], []]


def test_two_organs_of_one_name_are_refused_with_the_fix() -> None:
    with pytest.raises(OrganError) as caught:
        Routes([First(), Second(name="First")])

    assert str(caught.value) == (
        "two Organs are named 'First' (First and Second); give one of them another name, such as Second(name='First2')"
    )


def test_one_organ_under_two_names_is_two_organs() -> None:
    assert names(Routes([First(), First(name="Spare")]), "A") == ["First", "Spare"]


def test_one_organ_twice_is_refused() -> None:
    organ = First()

    with pytest.raises(OrganError, match="two Organs are named 'First'"):
        Routes([organ, organ])


def test_no_organ_is_fine() -> None:
    assert Routes([]).by_event_type == {}

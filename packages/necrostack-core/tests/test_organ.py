"""The Organ's base class."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest

from necrostack.event import Event
from necrostack.organ import Organ
from necrostack.spine import Spine


class Clerk(Organ):
    listens_to = ["A"]

    def handle(self, event: Event) -> None: ...


@dataclass
class Teller(Clerk):
    desk: int


class OwnBeginning(Clerk):
    def __init__(self, desk: int) -> None:
        self.desk = desk


def test_an_organ_is_called_like_its_class_unless_it_is_named() -> None:
    assert Clerk().name == "Clerk"
    assert Clerk(name="night shift").name == "night shift"


def test_a_name_is_given_by_keyword_only() -> None:
    with pytest.raises(TypeError):
        Clerk("night shift")  # type: ignore[call-arg]


def test_an_empty_name_is_kept_for_the_inspection_to_refuse() -> None:
    assert Clerk(name="").name == ""


def test_an_organ_need_not_call_the_init_of_its_base() -> None:
    assert OwnBeginning(5).name == "OwnBeginning"


async def test_an_organ_may_be_a_dataclass() -> None:
    spine = Spine([Teller(5)])

    report = await spine.run_until_idle(Event(event_type="A", payload={}))

    assert report.organs["Teller"].handled == 1


def test_a_class_may_fix_its_name() -> None:
    class Named(Clerk):
        name = "archive"

    assert Named().name == "archive"


async def test_an_organ_has_no_limits_and_hooks_that_do_nothing() -> None:
    clerk = Clerk()

    await clerk.startup()
    await clerk.shutdown()

    assert (clerk.retry, clerk.timeout) == (None, None)


def test_an_organ_without_a_handle_can_be_made_so_that_the_spine_can_say_what_is_missing() -> None:
    class Empty(Organ):
        listens_to = ["A"]

    assert not inspect.isabstract(Empty)
    assert not hasattr(Empty(), "handle")  # type: ignore[abstract]

"""The pytest plugin: fixtures for whoever has both installed. Nothing else of NecroStack imports pytest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import pytest

from necrostack.organ import Organ
from necrostack.testing.clock import VirtualClock
from necrostack.testing.fixture import SpineFixture


class SpineFactory(Protocol):
    """What the fixture `necrostack_spine` gives. See `SpineFixture` for the arguments."""

    def __call__(self, organs: Iterable[Organ[Any]], **settings: Any) -> SpineFixture:
        """Make a Spine on memory, in the time of the fixture `necrostack_clock`."""


@pytest.fixture
def necrostack_clock() -> VirtualClock:
    """A clock whose time passes only when the test says so."""
    return VirtualClock()


@pytest.fixture
def necrostack_spine(necrostack_clock: VirtualClock) -> SpineFactory:
    """Makes Spines on memory and virtual time.

    `spine = necrostack_spine([Billing()])`, then `await spine.run(event)`.
    """

    def make(organs: Iterable[Organ[Any]], **settings: Any) -> SpineFixture:
        return SpineFixture(organs, clock=necrostack_clock, **settings)

    return make

"""What all tests of the core share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

import necrostack.event

# The same examples in every run, and no time limit for one: machines differ.
settings.register_profile("necrostack", derandomize=True, deadline=None)
settings.load_profile("necrostack")


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Takes back the event classes that a test declares."""
    registry = necrostack.event._declared_classes
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)

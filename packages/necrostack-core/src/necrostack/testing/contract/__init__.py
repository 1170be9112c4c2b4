"""The contract of a backend, as checks that run without pytest.

`CONTRACT` holds every check. Write a `BackendFactory` for a backend, then:

>>> import asyncio
>>> async def main() -> None:
...     factory = InMemoryFactory()
...     for check in CONTRACT[:3]:
...         if not check.not_applicable(factory):
...             await check(factory)
>>> asyncio.run(main())

A check raises AssertionError where the backend breaks the contract. With pytest, parametrise over CONTRACT
and skip what `not_applicable` gives a reason for, so that nothing passes silently.
"""

from __future__ import annotations

from collections.abc import Sequence

from necrostack.testing.contract import (
    announcing,
    closing,
    dead_letters,
    ending,
    enqueueing,
    failing,
    fidelity,
    handling,
    history,
    looking,
    pulling,
    releasing,
    scheduling,
    settling,
)
from necrostack.testing.contract.check import Check, NotApplicable, registered
from necrostack.testing.contract.factory import BackendFactory, Feature, InMemoryFactory

_CHAPTERS = (
    pulling,
    enqueueing,
    fidelity,
    settling,
    releasing,
    scheduling,
    dead_letters,
    history,
    looking,
    announcing,
    closing,
    handling,
    failing,
    ending,
)

CONTRACT: Sequence[Check] = tuple(check for chapter in _CHAPTERS for check in registered[chapter.__name__])
"""Every check of the contract, what is simplest first."""

__all__ = ["CONTRACT", "BackendFactory", "Check", "Feature", "InMemoryFactory", "NotApplicable"]

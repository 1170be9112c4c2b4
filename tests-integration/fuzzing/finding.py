"""What is wrong with what an input did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

LONGEST_TOLD = 20_000
"""Characters that an error may say, whatever it is about."""


class Finding(AssertionError):
    """Something that must not be."""


def expect(condition: object, what: str) -> None:
    """Find something, unless a condition holds."""
    if not condition:
        raise Finding(what)


def read_or_none(read: Callable[[], T], *declared: type[Exception]) -> T | None:
    """Return what is read, or None where it is refused as documented: any other error is a finding by itself."""
    try:
        return read()
    except declared as error:
        told = str(error)
        expect(told, "an error must say something")
        expect(len(told) <= LONGEST_TOLD, f"an error says {len(told)} characters")
        return None


@contextmanager
def unlike(what: str) -> Iterator[None]:
    """Say of an error in here that it must not be."""
    try:
        yield
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"{what}: {type(error).__name__}: {error}") from error

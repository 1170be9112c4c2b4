"""What frozen values have in common."""

from __future__ import annotations

from dataclasses import fields
from reprlib import recursive_repr
from typing import Any


class Value:
    """Equality, hash and text of a frozen dataclass that leaves them to this base.

    They are the same for all, but `dataclass` writes and compiles them for each class anew, which is a third of what it
    takes to define one. Every program pays for that when it starts.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, slots=True, eq=False, repr=False)
    ... class Place(Value):
    ...     name: str
    >>> Place("here"), Place("here") == Place("here")
    (Place(name='here'), True)
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _parts(self) == _parts(other)

    def __hash__(self) -> int:
        return hash(_parts(self))

    @recursive_repr()
    def __repr__(self) -> str:
        value: Any = self
        parts = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(value))
        return f"{type(self).__qualname__}({parts})"


def _parts(value: Any) -> tuple[object, ...]:
    return tuple(getattr(value, field.name) for field in fields(value))

"""Plain payloads: any JSON object, checked and frozen in one pass, and written as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn, Self

from pydantic import BaseModel

MAX_DEPTH = 64
"""How deep a plain payload may nest. JSON parsers give up at 200 levels and less; this leaves them room."""

MAX_INT_DIGITS = 4300
"""Integers with more digits cannot be read back: CPython's and pydantic's JSON parsers both stop there."""

_TOO_BIG = 10**MAX_INT_DIGITS
# An integer of fewer bits has certainly fewer digits; comparing bit lengths is cheap for every size.
_SURELY_SMALL_BITS = 14_000
_DIGITS = b"0123456789"


# --- containers that refuse to change -----------------------------------------------------------------------


def _immutable(self: object, *args: object, **kwargs: object) -> NoReturn:
    msg = "event payloads are immutable; emit a new event instead of changing this one"
    raise TypeError(msg)


class FrozenDict(dict[str, Any]):
    """A dict that refuses to change. Still a dict for `json`, `match`, `**` and `==`."""

    __slots__ = ()

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _immutable

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


NO_HEADERS = FrozenDict()
"""What most events have."""


class FrozenList(list[Any]):
    """A list that refuses to change. Still a list for `json`, `match`, `*` and `==`."""

    __slots__ = ()

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __iadd__ = __imul__ = append = extend = insert = _immutable
        pop = remove = clear = sort = reverse = _immutable

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class FrozenSet(set[Any]):
    """A set that refuses to change. A `frozenset` would do, if pydantic wrote one where it expects a set."""

    __slots__ = ()

    if not TYPE_CHECKING:
        add = discard = remove = pop = clear = update = _immutable
        difference_update = intersection_update = symmetric_difference_update = _immutable
        __iand__ = __ior__ = __isub__ = __ixor__ = _immutable

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenSet, (list(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


# --- why a value is refused, and where it stands ------------------------------------------------------------


class Refused(Exception):
    """A value that an event must not hold. Whoever lets it pass adds the key under which it stands.

    Attributes:
        problem: What is wrong with it and what to do, to follow the path: "is nan, which …".
        keys: Where it stands, innermost first.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.keys: list[object] = []

    def told(self, problem: str | None = None) -> ValueError:
        """Return the error that says where, what, and what to do; never the value: it may be a secret."""
        path = "payload" + "".join(f"[{key!r}]" for key in reversed(self.keys))
        return ValueError(f"{path if len(path) <= 120 else path[:119] + '…'} {problem or self.problem}")


def not_json(value: object) -> Refused:
    """Refuse a value of a type that JSON does not have."""
    return Refused(f"is a value of type {type(value).__name__}, which JSON does not have; {_advice(value)}")


def check_text(value: str) -> None:
    """Refuse a lone surrogate."""
    if has_surrogate(value):
        raise Refused("holds a lone surrogate, which no bytes can carry; decode the text with errors='replace'")


def check_int(value: int) -> None:
    """Refuse an integer that could be written, but not read back."""
    if value.bit_length() > _SURELY_SMALL_BITS and not -_TOO_BIG < value < _TOO_BIG:
        raise Refused(f"is an integer of over {MAX_INT_DIGITS} digits, which no JSON parser reads; send a string")


def check_float(value: float) -> None:
    """Refuse NaN and infinity."""
    if not math.isfinite(value):
        raise Refused(f"is {float(value)!r}, which JSON does not have; send None or a string")


def has_surrogate(text: str) -> bool:
    """Whether a text holds a lone surrogate, and so cannot be written as UTF-8."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


_ADVICE = {
    "datetime": "send value.isoformat(), or declare a typed event",
    "date": "send value.isoformat(), or declare a typed event",
    "time": "send value.isoformat(), or declare a typed event",
    "Decimal": "send str(value), or declare a typed event",
    "UUID": "send str(value), or declare a typed event",
    "bytes": "send text, such as base64",
    "bytearray": "send text, such as base64",
    "set": "send a sorted list",
    "frozenset": "send a sorted list",
    "tuple": "send a list",
}
_OTHER_ADVICE = "send strings, numbers, booleans, None, lists and dicts, or declare a typed event"


def _advice(value: object) -> str:
    if isinstance(value, BaseModel):
        return "send value.model_dump(mode='json'), or declare a typed event"
    if isinstance(value, Enum):
        return "send its value, or declare a typed event"
    return _ADVICE.get(type(value).__name__, _OTHER_ADVICE)


# --- any JSON object ----------------------------------------------------------------------------------------


def freeze_json(value: object) -> FrozenDict:
    """Check that a plain payload is a JSON object, and return it with every container frozen.

    Args:
        value: What was given as payload.

    Returns:
        An equal value that shares no mutable container with `value`.

    Raises:
        ValueError: Something in it has no place in JSON; the message says where, why, and what to send.
    """
    if not isinstance(value, dict):
        msg = f"payload is a value of type {type(value).__name__}; a payload is a dict, such as {{'value': 1}}"
        raise ValueError(msg)
    try:
        return _freeze_dict(value, MAX_DEPTH)
    except Refused as refused:
        raise refused.told("contains itself" if _is_cycle(value, refused.keys) else None) from None


def _freeze_dict(value: dict[Any, Any], room: int) -> FrozenDict:
    if not room:
        raise Refused(_TOO_DEEP)
    frozen = {}
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            key = _checked_key(key)
        kind = type(item)
        if (kind is str and item.isascii()) or (kind is int and item.bit_length() <= _SURELY_SMALL_BITS):
            frozen[key] = item
            continue
        try:
            frozen[key] = _freeze_value(item, kind, room)
        except Refused as refused:
            refused.keys.append(key)
            raise
    return FrozenDict(frozen)


def _freeze_list(value: list[Any], room: int) -> FrozenList:
    if not room:
        raise Refused(_TOO_DEEP)
    frozen: list[Any] = []
    try:
        for item in value:
            frozen.append(_freeze_value(item, type(item), room))  # noqa: PERF401 -- its length is the index of a bad item
    except Refused as refused:
        refused.keys.append(len(frozen))
        raise
    return FrozenList(frozen)


def _freeze_value(value: Any, kind: type, room: int) -> Any:
    # The usual ones first; the rest are told by isinstance.
    if kind is dict:
        return _freeze_dict(value, room - 1)
    if kind is list:
        return _freeze_list(value, room - 1)
    if value is None or kind is bool:
        return value
    # Subclasses, such as an IntEnum's members, become what JSON will make of them.
    if isinstance(value, str):
        check_text(value)
        return value if kind is str else str.__str__(value)
    if isinstance(value, int):
        check_int(value)
        return value if kind is int else int.__int__(value)
    if isinstance(value, float):
        check_float(value)
        return value if kind is float else float.__float__(value)
    if isinstance(value, dict):
        return _freeze_dict(value, room - 1)
    if isinstance(value, list):
        return _freeze_list(value, room - 1)
    raise not_json(value)


_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels; flatten the payload"


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise Refused(f"has a key of type {type(key).__name__}; JSON keys are strings, write str(key)")
    if has_surrogate(key):
        raise Refused(f"has a key with a lone surrogate, {key!r:.60}; decode the text with errors='replace'")
    return str.__str__(key)


def _is_cycle(value: Any, keys: list[object]) -> bool:
    """Whether the way to a refused value leads through one container twice."""
    passed = {id(value)}
    for key in reversed(keys):
        value = value[key]
        if id(value) in passed and isinstance(value, dict | list):
            return True
        passed.add(id(value))
    return False


def check_headers(headers: Mapping[str, str]) -> FrozenDict:
    """Return headers that cannot change.

    Raises:
        ValueError: A name or a value holds a lone surrogate, which no bytes can carry.
    """
    if not headers:
        return NO_HEADERS
    for name, value in headers.items():
        if has_surrogate(name) or has_surrogate(value):
            msg = f"the header {name!r} holds a lone surrogate, which no bytes can carry"
            raise ValueError(msg)
    return FrozenDict(headers)


# --- bytes --------------------------------------------------------------------------------------------------


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Write frozen JSON values as JSON.

    Raises:
        ValueError: There is something among them that JSON cannot carry.
    """
    # The standard library's encoder takes dict subclasses as they are; pydantic's takes ten times as long.
    return _encode(value).encode()


# Nothing frozen contains itself.
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode


def may_be_unreadable(data: bytes) -> bool:
    """Whether these bytes may hold an integer of more digits than any JSON parser reads."""
    # So many in a row lie over one of these places. Each byte is looked at twice at the most, whatever they are.
    places = range(MAX_INT_DIGITS - 1, len(data), MAX_INT_DIGITS)
    return any(data[at] in _DIGITS and _digits_around(data, at) >= MAX_INT_DIGITS for at in places)


def _digits_around(data: bytes, at: int) -> int:
    before, after = data[at - MAX_INT_DIGITS + 1 : at + 1], data[at + 1 : at + MAX_INT_DIGITS]
    return len(before) - len(before.rstrip(_DIGITS)) + len(after) - len(after.lstrip(_DIGITS))

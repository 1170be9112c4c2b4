"""Payloads that never change: plain JSON values, frozen as they are checked, and models, checked where they need it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import BaseModel, TypeAdapter
from typing_extensions import Self

MAX_DEPTH = 64
"""How deep a plain payload may nest. JSON parsers give up at 200 levels and less; this leaves them room."""

MAX_INT_DIGITS = 4300
"""Integers with more decimal digits cannot be read back: CPython and pydantic's JSON parser both stop there."""

_TOO_BIG = 10**MAX_INT_DIGITS
# An integer of fewer bits has certainly fewer digits; comparing bit lengths is cheap for every size.
_SURELY_SMALL_BITS = 14_000
_LONG_DIGITS = b"0" * MAX_INT_DIGITS
# Every digit to 0, so that a plain search finds a run of them: far quicker than a regular expression.
_ONLY_DIGITS = bytes.maketrans(b"123456789", b"000000000")


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


# --- plain payloads: any JSON object -------------------------------------------------------------


def freeze_json(value: object) -> FrozenDict:
    """Check that a plain payload is a JSON object, and return it with every container frozen.

    Args:
        value: What was given as payload.

    Returns:
        An equal value that shares no mutable container with `value`.

    Raises:
        ValueError: Something in it has no place in JSON; the message names where, and what to write instead.
    """
    if not isinstance(value, dict):
        msg = f"payload is {_shown(value)}; a payload is a dict, such as {{'value': …}}"
        raise ValueError(msg)
    return _freeze_dict(value, "payload", 1)


def _freeze_dict(value: dict[Any, Any], path: str, depth: int) -> FrozenDict:
    _check_depth(path, depth)
    frozen = {}
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            key = _checked_key(key, path)
        kind = type(item)
        if kind is str and item.isascii() or item is None or kind is bool:
            frozen[key] = item
        else:
            frozen[key] = _freeze_value(item, kind, path, key, depth)
    return FrozenDict(frozen)


def _freeze_list(value: list[Any], path: str, depth: int) -> FrozenList:
    _check_depth(path, depth)
    return FrozenList([_freeze_value(item, type(item), path, index, depth) for index, item in enumerate(value)])


def _freeze_value(value: Any, kind: type, path: str, key: str | int, depth: int) -> Any:
    """Freeze what stands at `path[key]`. The path is only put into words for containers and errors."""
    if value is None or kind is bool:
        return value
    if kind is dict or kind is FrozenDict:
        return _freeze_dict(value, f"{path}[{key!r}]", depth + 1)
    if kind is list or kind is FrozenList:
        return _freeze_list(value, f"{path}[{key!r}]", depth + 1)
    for plain, leaf in _LEAVES.items():
        if isinstance(value, plain):
            return leaf(value, path, key)
    if isinstance(value, dict):
        return _freeze_dict(value, f"{path}[{key!r}]", depth + 1)
    if isinstance(value, list):
        return _freeze_list(value, f"{path}[{key!r}]", depth + 1)
    msg = f"{path}[{key!r}] is {_shown(value)}, which JSON does not have; {_advice(value)}"
    raise ValueError(msg)


def _leaf_str(value: str, path: str, key: str | int) -> str:
    if not value.isascii() and _has_surrogate(value):
        msg = f"{path}[{key!r}] holds a lone surrogate, which no bytes can carry; decode the text with errors='replace'"
        raise ValueError(msg)
    return value if type(value) is str else str.__str__(value)


def _leaf_int(value: int, path: str, key: str | int) -> int:
    if value.bit_length() > _SURELY_SMALL_BITS and not -_TOO_BIG < value < _TOO_BIG:
        msg = f"{path}[{key!r}] is an integer of over {MAX_INT_DIGITS} digits, which no JSON parser reads; send a string"
        raise ValueError(msg)
    return value if type(value) is int else int.__int__(value)


def _leaf_float(value: float, path: str, key: str | int) -> float:
    if not math.isfinite(value):
        msg = f"{path}[{key!r}] is {float(value)!r}, which JSON does not have; send None or a string"
        raise ValueError(msg)
    return value if type(value) is float else float.__float__(value)


_LEAVES: dict[type, Callable[[Any, str, str | int], Any]] = {str: _leaf_str, int: _leaf_int, float: _leaf_float}


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        msg = f"{path[:60]}… is nested deeper than {MAX_DEPTH} levels; flatten the payload"
        raise ValueError(msg)


def _checked_key(key: object, path: str) -> str:
    if not isinstance(key, str):
        msg = f"{path} has the key {key!r} ({type(key).__name__}); JSON keys are strings, write {str(key)!r}"
        raise ValueError(msg)
    if _has_surrogate(key):
        msg = f"{path} has a key with a lone surrogate, {key!r}; decode the text with errors='replace'"
        raise ValueError(msg)
    return str.__str__(key)


def _has_surrogate(text: str) -> bool:
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


def _advice(value: object) -> str:
    if isinstance(value, BaseModel):
        return "send value.model_dump(mode='json'), or declare a typed event"
    return _ADVICE.get(type(value).__name__, "send strings, numbers, booleans, None, lists and dicts, or declare a typed event")


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:60] + '…'} ({type(value).__name__})"


# --- typed payloads: pydantic models --------------------------------------------------------------


class PayloadSchema:
    """What a payload's core schema says about immutability and JSON, found out once, when its event class is declared.

    Attributes:
        mutable_models: Names of the models in it that are not frozen.
        needs_check: Whether values may be mutable or may not survive JSON: lists and dicts, `Any`, floats that admit
            NaN, validators of the user's own. Only events of such classes pay for `freeze_typed`.
    """

    def __init__(self, schema: Mapping[str, Any], resolve: Callable[[Any], Mapping[str, Any]]) -> None:
        self.mutable_models: list[str] = []
        self.needs_check = False
        self._resolve = resolve
        self._seen: set[str] = set()
        self._visit(schema, admits_nan=True)

    def _visit(self, schema: Mapping[str, Any], *, admits_nan: bool) -> None:
        kind = schema["type"]
        if kind == "definition-ref":
            if schema["schema_ref"] in self._seen:
                return
            self._seen.add(schema["schema_ref"])
            schema = self._resolve(schema)
            kind = schema["type"]
        if kind == "model":
            config = schema["cls"].model_config
            admits_nan = config.get("allow_inf_nan", True)
            self.needs_check |= config.get("extra") == "allow"
            if not config.get("frozen"):
                self.mutable_models.append(schema["cls"].__qualname__)
        elif kind == "float":
            self.needs_check |= schema.get("allow_inf_nan", admits_nan)
        elif kind not in _IMMUTABLE_KINDS and not _is_plain_payload(schema):
            self.needs_check = True
        for inner in _inner_schemas(schema):
            self._visit(inner, admits_nan=admits_nan)


# Kinds of core schemas whose values cannot change and survive JSON, given that what they hold does. What is not here
# (list, dict, set, any, dataclass, is-instance, functions …) is checked whenever an event is made.
_IMMUTABLE_KINDS = frozenset(
    "none bool int str decimal date time datetime timedelta uuid enum literal url multi-host-url nullable default "
    "tuple frozenset union tagged-union model-fields model-field definitions definition-ref".split()
)


def _is_plain_payload(schema: Mapping[str, Any]) -> bool:
    return schema["type"] == "function-plain" and schema["function"]["function"] is freeze_json


def _inner_schemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every schema directly inside another one, whatever key it stands under."""
    for name, value in schema.items():
        if name in ("metadata", "serialization", "config", "cls"):
            continue
        if isinstance(value, dict) and "type" not in value:
            value = list(value.values())
        for item in value if isinstance(value, list) else [value]:
            inner = item[0] if isinstance(item, tuple) and item else item
            if isinstance(inner, dict) and isinstance(inner.get("type"), str):
                yield inner


def freeze_typed(value: Any, declared: TypeAdapter[Any]) -> Any:
    """Freeze the containers inside a typed payload, and check that it survives JSON.

    Args:
        value: The payload as pydantic validated it.
        declared: The payload's declared type.

    Returns:
        An equal payload that shares no mutable container with `value`.

    Raises:
        ValueError: A value in it does not come back equal from JSON, such as NaN, or an object under `Any`.
    """
    frozen = _frozen(value)
    try:
        back = declared.validate_json(declared.dump_json(frozen))
    except ValueError as error:
        msg = f"payload cannot be written to JSON and read back: {error}"
        raise ValueError(msg) from error
    if _frozen(back) != frozen:
        msg = f"{_difference(frozen, back)}, which comes back from JSON as something else; give it a type that JSON can carry"
        raise ValueError(msg)
    return frozen


def _frozen(value: Any) -> Any:
    if isinstance(value, BaseModel):
        changed = {name: _frozen(item) for name, item in value.__dict__.items()}
        if all(changed[name] is item for name, item in value.__dict__.items()):
            return value
        # The caller's object stays as it is: the event gets its own.
        return value.model_copy(update=changed)
    if isinstance(value, dict) and not isinstance(value, FrozenDict):
        return FrozenDict({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, list) and not isinstance(value, FrozenList):
        return FrozenList([_frozen(item) for item in value])
    if isinstance(value, set):
        return frozenset(value)
    if type(value) is tuple:
        return tuple([_frozen(item) for item in value])
    return value


def _difference(payload: Any, back: Any) -> str:
    """Name the fields in which a payload differs from what came back."""
    fields = payload.__dict__ if isinstance(payload, BaseModel) else payload
    returned = back.__dict__ if isinstance(back, BaseModel) else back
    if isinstance(fields, dict) and isinstance(returned, dict):
        names = [name for name, item in fields.items() if name not in returned or _frozen(returned[name]) != item]
        return ", ".join(f"payload.{name} is {_shown(fields[name])}" for name in names)
    return f"payload is {_shown(payload)}"


# --- headers ----------------------------------------------------------------------------------------


def check_headers(headers: Mapping[str, str]) -> FrozenDict:
    """Return headers that cannot change.

    Raises:
        ValueError: A name or a value holds a lone surrogate, which no bytes can carry.
    """
    for name, value in headers.items():
        if _has_surrogate(name) or _has_surrogate(value):
            msg = f"the header {name!r} holds a lone surrogate, which no bytes can carry"
            raise ValueError(msg)
    return FrozenDict(headers)


# --- bytes -----------------------------------------------------------------------------------------


def payload_bytes(payload: Any) -> bytes:
    """Write a payload as JSON.

    Raises:
        ValueError: It holds what JSON cannot carry.
    """
    if isinstance(payload, BaseModel):
        return payload.__pydantic_serializer__.to_json(payload)
    # The standard library's encoder takes dict subclasses as they are; pydantic's needs ten times as long for them.
    return _encode(payload).encode()


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def may_be_unreadable(data: bytes) -> bool:
    """Whether these bytes may hold an integer of more digits than any JSON parser reads."""
    return len(data) > MAX_INT_DIGITS and _LONG_DIGITS in data.translate(_ONLY_DIGITS)

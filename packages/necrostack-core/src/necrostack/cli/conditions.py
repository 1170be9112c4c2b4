"""Which events: by their type, their chain, and what stands somewhere in their payload."""

from __future__ import annotations

import argparse
import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from necrostack.cli.arguments import event_id
from necrostack.cli.facts import event_facts
from necrostack.event import Event

_CONDITION = re.compile(r"([^=!<>]+)(?:(!=|<=|>=|=|<|>)(.*))?", re.DOTALL)
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What `--where` says of a payload.

    Attributes:
        path: The keys that lead to a value, from outside to inside; a number leads into a list, and `*` everywhere.
        relation: How the value must be to the other one; empty when it must only be there.
        value: The other one, as it was written.
    """

    path: Sequence[str]
    relation: str
    value: str

    def holds(self, payload: object) -> bool:
        """Say whether it holds; of several values that a `*` finds, for one of them."""
        found = _values(payload, self.path)
        match self.relation:
            case "":
                return any(True for _ in found)
            case "=":
                return any(_is_like(value, self.value) for value in found)
            case "!=":
                return not any(_is_like(value, self.value) for value in found)
        return any(_is_in_order(value, self.relation, self.value) for value in found)


def condition(text: str) -> Condition:
    """Read a condition, for argparse.

    >>> condition("order.total>=100")
    Condition(path=('order', 'total'), relation='>=', value='100')
    """
    found = _CONDITION.fullmatch(text.strip())
    path = tuple(part.strip() for part in found[1].split(".")) if found else ()
    if found is None or not all(path):
        msg = f"{text!r} is no condition; write PATH, PATH=VALUE, PATH!=VALUE or PATH>VALUE, such as order.total>=100"
        raise argparse.ArgumentTypeError(msg)
    return Condition(path, found[2] or "", (found[3] or "").strip())


def _values(value: object, path: Sequence[str]) -> Iterator[object]:
    """Go through what stands at the end of a path."""
    if not path:
        yield value
        return
    key, *rest = path
    inner: Sequence[object] = ()
    if isinstance(value, Mapping):
        inner = [*value.values()] if key == "*" else [value[key]] if key in value else ()
    elif isinstance(value, list):
        inner = value if key == "*" else value[int(key) : int(key) + 1] if key.isdecimal() else ()
    for found in inner:
        yield from _values(found, rest)


def _is_like(value: object, text: str) -> bool:
    """Say whether a value is what was written: a text by itself, in quotes or as a glob, all else as in JSON."""
    if isinstance(value, str):
        return fnmatchcase(value, text) or json.dumps(value, ensure_ascii=False) == text
    other = _parsed(text)
    # To Python, true is 1.
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def _is_in_order(value: object, relation: str, text: str) -> bool:
    """Say whether a number is so to a number, or a text to a text: times in ISO 8601 are, too."""
    other: object = text if isinstance(value, str) else _parsed(text)
    is_number = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (value, other))
    return (is_number or isinstance(value, str)) and _ORDERS[relation](value, other)


def _parsed(text: str) -> object:
    """What was written, as JSON; itself if it is none, which is like nothing but text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


# --- events -----------------------------------------------------------------------------------------------

EVENT_FILTERS = ("type", "correlation", "where")
"""The options that choose events by what they hold."""


def add_event_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose events by what they hold."""
    parser.add_argument("--type", metavar="GLOB", help="only events of this type; * and ? stand for anything")
    parser.add_argument("--correlation", metavar="ID", type=event_id, help="only the chain that began with this event")
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        type=condition,
        action="append",
        help="only events in whose payload this holds: order.total>=100, customer.name=A*, items.*.sku!=7, or"
        " order.note for one that is there; may be repeated",
    )


def fits(event: Event | None, arguments: argparse.Namespace) -> bool:
    """Say whether an event is as the options say; one that cannot be read is so only when they say nothing."""
    if event is None:
        return all(getattr(arguments, name) is None for name in EVENT_FILTERS)
    if arguments.type is not None and not fnmatchcase(event.event_type, arguments.type):
        return False
    if arguments.correlation is not None and event.correlation_id != arguments.correlation:
        return False
    if not arguments.where:
        return True
    payload = event_facts(event)["payload"]
    return all(condition.holds(payload) for condition in arguments.where)

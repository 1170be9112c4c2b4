"""The graph of Organs and event types, known before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from necrostack.value import Value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class OrganNode(Value):
    """One Organ in the graph.

    Attributes:
        name: Its name.
        listens_to: The event types it listens to.
        emits: The event types in its return annotation; None when it may emit any.
        is_async: Whether its `handle` is async.
    """

    name: str
    listens_to: tuple[str, ...]
    emits: tuple[str, ...] | None
    is_async: bool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Topology(Value):
    """Organs, event types, and what is odd about how they hang together.

    Attributes:
        organs: The Organs, in registration order.
    """

    organs: tuple[OrganNode, ...]

    @property
    def event_types(self) -> tuple[str, ...]:
        """Every event type that is listened to or emitted, in order of appearance."""
        names = [name for organ in self.organs for name in (*organ.listens_to, *(organ.emits or ()))]
        return tuple(dict.fromkeys(names))

    @property
    def edges(self) -> tuple[tuple[str, str, str], ...]:
        """Who leads to whom: Organ that emits, event type, Organ that listens."""
        return tuple(
            (source.name, event_type, target.name)
            for source in self.organs
            for event_type in source.emits or ()
            for target in self.organs
            if event_type in target.listens_to
        )

    @property
    def dead_ends(self) -> tuple[str, ...]:
        """Event types that are emitted and that nobody listens to."""
        heard = {name for organ in self.organs for name in organ.listens_to}
        emitted = [name for organ in self.organs for name in organ.emits or ()]
        return tuple(name for name in dict.fromkeys(emitted) if name not in heard)

    @property
    def orphans(self) -> tuple[str, ...]:
        """Event types that are listened to and that no Organ emits: they come from outside, or never."""
        emitted = {name for organ in self.organs for name in organ.emits or ()}
        heard = [name for organ in self.organs for name in organ.listens_to]
        return tuple(name for name in dict.fromkeys(heard) if name not in emitted)

    @property
    def cycles(self) -> tuple[tuple[str, ...], ...]:
        """Groups of Organs whose events lead back to them, in registration order: loops, maybe endless."""
        leads_to: dict[str, list[str]] = {organ.name: [] for organ in self.organs}
        for source, _, target in self.edges:
            leads_to[source].append(target)
        reach = {name: _reachable(leads_to, name) for name in leads_to}
        groups = [tuple(b for b in leads_to if b in reach[a] and a in reach[b]) for a in leads_to if a in reach[a]]
        return tuple(dict.fromkeys(groups))

    @property
    def fingerprint(self) -> str:
        """The same for Spines whose Organs have the same names and listen to the same event types."""
        facts = sorted((organ.name, sorted(organ.listens_to)) for organ in self.organs)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return the graph as JSON-compatible values. `from_dict` reads it."""
        return {
            "organs": [
                {
                    "name": organ.name,
                    "listens_to": list(organ.listens_to),
                    "emits": None if organ.emits is None else list(organ.emits),
                    "async": organ.is_async,
                }
                for organ in self.organs
            ],
            "event_types": list(self.event_types),
            "edges": [{"from": a, "event_type": event_type, "to": b} for a, event_type, b in self.edges],
            "dead_ends": list(self.dead_ends),
            "orphans": list(self.orphans),
            "cycles": [list(cycle) for cycle in self.cycles],
        }

    @classmethod
    def from_dict(cls, graph: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote. All but the Organs follows from them.

        >>> graph = Topology((OrganNode(name="Billing", listens_to=("ORDERED",), emits=None, is_async=True),))
        >>> Topology.from_dict(graph.to_dict()) == graph
        True
        """
        return cls(
            tuple(
                OrganNode(
                    name=organ["name"],
                    listens_to=tuple(organ["listens_to"]),
                    emits=None if organ["emits"] is None else tuple(organ["emits"]),
                    is_async=organ["async"],
                )
                for organ in graph["organs"]
            )
        )


def _reachable(leads_to: Mapping[str, Sequence[str]], start: str) -> set[str]:
    """Everything that can be reached from `start` in one step or more."""
    found: set[str] = set()
    waiting: list[str] = list(leads_to[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(leads_to[name])
    return found

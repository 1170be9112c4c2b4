"""What goes on in a topology: how much each Organ handles, what waits for it, and how much goes which way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from necrostack.backend import Admin, BackendStats
from necrostack.cli.charts import Way, ways_of
from necrostack.cli.facts import stats_facts
from necrostack.cli.fleet import OrganLine, organ_facts, organ_lines, per_second, remarks, topologies
from necrostack.cli.looks import Look, look
from necrostack.report import OrganReport
from necrostack.topology import OrganNode, Topology

_MOST_LETTERS = 10_000
"""So many dead letters are counted by Organ; it takes a second or two."""

_LETTERS_AGAIN = 10.0
"""Seconds after which they are counted again, if there are more or fewer then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLook(Look):
    """One look at what goes on.

    Attributes:
        stats: What waits for the group whose workers these are.
        pending: Of what was pulled and is not settled the event types, and the Organs; None for all that listen.
        dead: How many dead letters wait, by Organ.
        is_counted: Whether these are all of them.
    """

    stats: BackendStats
    pending: Sequence[tuple[str, Sequence[str] | None]]
    dead: Mapping[str | None, int]
    is_counted: bool


class FlowLooker:
    """Looks at what goes on. Dead letters are counted again only when that is worth it."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._dead: Counter[str | None] = Counter()
        self._counted = 0
        self._counted_at = float("-inf")

    async def __call__(self, before: FlowLook | None) -> FlowLook:
        """See `look`."""
        seen, stats = await look(self._admin, before), await self._admin.stats()
        pending = [(each.event.event_type, each.organs) async for each in self._admin.pending()]
        if stats.dead != self._counted and time.monotonic() - self._counted_at > _LETTERS_AGAIN:
            await self._count_letters()
            self._counted, self._counted_at = stats.dead, time.monotonic()
        return FlowLook(
            groups=seen.groups,
            workers=seen.workers,
            before=seen.before,
            stats=stats,
            pending=pending,
            dead=dict(self._dead),
            is_counted=self._dead.total() < _MOST_LETTERS,
        )

    async def _count_letters(self) -> None:
        self._dead.clear()
        async for letter in self._admin.dead_letters():
            self._dead[letter.organ] += 1
            if self._dead.total() == _MOST_LETTERS:
                break


class Flow:
    """The figures of one look. See `Figures`."""

    def __init__(self, topology: Topology, seen: FlowLook) -> None:
        self._topology = topology
        self._seen = seen
        self._organs = {organ.name: organ for organ in topology.organs}
        self._lines = {line.name: line for line in organ_lines(seen.workers)}
        self._ways = ways_of(topology)

    def of_organ(self, name: str) -> Sequence[str]:
        """See `Figures.of_organ`."""
        line, dead = self._line(name), self._seen.dead.get(name, 0)
        figures = [f"{per_second(line.handled)}/s"]
        if line.failed:
            figures.append(f"{per_second(line.failed)} failed/s")
        if pending := self._pending(self._organs[name]):
            figures.append(f"{pending} pending")
        if dead:
            figures.append(f"{dead}{'' if self._seen.is_counted else ' or more'} dead")
        return figures

    def of_way(self, way: Way) -> str:
        """See `Figures.of_way`."""
        rate = self._rate(way)
        return "" if rate is None else f"{per_second(rate)}/s"

    def is_failing(self, name: str) -> bool:
        """See `Figures.is_failing`."""
        return self._line(name).failed > 0

    def facts(self) -> dict[str, Any]:
        """All of it as JSON-compatible values."""
        seen = self._seen
        return {
            "stats": stats_facts(seen.stats),
            "organs": [
                organ_facts(self._line(name))
                | {"pending": self._pending(organ), "dead": seen.dead.get(name, 0), "dead_is_counted": seen.is_counted}
                for name, organ in self._organs.items()
            ],
            "ways": [
                {
                    "from": way.source,
                    "event_types": list(way.event_types),
                    "to": way.target,
                    "per_second": self._rate(way),
                }
                for way in self._ways
            ],
            "remarks": remarks(seen.workers, seen.time),
        }

    def _line(self, name: str) -> OrganLine:
        return self._lines.get(name) or OrganLine(name, OrganReport(), handled=0.0, failed=0.0, emitted=0.0)

    def _pending(self, organ: OrganNode) -> int:
        """How many deliveries that are pulled and not settled are for an Organ."""
        return sum(
            organ.name in organs if organs is not None else event_type in organ.listens_to
            for event_type, organs in self._seen.pending
        )

    def _rate(self, way: Way) -> float | None:
        """How many events a second go a way; None where it cannot be told from what is counted for each Organ."""
        types = {*way.event_types}
        if way.source is not None and {*(self._organs[way.source].emits or ())} == types:
            return self._line(way.source).emitted
        if way.target is None or {*self._organs[way.target].listens_to} != types:
            return None
        is_only_way = [other.target for other in self._ways].count(way.target) == 1
        return self._line(way.target).handled if is_only_way else None


def running_topology(seen: Look) -> Topology:
    """Put together what the workers run: the Organs of all, each as the most of them have it."""
    organs: dict[str, OrganNode] = {}
    for topology in topologies(seen.workers).values():
        for organ in topology.organs:
            organs.setdefault(organ.name, organ)
    return Topology(tuple(organs.values()))

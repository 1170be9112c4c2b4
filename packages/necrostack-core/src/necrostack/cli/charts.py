"""The topology as text: for Mermaid, for Graphviz, and for people; with figures where somebody looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from necrostack.cli.columns import cells_of
from necrostack.cli.printable import printable
from necrostack.cli.screen import Line
from necrostack.topology import Topology

_OUTSIDE, _NOBODY = "outside", "nobody"
"""The nodes where events come from that no Organ emits, and where those go that nobody listens to."""


@dataclass(frozen=True, slots=True)
class Way:
    """All that goes from one node to another.

    Attributes:
        source: The Organ that it comes from; None for outside.
        event_types: What goes there.
        target: The Organ that it goes to; None for nobody.
    """

    source: str | None
    event_types: tuple[str, ...]
    target: str | None


class Figures(Protocol):
    """What goes on in a topology, in words."""

    def of_organ(self, name: str) -> Sequence[str]:
        """Say what an Organ does, what matters most first."""

    def of_way(self, way: Way) -> str:
        """Say how much goes that way; nothing where nobody knows."""

    def is_failing(self, name: str) -> bool:
        """Whether somebody should look at an Organ."""


class _NoFigures:
    def of_organ(self, name: str) -> Sequence[str]:
        return ()

    def of_way(self, way: Way) -> str:
        return ""

    def is_failing(self, name: str) -> bool:
        return False


NO_FIGURES: Figures = _NoFigures()
"""Where nobody looked."""


def ways_of(topology: Topology) -> list[Way]:
    """Say what leads where: one way between two nodes, with all the event types that go it."""
    ways: dict[tuple[str | None, str | None], list[str]] = {}
    for source, event_type, target in _steps(topology):
        ways.setdefault((source, target), []).append(event_type)
    return [Way(source, tuple(event_types), target) for (source, target), event_types in ways.items()]


def _steps(topology: Topology) -> Iterator[tuple[str | None, str, str | None]]:
    orphans, dead_ends = topology.orphans, topology.dead_ends
    for organ in topology.organs:
        yield from ((None, name, organ.name) for name in organ.listens_to if name in orphans)
    yield from topology.edges
    for organ in topology.organs:
        yield from ((organ.name, name, None) for name in organ.emits or () if name in dead_ends)


# --- for programs that draw -----------------------------------------------------------------------------


def mermaid(topology: Topology, figures: Figures = NO_FIGURES) -> Iterator[str]:
    """Draw a flow chart for Mermaid, https://mermaid.js.org/syntax/flowchart.html, line by line."""
    yield "flowchart LR"
    for node, label in _nodes(topology, figures):
        begin, end = ("([", "])") if node in (_OUTSIDE, _NOBODY) else ("[", "]")
        yield f'    {node}{begin}"{_mermaid_text(*label)}"{end}'
    for source, label, target in _arrows(topology, figures):
        yield f'    {source} -- "{_mermaid_text(*label)}" --> {target}'


def dot(topology: Topology, figures: Figures = NO_FIGURES) -> Iterator[str]:
    """Draw a graph for Graphviz, https://graphviz.org/doc/info/lang.html, line by line."""
    yield "digraph {"
    yield "    rankdir=LR"
    yield "    node [shape=box]"
    for node, label in _nodes(topology, figures):
        shape = ", shape=ellipse" if node in (_OUTSIDE, _NOBODY) else ""
        yield f"    {node} [label={_dot_text(*label)}{shape}]"
    for source, label, target in _arrows(topology, figures):
        yield f"    {source} -> {target} [label={_dot_text(*label)}]"
    yield "}"


def _nodes(topology: Topology, figures: Figures) -> Iterator[tuple[str, Sequence[str]]]:
    """The nodes: id, and the lines of the label."""
    if topology.orphans:
        yield _OUTSIDE, ("outside",)
    for name, node in _organ_nodes(topology).items():
        yield node, (name, *figures.of_organ(name))
    if topology.dead_ends:
        yield _NOBODY, ("nobody",)


def _organ_nodes(topology: Topology) -> dict[str, str]:
    return {organ.name: f"organ{number}" for number, organ in enumerate(topology.organs)}


def _arrows(topology: Topology, figures: Figures) -> Iterator[tuple[str, Sequence[str], str]]:
    """The arrows: where from, the lines of the label, where to."""
    nodes = _organ_nodes(topology)
    for way in ways_of(topology):
        source = _OUTSIDE if way.source is None else nodes[way.source]
        target = _NOBODY if way.target is None else nodes[way.target]
        figure = figures.of_way(way)
        yield source, (*way.event_types, *([figure] if figure else [])), target


def _mermaid_text(*lines: str) -> str:
    """Write what would end or change a quoted text as an entity: `#` and its code."""
    return "<br/>".join(
        "".join(char if char.isalnum() or char in " _-.,:/" else f"#{ord(char)};" for char in line) for line in lines
    )


def _dot_text(*lines: str) -> str:
    escaped = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return f'"{escaped}"'


# --- for people -----------------------------------------------------------------------------------------


def text(topology: Topology, figures: Figures = NO_FIGURES) -> list[Line]:
    """Write each Organ with the ways that lead to it, and from it, and the figures in a column beside."""
    rows: list[tuple[str, str, bool]] = []
    ways = ways_of(topology)
    for organ in topology.organs:
        rows.append((organ.name, ", ".join(figures.of_organ(organ.name)), figures.is_failing(organ.name)))
        rows += [_way_row(way, figures) for way in ways if way.target == organ.name and way.source is None]
        rows += [_way_row(way, figures) for way in ways if way.source == organ.name]
    names = [printable(name) for name, _, _ in rows]
    width = max(map(cells_of, names), default=0)
    return [
        Line(
            f"{name}{' ' * (width - cells_of(name) + 2)}{figure}".rstrip(),
            "bad" if is_bad else "plain" if name.startswith(" ") else "heading",
        )
        for name, (_, figure, is_bad) in zip(names, rows, strict=True)
    ]


def _way_row(way: Way, figures: Figures) -> tuple[str, str, bool]:
    types = ", ".join(way.event_types)
    name = f"  ← {types} from outside" if way.source is None else f"  → {types} to {way.target or 'nobody'}"
    return name, figures.of_way(way), False

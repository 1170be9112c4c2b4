"""The topology as a picture: SVG of our own, and PNG of that."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from necrostack.cli.charts import NO_FIGURES, Figures
from necrostack.cli.columns import cells_of, cut
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.layers import Line, Point, Size, lay_out
from necrostack.cli.printable import printable
from necrostack.topology import Topology

Kind = Literal["organ", "event", "outside", "nobody"]

_FONTS = ("Menlo", "Consolas", "DejaVu Sans Mono", "Liberation Mono", "Noto Sans Mono", "Courier New")
_FONT = ", ".join(("ui-monospace", *(f"'{font}'" for font in _FONTS), "monospace"))
_TEXT, _NOTE, _LINE = 13.0, 10.5, 17.0
_EM = 0.602
"""How wide a letter is of its height, in DejaVu Sans Mono, which is the widest of these."""

_LONGEST, _MOST = 42, 6
"""Letters of a name, and names of a node, that are shown; all are shown when a mouse rests on it."""

_MARGIN = 24.0

_STYLE = f"""\
text {{ font-family: {_FONT}; font-size: {_TEXT}px; fill: #0f172a; text-anchor: middle }}
.note {{ font-size: {_NOTE}px; fill: #475569 }}
.organ rect {{ fill: #e0e7ff; stroke: #4338ca }}
.organ .name {{ font-weight: bold }}
.event rect {{ fill: #f8fafc; stroke: #64748b }}
.outside rect {{ fill: #dcfce7; stroke: #15803d }}
.nobody rect {{ fill: #fee2e2; stroke: #b91c1c; stroke-dasharray: 5 3 }}
rect, path {{ stroke-width: 1.4 }}
path {{ fill: none; stroke: #64748b }}
path.loop {{ stroke: #c2410c }}
path.back {{ stroke-dasharray: 6 3 }}
marker path {{ stroke: none; fill: #64748b }}
marker path.loop {{ fill: #c2410c }}"""


@dataclass(frozen=True, slots=True)
class Node:
    """What is drawn of an Organ, or of the event types that go the same ways.

    Attributes:
        kind: What it is; events may come from outside, or go to nobody.
        names: The name of the Organ, or the event types.
        note: What is written under them; empty for nothing.
    """

    kind: Kind
    names: tuple[str, ...]
    note: str


def nodes_of(topology: Topology, figures: Figures = NO_FIGURES) -> dict[str, Node]:
    """Say what is to be drawn, each node with a key of its own."""
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for name in topology.event_types:
        sources = tuple(organ.name for organ in topology.organs if name in (organ.emits or ()))
        targets = tuple(organ.name for organ in topology.organs if name in organ.listens_to)
        alike.setdefault((sources, targets), []).append(name)
    nodes = {}
    for (sources, targets), names in alike.items():
        kind: Kind = "outside" if not sources else "nobody" if not targets else "event"
        note = {"outside": "from outside", "nobody": "nobody listens"}.get(kind, "")
        nodes[f"event:{names[0]}"] = Node(kind, tuple(names), note)
    for organ in topology.organs:
        told = [*(["may emit anything"] if organ.emits is None else []), *figures.of_organ(organ.name)]
        note = ", ".join(told)
        nodes[f"organ:{organ.name}"] = Node("organ", (organ.name,), note)
    return nodes


def svg(topology: Topology, figures: Figures = NO_FIGURES) -> Iterator[str]:
    """Draw a picture in SVG, line by line: event types and Organs in turns, from left to right."""
    nodes = nodes_of(topology, figures)
    looping = _looping(topology)
    key_of = {name: key for key, node in nodes.items() if node.kind != "organ" for name in node.names}
    lines: dict[tuple[str, str], bool] = {}
    for organ in topology.organs:
        key = f"organ:{organ.name}"
        for name in organ.listens_to:
            lines.setdefault((key_of[name], key), (f"event:{name}", key) in looping)
        for name in organ.emits or ():
            lines.setdefault((key, key_of[name]), (key, f"event:{name}") in looping)
    layout = lay_out(
        {key: _size(node) for key, node in nodes.items()},
        {key: int(node.kind == "organ") for key, node in nodes.items()},
        [*lines],
    )
    width, height = layout.size.width + 2 * _MARGIN, layout.size.height + 2 * _MARGIN
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    yield f"<title>{len(topology.organs)} Organs and {len(topology.event_types)} event types</title>"
    yield f"<style>\n{_STYLE}\n</style>"
    yield f"<defs>{_arrowhead('arrow', '')}{_arrowhead('loop-arrow', 'loop')}</defs>"
    yield f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" style="fill: #ffffff; stroke: none"/>'
    yield f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">'
    # Loops last: they are what must be seen where lines cross.
    for line in sorted(layout.lines, key=lambda line: lines[line.source, line.target]):
        yield _path(line, is_loop=lines[line.source, line.target])
    for key, node in nodes.items():
        yield _box(node, layout.centers[key])
    yield "</g>"
    yield "</svg>"


def png(drawing: str) -> bytes:
    """Make a PNG of a picture in SVG, twice as large, for screens with small dots.

    Raises:
        CommandError: What it needs is not installed (exit code 2), or this machine has no font.
    """
    if importlib.util.find_spec("resvg_py") is None:
        msg = "drawing PNG needs resvg-py: pip install 'necrostack[pictures]'; --format svg needs nothing"
        raise CommandError(msg, Exit.USAGE)
    import resvg_py

    begin = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
    letter = f'<text y="9" font-family="{_FONT}">x</text>'
    if resvg_py.svg_to_bytes(f"{begin}{letter}</svg>") == resvg_py.svg_to_bytes(f"{begin}</svg>"):
        msg = f"this machine has no font to draw names with; install one of {', '.join(_FONTS)}, or say --format svg"
        raise CommandError(msg)
    return bytes(resvg_py.svg_to_bytes(drawing, zoom=2.0))


# --- what is drawn --------------------------------------------------------------------------------------


def _looping(topology: Topology) -> set[tuple[str, str]]:
    """The lines of which loops are made. Event types that go the same ways are in the same loops."""
    found: set[tuple[str, str]] = set()
    for names in topology.cycles:
        for source, event_type, target in topology.edges:
            if source in names and target in names:
                found |= {
                    (f"organ:{source}", f"event:{event_type}"),
                    (f"event:{event_type}", f"organ:{target}"),
                }
    return found


def _size(node: Node) -> Size:
    width = max(cells_of(text) * (_NOTE if is_note else _TEXT) for text, is_note in _texts(node)) * _EM
    return Size(width + 28, sum(_LINE - 1 if is_note else _LINE for _, is_note in _texts(node)) + 15)


def _texts(node: Node) -> Iterator[tuple[str, bool]]:
    """What is written in a node: each line, and whether it is a note."""
    shown = node.names if len(node.names) <= _MOST + 1 else node.names[:_MOST]
    for name in shown:
        yield cut(printable(name), _LONGEST), False
    if more := len(node.names) - len(shown):
        yield f"and {more} more", True
    if node.note:
        yield node.note, True


# --- how it is written ----------------------------------------------------------------------------------


def _arrowhead(name: str, of: str) -> str:
    size = 'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto"'
    return f'<marker id="{name}" {size}><path class="{of}" d="M 0 0.5 L 10 5 L 0 9.5 z"/></marker>'


def _box(node: Node, center: Point) -> str:
    size = _size(node)
    left, top = center[0] - size.width / 2, center[1] - size.height / 2
    rounded = 6 if node.kind == "organ" else 16
    frame = f'<rect x="{left:.1f}" y="{top:.1f}" width="{size.width:.1f}" height="{size.height:.1f}" rx="{rounded}"/>'
    texts, baseline = "", top + 4
    for text, is_note in _texts(node):
        baseline += _LINE - 1 if is_note else _LINE
        name = "note" if is_note else "name"
        texts += f'<text class="{name}" x="{center[0]:.1f}" y="{baseline:.1f}">{escape(text)}</text>'
    return f'<g class="{node.kind}"><title>{escape(printable(", ".join(node.names)))}</title>{frame}{texts}</g>'


def _path(line: Line, *, is_loop: bool) -> str:
    classes = " ".join(name for name, has in (("loop", is_loop), ("back", line.leads_back)) if has)
    arrow = "loop-arrow" if is_loop else "arrow"
    curve = _back_curve(line.points) if line.leads_back else _curve(line.points)
    return f'<path class="{classes}" marker-end="url(#{arrow})" d="{curve}"/>'


def _curve(points: Sequence[Point]) -> str:
    """Go straight on through columns, and in a curve between them."""
    parts = [f"M {_xy(points[0])}"]
    for begin, end in pairwise(points):
        if begin[1] == end[1]:
            parts.append(f"L {_xy(end)}")
        else:
            middle = (begin[0] + end[0]) / 2
            parts.append(f"C {_xy((middle, begin[1]))} {_xy((middle, end[1]))} {_xy(end)}")
    return " ".join(parts)


def _back_curve(points: Sequence[Point]) -> str:
    """Go down from a node, back between the columns, and up to the other one."""
    start, corner, *middle, last_corner, end = points
    first, last = middle[0], middle[-1]
    way = _curve(middle).removeprefix(f"M {_xy(first)}")
    return f"M {_xy(start)} Q {_xy(corner)} {_xy(first)}{way} L {_xy(last)} Q {_xy(last_corner)} {_xy(end)}"


def _xy(point: Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"

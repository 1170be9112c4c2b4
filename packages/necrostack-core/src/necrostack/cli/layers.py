"""A picture of what leads to what, in columns from left to right: where each node stands, and which way each line goes.

The steps are those of Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures"
(1981): turn what leads back, share the nodes out to columns, order each column so that few lines cross, and move the
nodes of a column to where their neighbours are.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Point = tuple[float, float]

_GAP = 22.0
"""What is free between two nodes of a column, and what a line that passes between them gets."""

_BETWEEN_COLUMNS = 62.0

_LANE = 20.0
"""What is free under a node from which a line leads back: the line goes there."""

_SWEEPS = 24


@dataclass(frozen=True, slots=True)
class Size:
    """How much room a node takes."""

    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """The way from one node to another.

    Attributes:
        source: Where it begins.
        target: Where it ends.
        leads_back: Whether it goes from right to left: from under the one to under the other.
        points: Through which points. From one to the next it goes straight, or in a curve between two columns.
    """

    source: str
    target: str
    leads_back: bool
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is.

    Attributes:
        centers: The middle of each node.
        lines: The lines, as they were given.
        size: How much room all of it takes, from 0, 0 on.
    """

    centers: Mapping[str, Point]
    lines: Sequence[Line]
    size: Size


def lay_out(sizes: Mapping[str, Size], firsts: Mapping[str, int], lines: Sequence[tuple[str, str]]) -> Layout:
    """Find a place for each node.

    Args:
        sizes: How large each node is. Those that come first are likely to be at the top.
        firsts: The leftmost column that each may stand in, from 0 on.
        lines: What leads to what: each two nodes once at the most, and none to itself.
    """
    back = _leading_back(sizes, lines)
    forward = [line for line in lines if line not in back]
    columns = _Columns(_column_of_each(sizes, firsts, forward), sizes, lines, back)
    columns.order()
    columns.move()
    return columns.layout()


def _leading_back(nodes: Iterable[str], lines: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Choose the lines that lead back in loops: without them there are none."""
    following = _following(lines)
    targets = {target for _, target in lines}
    found: set[tuple[str, str]] = set()
    seen: set[str] = set()
    for start in sorted(nodes, key=lambda node: node in targets):  # what nothing leads to, first
        path: dict[str, list[str]] = {} if start in seen else {start: [*following.get(start, ())]}
        while path:
            node = next(reversed(path))
            seen.add(node)
            if not path[node]:
                del path[node]
                continue
            target = path[node].pop(0)
            if target in path:
                found.add((node, target))
            elif target not in seen:
                path[target] = [*following.get(target, ())]
    return found


def _following(lines: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    following: dict[str, list[str]] = {}
    for source, target in lines:
        following.setdefault(source, []).append(target)
    return following


def _column_of_each(
    nodes: Iterable[str], firsts: Mapping[str, int], lines: Sequence[tuple[str, str]]
) -> dict[str, int]:
    """Put each node behind all that lead to it, and then as near as may be to what it leads to."""
    following, before = _following(lines), _following((target, source) for source, target in lines)
    column = {node: firsts[node] for node in nodes}
    in_order: list[str] = []
    missing = {node: len(before.get(node, ())) for node in column}
    waiting = [node for node in column if not missing[node]]
    while waiting:
        node = waiting.pop(0)
        in_order.append(node)
        for target in following.get(node, ()):
            column[target] = max(column[target], column[node] + 1)
            missing[target] -= 1
            if not missing[target]:
                waiting.append(target)
    for node in reversed(in_order):
        targets = following.get(node, ())
        if len(targets) > len(before.get(node, ())):
            column[node] = min(column[target] for target in targets) - 1
    return column


@dataclass(slots=True)
class _Stop:
    """What stands in a column: a node, or a line that passes through.

    Attributes:
        above: How far it reaches up from its place.
        below: How far it reaches down.
        left: What it is linked with in the column before, each with how strongly it wants to be level with it.
        right: The same in the column after.
        y: Its place.
    """

    above: float
    below: float
    left: list[tuple[_Stop, float]] = field(default_factory=list)
    right: list[tuple[_Stop, float]] = field(default_factory=list)
    y: float = 0.0
    rank: int = 0


class _Columns:
    def __init__(
        self,
        column_of: Mapping[str, int],
        sizes: Mapping[str, Size],
        lines: Sequence[tuple[str, str]],
        back: set[tuple[str, str]],
    ) -> None:
        self._column_of = column_of
        self._sizes = sizes
        self._back = back
        self._columns: list[list[_Stop]] = [[] for _ in range(max(column_of.values(), default=-1) + 1)]
        ends = {node for line in back for node in line}
        self._nodes = {node: self._stop(node, has_lane=node in ends) for node in sizes}
        self._passes = {line: self._linked(*(reversed(line) if line in back else line)) for line in lines}

    def _stop(self, node: str, *, has_lane: bool) -> _Stop:
        half = self._sizes[node].height / 2
        stop = _Stop(half + _GAP / 2, half + _GAP / 2 + (_LANE if has_lane else 0))
        self._columns[self._column_of[node]].append(stop)
        return stop

    def _linked(self, left: str, right: str) -> list[_Stop]:
        """Link two nodes through the columns between them; return where the line passes."""
        between = self._columns[self._column_of[left] + 1 : self._column_of[right]]
        passes = [_Stop(_GAP / 2, _GAP / 2) for _ in between]
        for column, stop in zip(between, passes, strict=True):
            column.append(stop)
        chain = [self._nodes[left], *passes, self._nodes[right]]
        for number, (first, second) in enumerate(pairwise(chain)):
            # A long line is to be straight above all.
            weight = 1.0 if not passes else 2.0 if number in (0, len(passes)) else 8.0
            first.right.append((second, weight))
            second.left.append((first, weight))
        return passes

    # --- the order in each column ------------------------------------------------------------------------

    def order(self) -> None:
        """Order each column by where its neighbours are, to and fro; keep the best."""
        self._number()
        best, fewest = [[*column] for column in self._columns], self._crossings()
        for sweep in range(_SWEEPS):
            if not fewest:
                break
            to_the_right = sweep % 2 == 0
            for column in self._columns if to_the_right else reversed(self._columns):
                column.sort(key=lambda stop: _mean_rank(stop, stop.left if to_the_right else stop.right))
                for rank, stop in enumerate(column):
                    stop.rank = rank
            if (found := self._crossings()) < fewest:
                best, fewest = [[*column] for column in self._columns], found
        self._columns = best
        self._number()

    def _number(self) -> None:
        for column in self._columns:
            for rank, stop in enumerate(column):
                stop.rank = rank

    def _crossings(self) -> int:
        count = 0
        for column in self._columns:
            seen: list[int] = []
            for stop in column:
                ranks = sorted(other.rank for other, _ in stop.right)
                count += sum(len(seen) - bisect(seen, rank) for rank in ranks)
                for rank in ranks:
                    insort(seen, rank)
        return count

    # --- the places in each column -----------------------------------------------------------------------

    def move(self) -> None:
        """Move what is in a column to where its neighbours are, as near as its order and its room let it."""
        for column in self._columns:
            _place(column, [0.0] * len(column))
        for sweep in range(2 * _SWEEPS):
            last = sweep >= _SWEEPS
            for column in self._columns if sweep % 2 == 0 else reversed(self._columns):
                sides = [(s.left + s.right) if last else s.left if sweep % 2 == 0 else s.right for s in column]
                _place(column, [_mean_place(s, side) for s, side in zip(column, sides, strict=True)])
        top = min((stop.y - stop.above for column in self._columns for stop in column), default=0.0)
        for column in self._columns:
            for stop in column:
                stop.y -= top

    # --- the outcome -------------------------------------------------------------------------------------

    def layout(self) -> Layout:
        """Say where everything is."""
        lefts, rights = self._bounds()
        centers = {
            node: ((lefts[column] + rights[column]) / 2, self._nodes[node].y)
            for node, column in self._column_of.items()
        }
        lines = []
        for (source, target), passes in self._passes.items():
            leads_back = (source, target) in self._back
            first = self._column_of[target if leads_back else source] + 1
            bounds = zip(lefts[first:], rights[first:], passes, strict=False)
            middle = [point for left, right, stop in bounds for point in ((left, stop.y), (right, stop.y))]
            if leads_back:
                points = [*self._under(source, lefts, 1), *reversed(middle), *self._under(target, rights, -1)]
            else:
                begin, end = centers[source], centers[target]
                points = [
                    (begin[0] + self._sizes[source].width / 2, begin[1]),
                    (rights[first - 1], begin[1]),
                    *middle,
                    (lefts[first + len(passes)], end[1]),
                    (end[0] - self._sizes[target].width / 2, end[1]),
                ]
            lines.append(Line(source, target, leads_back, tuple(points)))
        bottom = max((stop.y + stop.below for column in self._columns for stop in column), default=0.0)
        return Layout(centers, lines, Size(rights[-1] if rights else 0.0, bottom))

    def _under(self, node: str, bounds: Sequence[float], step: int) -> list[Point]:
        """The way from under a node to the side of its column, or, with the step -1, the other way round."""
        column = self._column_of[node]
        lefts, rights = self._bounds()
        x, y = (lefts[column] + rights[column]) / 2, self._nodes[node].y + self._sizes[node].height / 2
        return [(x, y), (x, y + _LANE), (bounds[column], y + _LANE)][::step]

    def _bounds(self) -> tuple[list[float], list[float]]:
        """Where each column begins and ends."""
        widths = [0.0] * len(self._columns)
        for node, column in self._column_of.items():
            widths[column] = max(widths[column], self._sizes[node].width)
        lefts = [sum(widths[:number]) + number * _BETWEEN_COLUMNS for number in range(len(widths))]
        return lefts, [left + width for left, width in zip(lefts, widths, strict=True)]


def _mean_rank(stop: _Stop, neighbours: Sequence[tuple[_Stop, float]]) -> float:
    if not neighbours:
        return stop.rank
    return sum(other.rank for other, _ in neighbours) / len(neighbours)


def _mean_place(stop: _Stop, neighbours: Sequence[tuple[_Stop, float]]) -> float:
    if not neighbours:
        return stop.y
    return sum(other.y * weight for other, weight in neighbours) / sum(weight for _, weight in neighbours)


def _place(column: Sequence[_Stop], wanted: Sequence[float]) -> None:
    """Place what is in a column as near as may be to where it wants to be, in its order and without overlaps.

    It is the least sum of squares: those that would overlap move together, to the mean of what they want.
    """
    blocks: list[tuple[float, int]] = []  # the sum of the tops that are wanted, and of how many
    offsets, offset = [], 0.0
    for stop, y in zip(column, wanted, strict=True):
        offset += stop.above
        offsets.append(offset)
        total, count = y - offset, 1
        offset += stop.below
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before, number = blocks.pop()
            total, count = total + before, count + number
        blocks.append((total, count))
    tops = [total / count for total, count in blocks for _ in range(count)]
    for stop, top, offset in zip(column, tops, offsets, strict=True):
        stop.y = top + offset

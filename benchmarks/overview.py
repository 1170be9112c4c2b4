"""Draws everything as one SVG: a row for each shape, with a dot for each system at its ratio to the limit.

It shows what is sound. Hovering over a dot names its system.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Final

from benchmarks.case import Figure
from benchmarks.plot import ROW, Table, kind, sheet, text
from benchmarks.summary import Line

_LEFT: Final = 160
"""Where the scale begins; the shapes are named before it."""
_RIGHT: Final = 620
"""Where it ends; the columns stand behind it."""
_LIMIT: Final = 690
"""Where its figure ends."""
_OURS: Final = 785
"""Where our ratio ends."""
_NEAREST: Final = 805
"""Where the nearest of the others begins."""
_TOP: Final = 44
_TICKS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1_000, 10_000, 100_000)
_SYSTEM: Final = "necrostack"


def overview(tables: Sequence[Table]) -> str:
    """Draw the ratio of the first figure of every case."""
    shown = [(workload, shapes) for workload, lines in tables if (shapes := list(_shapes(lines)))]
    scale = _Scale([line.ratio or 1.0 for _, shapes in shown for lines in shapes for line in lines])
    rows, y = list[str](), _TOP
    for workload, shapes in shown:
        rows.append(text(0, y + 15, f"{workload.title}: {workload.figures[0].heading}", "title"))
        y += ROW + 4
        for lines in shapes:
            rows += _row(lines, y, scale, workload.figures[0])
            y += ROW
        y += 8
    return sheet([*_head(scale, y), *rows], y)


def _shapes(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Give the sound lines of each shape in which something is compared: ours last, so that it is drawn on top."""
    for _, group in groupby(lines, key=lambda line: line.case.shape):
        sound = [line for line in group if line.is_sound and line.ratio]
        if any(not line.case.is_limit for line in sound):
            yield sorted(sound, key=lambda line: kind(line.case) == _SYSTEM)


def _head(scale: "_Scale", bottom: int) -> Iterator[str]:
    yield text(0, 14, "× limit", "title")
    yield text(_LIMIT, 14, "limit", "right")
    yield text(_OURS, 14, "NecroStack", "ours")
    yield text(_NEAREST, 14, "nearest of the others")
    for tick in scale.ticks():
        x = scale.place(tick)
        yield text(x, 14, f"{tick:,g}×", "middle")
        yield f'<line class="{"one" if tick == 1 else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="22" y2="{bottom}"/>'


def _row(lines: Sequence[Line], y: int, scale: "_Scale", figure: Figure) -> Iterator[str]:
    yield text(12, y + 13, lines[0].case.shape, "shape")
    for line in lines:
        ratio = line.ratio or 1.0
        name, style = line.case.system, kind(line.case)
        if line.case.is_limit:
            yield text(_LIMIT, y + 13, f"{line.figures[0].median:,.{figure.digits}f}", "right")
            continue
        if name == _SYSTEM:
            yield text(_OURS, y + 13, f"{ratio:.2f}×", "ours")
        title = f"<title>{escape(name)} {ratio:.2f}×</title>"
        radius = 5 if style == _SYSTEM else 4
        yield f'<circle class="{style}" cx="{scale.place(ratio):.1f}" cy="{y + 9}" r="{radius}">{title}</circle>'
    others = [line for line in lines if kind(line.case) == "other"]
    if others:
        nearest = min(others, key=lambda line: line.ratio or 1.0)
        yield text(_NEAREST, y + 13, f"{nearest.ratio:,.2f}× {nearest.case.system}")


class _Scale:
    """Powers of ten, from a little under the least ratio to a little over the greatest."""

    def __init__(self, ratios: Sequence[float]) -> None:
        self._low = min([1.0, *ratios]) / 1.1
        self._high = max([10.0, *ratios]) * 1.1

    def place(self, ratio: float) -> float:
        """Say how far to the right a ratio is."""
        share = math.log(ratio / self._low) / math.log(self._high / self._low)
        return _LEFT + share * (_RIGHT - _LEFT)

    def ticks(self) -> list[float]:
        """Say which ratios are marked."""
        return [tick for tick in _TICKS if self._low <= tick <= self._high]

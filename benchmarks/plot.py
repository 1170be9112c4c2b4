"""Draws what was measured as one SVG: a bar per case, on a scale in powers of ten, with its range as a line."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Final

from benchmarks.case import Case, Workload
from benchmarks.summary import Line

Table = tuple[Workload, Sequence[Line]]

WIDTH: Final = 960
_NAMES: Final = 190
"""How much of the width the names have; the bars begin there."""
_BARS: Final = 560
ROW: Final = 18
_STYLE: Final = """
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 14px; stroke: #ffffff; stroke-width: 4; paint-order: stroke }
  .shape, .value { fill: #57606a } .other { fill: #afb8c1 } .limit { fill: #6e7781 } .necrostack { fill: #1f6feb }
  .range { stroke: #24292f; stroke-width: 1.5 } .paper { fill: #ffffff }
  .grid { stroke: #d0d7de } .one { stroke: #6e7781; stroke-width: 1.5 } .middle { text-anchor: middle; fill: #57606a }
  .right { text-anchor: end } .ours { text-anchor: end; font-weight: 600; fill: #1f6feb }
"""


def svg(tables: Sequence[Table]) -> str:
    """Draw workloads one under the other."""
    rows, y = [], 12
    for workload, lines in tables:
        drawn, height = _panel(workload, [line for line in lines if line.figures], y)
        rows += drawn
        y += height
    return sheet(rows, y)


def sheet(rows: Sequence[str], height: int) -> str:
    """Put what is drawn on white paper: it is read on dark pages, too."""
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    body = "\n".join([f"<style>{_STYLE}</style>", f'<rect class="paper" width="{WIDTH}" height="{height}"/>', *rows])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{body}\n</svg>\n'


def kind(case: Case) -> str:
    """Name the style that a case is drawn in."""
    return "limit" if case.is_limit else "necrostack" if case.system.startswith("necrostack") else "other"


def _panel(workload: Workload, lines: Sequence[Line], top: int) -> tuple[list[str], int]:
    unit = workload.figures[0].heading
    rows, y = [text(0, top + 14, f"{workload.title}: {unit}", "title")], top + 26
    scale = _Scale([line.figures[0].low for line in lines], [line.figures[0].high for line in lines])
    for shape, group in groupby(lines, key=lambda line: line.case.shape):
        rows.append(text(0, y + 13, shape, "shape"))
        y += ROW
        for line in group:
            rows += _row(line, y, scale, workload.figures[0].digits)
            y += ROW
        y += 4
    return rows, y - top + 18


def _row(line: Line, y: int, scale: "_Scale", digits: int) -> Iterator[str]:
    found = line.figures[0]
    end, low, high = (_NAMES + scale.length(number) for number in (found.median, found.low, found.high))
    ratio = "" if line.ratio is None or line.case.is_limit else f" · {line.ratio:.2f}×"
    yield text(12, y + 13, line.case.system)
    bar = f'x="{_NAMES}" y="{y + 3}" width="{end - _NAMES:.1f}" height="{ROW - 6}"'
    yield f'<rect class="{kind(line.case)}" {bar} rx="2"/>'
    yield f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{y + ROW // 2}" y2="{y + ROW // 2}"/>'
    yield text(high + 8, y + 13, f"{found.median:,.{digits}f}{ratio}", "value")


def text(x: float, y: float, said: str, style: str = "") -> str:
    """Write a line."""
    return f'<text class="{style}" x="{x:.1f}" y="{y}">{escape(said)}</text>'


class _Scale:
    """From the power of ten under the least number to the greatest number."""

    def __init__(self, lows: Sequence[float], highs: Sequence[float]) -> None:
        positive = [number for number in (*lows, *highs) if number > 0] or [1.0]
        self._floor = math.floor(math.log10(min(positive)) - 0.3)
        self._span = max(math.log10(max(positive)) - self._floor, 1.0)

    def length(self, number: float) -> float:
        """Say how long a number's bar is; what is not above zero has none."""
        return max(math.log10(number) - self._floor, 0.0) / self._span * _BARS if number > 0 else 0.0

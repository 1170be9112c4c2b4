"""Draws a soak: a panel for each kind of series, one under the other on one scale of time, with the deaths in all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.plot import sheet, text
from soak.record import Record
from soak.slope import Points, blocks

_LEFT, _RIGHT = 60, 760
"""Where time begins and ends; numbers stand before it, names behind."""
_HEIGHT = 78
"""Of a panel's drawing; its title stands over it."""
_GAP = 34
_COLOURS = ("#1f6feb", "#bc4c00", "#1a7f37", "#8250df", "#bf3989")
_STYLE = """<style>
  .line { fill: none; stroke-width: 1.6; stroke-linejoin: round } .faint { fill: none; stroke: #afb8c1 }
  .server { stroke: #cf222e; stroke-dasharray: 4 3 } .kill { stroke: #6e7781 } .warm { fill: #f6f8fa }
  .head { font-weight: 600 } .note { fill: #57606a; font-size: 11px }
  .end { fill: #57606a; font-size: 11px; text-anchor: end }
  %s
</style>"""
_COLOURED = " ".join(f".c{n} {{ stroke: {colour} }} .t{n} {{ fill: {colour} }}" for n, colour in enumerate(_COLOURS))


@dataclass(frozen=True)
class Series:
    """One line of a panel; without a name it is drawn faintly, for comparison."""

    name: str
    points: Points


@dataclass(frozen=True)
class Panel:
    """What is drawn on one scale."""

    title: str
    series: Sequence[Series]
    is_logarithmic: bool = False


def svg(record: Record) -> str:
    """Draw it."""
    rows, y = [_STYLE % _COLOURED], 12
    for panel in panels(record):
        rows += _drawn(panel, record, y)
        y += _HEIGHT + _GAP
    rows += _foot(record, y)
    return sheet(rows, y + 44)


def panels(record: Record) -> list[Panel]:
    """Say what is drawn."""
    names = {name for sample in record.samples for name in sample.processes} - {*record.elders, "producer"}
    smooth = 3 * record.plan.sample_every

    def smoothed(title: str, *figures: str) -> Panel:
        return Panel(title, [Series(figure, blocks(record.server(figure), smooth)) for figure in figures])

    def waits(share: float) -> Points:
        return record.percentiles(record.waits, share)

    memory = [Series("", record.process(name, "rss")) for name in sorted(names)]
    memory += [Series(name, record.process(name, "rss")) for name in (*record.elders, "producer")]
    elder = record.elders[0]
    inside = [Series(words, record.process(elder, figure)) for figure, words in _INSIDE]
    ping = record.percentiles(record.pings, 0.99)
    return [
        Panel("Memory of the processes, MiB (grey: workers that were killed)", memory),
        smoothed("Memory of the server, MiB", "memory"),
        smoothed("Length of the stream, entries", "stream"),
        Panel(f"File descriptors, threads and tasks of {elder}", inside),
        smoothed("Workers that the server knows, and connections", "consumers", "connections"),
        smoothed("Deliveries pending and retries scheduled", "pending", "scheduled"),
        Panel(
            "From emit to handler, ms",
            [Series("p50", waits(0.5)), Series("p99", waits(0.99)), Series("PING p99", ping)],
            True,
        ),
        Panel(
            "Load average of the machine", [Series("1 minute", [(sample.at, sample.load) for sample in record.samples])]
        ),
    ]


_INSIDE = (("fds", "file descriptors"), ("threads", "threads"), ("tasks", "tasks"))


def _drawn(panel: Panel, record: Record, top: int) -> Iterator[str]:
    seconds, under = record.plan.seconds, top + 20
    width = record.plan.warmup / seconds * (_RIGHT - _LEFT)
    yield f'<rect class="warm" x="{_LEFT}" y="{under}" width="{width:.0f}" height="{_HEIGHT}"/>'
    yield text(_LEFT, top + 12, panel.title, "head")
    scale = _Scale(panel, under)
    for tick in scale.ticks():
        y = scale.place(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield text(_LEFT - 6, int(y) + 4, f"{tick:,g}", "end")
    for at, _ in record.restarts:
        x = _across(at, seconds)
        yield f'<line class="server" x1="{x:.1f}" x2="{x:.1f}" y1="{under}" y2="{under + _HEIGHT}"/>'
    for at in record.kills:
        x = _across(at, seconds)
        yield f'<line class="kill" x1="{x:.1f}" x2="{x:.1f}" y1="{under + _HEIGHT}" y2="{under + _HEIGHT + 4}"/>'
    named = [series for series in panel.series if series.name]
    for series in panel.series:
        style = f"line c{named.index(series)}" if series.name else "faint"
        yield from (f'<polyline class="{style}" points="{part}"/>' for part in _parts(series.points, record, scale))
    for number, series in enumerate(named):
        last = f" {_shown(series.points[-1][1])}" if series.points else ""
        yield text(_RIGHT + 12, under + 12 + 16 * number, f"{series.name}{last}", f"t{number}")


def _parts(points: Points, record: Record, scale: _Scale) -> Iterator[str]:
    """Give the pieces of a line: where nothing was seen for long there is none."""
    part, last = list[str](), -math.inf
    longest = max(5 * record.plan.sample_every, 1.5 * record.plan.period)
    for at, value in points:
        if part and at - last > longest:
            yield " ".join(part)
            part = []
        part.append(f"{_across(at, record.plan.seconds):.1f},{scale.place(value):.1f}")
        last = at
    if part:
        yield " ".join(part)


def _foot(record: Record, y: int) -> Iterator[str]:
    minutes = record.plan.seconds / 60
    step = next((step for step in (0.1, 0.5, 1, 5, 10, 30, 60) if minutes / step <= 12), 120)
    for number in range(int(minutes / step + 0.001) + 1):
        at = _across(number * step * 60, record.plan.seconds)
        yield text(at, y, f"{number * step:g} min", "middle")
    yield text(_LEFT, y + 26, "Red: the server was killed. Ticks: a worker was killed. Shaded: not judged.", "note")


def _across(seconds: float, whole: float) -> float:
    return _LEFT + min(seconds / whole, 1.0) * (_RIGHT - _LEFT)


class _Scale:
    """From a little under the least to a little over the greatest; noise does not fill a panel."""

    def __init__(self, panel: Panel, top: int) -> None:
        self._top = top
        self._is_logarithmic = panel.is_logarithmic
        seen = [value for series in panel.series for _, value in series.points] or [0.0, 1.0]
        if panel.is_logarithmic:
            seen = [value for value in seen if value > 0] or [1.0]
            self._low = 10.0 ** math.floor(math.log10(min(seen)))
            self._high = max(10.0 ** math.ceil(math.log10(max(seen))), 10 * self._low)
            return
        least, greatest = min(seen), max(seen)
        self._step = _round_up(max(greatest - least, 0.2 * greatest, 0.01) / 3)
        self._low = math.floor(least / self._step) * self._step
        self._high = max(math.ceil(greatest / self._step) * self._step, self._low + self._step)

    def place(self, value: float) -> float:
        """Say how far down a value is."""
        if self._is_logarithmic:
            share = math.log10(max(value, self._low) / self._low) / math.log10(self._high / self._low)
        else:
            share = (value - self._low) / (self._high - self._low)
        return self._top + _HEIGHT * (1 - share)

    def ticks(self) -> list[float]:
        """Say which values are marked."""
        if self._is_logarithmic:
            decades = round(math.log10(self._high / self._low))
            return [self._low * 10.0**number for number in range(decades + 1)]
        return [self._low + number * self._step for number in range(round((self._high - self._low) / self._step) + 1)]


def _shown(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def _round_up(number: float) -> float:
    """Say the next of 1, 2, 5, 10, 20 and so on."""
    power = 10.0 ** math.floor(math.log10(number))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= number * 0.999)

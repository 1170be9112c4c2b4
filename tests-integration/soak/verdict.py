"""Judges what was found: a limit for each series, and whether it was held, broken, or cannot be decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import median

from soak.record import Record
from soak.slope import HOUR, Points, after, blocks, theil_sen
from soak.witness import Count

GROWTH = 1.0
"""MiB that a process, or the server, may gain in an hour."""

NOTICED = 0.5
"""MiB that must be gained in all before it is called growth: an allocator takes steps, and a short soak sees few."""

STREAM_GROWTH = 0.05
"""The share of its length by which the stream may grow in an hour."""

CONSTANT = 5.0
"""By how much what is to be constant may be off its median, in any block; and how much more may wait after an hour."""

DRIFT = 1.2
"""How many times as long orders may wait at the end."""


class Outcome(StrEnum):
    """What became of a limit."""

    HELD = "held"
    BROKEN = "broken"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """What became of one limit.

    Attributes:
        what: What was looked at.
        found: What was found, in words.
        limit: What was allowed, in words.
        outcome: Whether it was held.
        figures: What was found, in figures.
    """

    what: str
    found: str
    limit: str
    outcome: Outcome
    figures: Mapping[str, float] = field(default_factory=dict)


def judge(record: Record) -> list[Verdict]:
    """Judge everything that there is a limit for."""
    return [judge_count(record.count), *_slopes(record), *_constants(record), *_backlogs(record), judge_drift(record)]


def _settled(record: Record, points: Points) -> Points:
    return blocks(after(points, record.plan.warmup), record.plan.block)


def _slopes(record: Record) -> Iterator[Verdict]:
    for name in (*record.elders, "producer"):
        yield judge_slope(f"memory of {name}", _settled(record, record.process(name, "rss")), GROWTH, "MiB", NOTICED)
    yield judge_slope("memory of the server", _settled(record, record.server("memory")), GROWTH, "MiB", NOTICED)
    length = _settled(record, record.server("stream"))
    most = STREAM_GROWTH * median(y for _, y in length) if length else 0.0
    yield judge_slope("length of the stream", length, most, "entries")


def _constants(record: Record) -> Iterator[Verdict]:
    def settled(points: Points) -> Points:
        return _settled(record, record.undisturbed(points))

    for name in record.elders:
        for figure, words in (("fds", "file descriptors"), ("threads", "threads"), ("tasks", "tasks")):
            yield judge_constant(f"{words} of {name}", settled(record.process(name, figure)))
    for figure, words in (("fds", "file descriptors"), ("threads", "threads")):
        yield judge_constant(f"{words} of producer", settled(record.process("producer", figure)))
    for figure in ("consumers", "connections"):
        yield judge_constant(figure, settled(record.server(figure)))


def _backlogs(record: Record) -> Iterator[Verdict]:
    # How much waits at a time is a matter of the machine; that it grows need not be ours when PING takes longer, too.
    is_slower = (_drift(record.percentiles(record.pings, 0.99)) or 1.0) > DRIFT
    for figure in ("queued", "pending", "scheduled", "dead"):
        verdict = judge_slope(figure, _settled(record, record.server(figure)), CONSTANT, "entries")
        if verdict.outcome is Outcome.BROKEN and is_slower:
            verdict = replace(verdict, outcome=Outcome.UNDECIDED)
        yield verdict


def judge_count(count: Count) -> Verdict:
    """Judge whether all events are there, once."""
    is_exact = (count.lost, count.doubled, count.strange) == (0, 0, 0) and count.orders > 0
    found = f"{count.lost:,} lost, {count.doubled:,} doubled of {count.events:,}"
    outcome = Outcome.HELD if is_exact else Outcome.BROKEN
    return Verdict("events", found, "0 lost, 0 doubled", outcome, dict(vars(count)))


def judge_slope(what: str, points: Points, most: float, unit: str, noticed: float = 0.0) -> Verdict:
    """Judge whether a series grows by more in an hour than it may.

    It is broken only when all of the interval is over the limit, and held only when all of it is under.

    Args:
        what: What was looked at.
        points: What was seen.
        most: By how much it may grow in an hour.
        unit: What it is counted in.
        noticed: What it must have gained in all for its growth to count.
    """
    digits = 2 if unit == "MiB" else 0
    limit = f"at most {most:,.{0 if most >= 2 else 1}f} {unit}/h"
    if (slope := theil_sen(points)) is None:
        return Verdict(what, "too few samples", limit, Outcome.UNDECIDED)
    gained = slope.low * (points[-1][0] - points[0][0]) / HOUR
    is_growth = slope.low > most and gained >= noticed
    outcome = Outcome.HELD if slope.high <= most else Outcome.BROKEN if is_growth else Outcome.UNDECIDED
    value, low, high = (f"{number:+,.{digits}f}" for number in (slope.value, slope.low, slope.high))
    figures = {**_range(points), "slope": slope.value, "slope_low": slope.low, "slope_high": slope.high}
    return Verdict(
        what, f"{figures['median']:,.{digits}f} {unit}, {value}/h ({low} to {high})", limit, outcome, figures
    )


def judge_constant(what: str, points: Points) -> Verdict:
    """Judge whether a series is the same all the time."""
    limit = f"constant ± {CONSTANT:g}"
    if not points:
        return Verdict(what, "no samples", limit, Outcome.UNDECIDED)
    figures = _range(points)
    is_constant = max(figures["max"] - figures["median"], figures["median"] - figures["min"]) <= CONSTANT
    found = f"{figures['median']:,g} ({figures['min']:,g} to {figures['max']:,g})"
    return Verdict(what, found, limit, Outcome.HELD if is_constant else Outcome.BROKEN, figures)


def _range(points: Points) -> dict[str, float]:
    seen = [y for _, y in points]
    return {"median": median(seen), "min": min(seen), "max": max(seen)}


def judge_drift(record: Record) -> Verdict:
    """Judge whether orders wait longer in the last sixth of the soak than in the first, by the p99 of each minute.

    The median of a sixth's minutes, so that one in which the server was killed does not stand for all. It is broken
    only when the minutes in between say so as well, and when PING does not: else it was the machine.
    """
    waits, pings = record.percentiles(record.waits, 0.99), record.percentiles(record.pings, 0.99)
    limit = f"at most × {DRIFT:g}"
    drift, noise, slope = _drift(waits), _drift(pings), theil_sen(waits)
    if drift is None or noise is None:
        return Verdict("p99 from emit to handler", "too few samples", limit, Outcome.UNDECIDED)
    figures = {"drift": drift, "ping_drift": noise, **_range(waits)}
    found = f"× {drift:.2f} (PING: × {noise:.2f}), median {figures['median']:,.1f} ms"
    is_trend = slope is not None and slope.low > 0
    outcome = Outcome.HELD if drift <= DRIFT else Outcome.BROKEN if is_trend and noise <= DRIFT else Outcome.UNDECIDED
    return Verdict("p99 from emit to handler", found, limit, outcome, figures)


def _drift(points: Points) -> float | None:
    sixth = len(points) // 6
    if not sixth:
        return None
    first, last = (median(y for _, y in part) for part in (points[:sixth], points[-sixth:]))
    return last / first if first else None

"""Writes what was found: `soak.json` with every figure, `soak.md` with tables, `soak.svg` with the picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from soak.plot import svg
from soak.record import Record
from soak.verdict import Verdict


def as_data(record: Record, verdicts: Sequence[Verdict], surroundings: Mapping[str, str]) -> dict[str, Any]:
    """Give all of it but the samples, ready for JSON."""
    latency = {
        name: {f"p{share:g}": record.percentiles(waits, share / 100) for share in (50, 99, 100)}
        for name, waits in (("emit_to_handler_ms", record.waits), ("ping_ms", record.pings))
    }
    loads = [sample.load for sample in record.samples] or [0.0]
    return {
        **surroundings,
        "plan": asdict(record.plan),
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "count": asdict(record.count),
        "kills": len(record.kills),
        "held_by_the_dead": record.held_by_the_dead,
        "restarts": [{"at": at, "seconds": seconds} for at, seconds in record.restarts],
        "mended": record.mended,
        "repeats": record.repeats,
        "samples": len(record.samples),
        "load_average": {"min": min(loads), "median": median(loads), "max": max(loads)},
        "reports": record.reports,
        "log": dict(record.log),
        "latency": latency,
    }


def markdown(record: Record, verdicts: Sequence[Verdict], surroundings: Mapping[str, str]) -> str:
    """Write the verdict as a table, and what happened as another."""
    return "\n".join([*_markdown(record, verdicts, surroundings), ""])


def _markdown(record: Record, verdicts: Sequence[Verdict], surroundings: Mapping[str, str]) -> Iterator[str]:
    yield "; ".join(f"{name}: {value}" for name, value in surroundings.items())
    yield ""
    yield from ("| what | found | limit | |", "|---|---|---|---|")
    for verdict in verdicts:
        yield f"| {verdict.what} | {verdict.found} | {verdict.limit} | {verdict.outcome} |"
    yield ""
    yield from ("| what happened | |", "|---|---:|")
    for what, value in happened(record).items():
        yield f"| {what} | {value} |"
    yield ""
    yield from ("| sixth | orders waited p50 | p99 | longest | PING p50 | p99 |", "|---:|---:|---:|---:|---:|---:|")
    for sixth in range(6):
        yield f"| {sixth + 1} | {' | '.join(_latencies(record, sixth))} |"


def happened(record: Record) -> dict[str, str]:
    """Say what happened, in figures."""
    loads = [sample.load for sample in record.samples] or [0.0]
    outages = ", ".join(f"{seconds:.1f} s" for _, seconds in record.restarts)
    handled, failed, lost = (
        sum(report[name] for report in record.reports.values()) for name in ("handled", "failed", "lost")
    )
    return {
        "orders stated": f"{record.count.orders:,} in {record.plan.seconds / 60:,.1f} minutes",
        "workers killed": f"{len(record.kills):,}, with {record.held_by_the_dead:,} deliveries in their hands",
        "servers killed": f"{len(record.restarts):,}{f', back after {outages}' if outages else ''}",
        "calls made again by the producer": f"{record.repeats:,}",
        "dead letters mended": f"{record.mended:,}",
        f"handled by {' and '.join(record.elders)}": f"{handled:,}, {failed:,} failures, {lost:,} settlements refused",
        "other lines in the logs": ", ".join(f"{count} {name}" for name, count in record.log.most_common()) or "none",
        "load average of the machine": f"{min(loads):.1f} to {max(loads):.1f}, median {median(loads):.1f}",
    }


def _latencies(record: Record, sixth: int) -> Iterator[str]:
    """Give the medians of a sixth's minutes, and the longest of all."""
    waits, pings = record.waits, record.pings
    for of, share in ((waits, 0.5), (waits, 0.99), (waits, 1), (pings, 0.5), (pings, 0.99)):
        points = record.percentiles(of, share)
        part = [y for x, y in points if sixth <= 6 * x / record.plan.seconds < sixth + 1]
        yield f"{(max if share == 1 else median)(part):,.1f} ms" if part else "–"


def write(folder: Path, record: Record, verdicts: Sequence[Verdict], surroundings: Mapping[str, str]) -> None:
    """Write all three."""
    data = json.dumps(as_data(record, verdicts, surroundings), indent=1, ensure_ascii=False)
    (folder / "soak.json").write_text(data + "\n", encoding="utf-8")
    (folder / "soak.md").write_text(markdown(record, verdicts, surroundings), encoding="utf-8")
    (folder / "soak.svg").write_text(svg(record), encoding="utf-8")

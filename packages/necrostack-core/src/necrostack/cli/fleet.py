"""The workers of a group, by what they say of themselves: as tables, as JSON-compatible values, and what is odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from necrostack.backend import Consumer
from necrostack.cli.fitting import Table
from necrostack.cli.terminal import counted
from necrostack.cli.times import span
from necrostack.finding import Finding
from necrostack.fleet import Announcement
from necrostack.report import OrganReport, RunReport
from necrostack.topology import Topology

_SILENT = 10.0
"""Seconds without a word after which a worker that holds something is told of: it speaks every 2 s."""

_NAMED = 3
"""How many workers, or Organs, a remark names."""


@dataclass(frozen=True, slots=True)
class OrganLine:
    """One Organ, in all workers that run it.

    Attributes:
        name: Its name.
        total: What it did in their runs.
        handled: Handler calls a second, lately.
        failed: Calls that failed a second, lately.
        emitted: Events that it emitted a second, lately.
    """

    name: str
    total: OrganReport
    handled: float
    failed: float
    emitted: float


def organ_lines(workers: Sequence[Consumer]) -> list[OrganLine]:
    """Add up what the workers did, for each Organ that one of them has, in order of appearance."""
    abouts = [worker.about for worker in workers if worker.about is not None]
    totals = RunReport.summed(about.report for about in abouts).organs
    names = dict.fromkeys(name for about in abouts for name in _organ_names(about))

    def rate(name: str, of: str) -> float:
        return sum(about.per_second(getattr(about.recent.organs.get(name, _NONE), of)) for about in abouts)

    return [
        OrganLine(
            name,
            totals.get(name, _NONE),
            handled=rate(name, "handled"),
            failed=rate(name, "failed"),
            emitted=rate(name, "emitted"),
        )
        for name in names
    ]


_NONE = OrganReport()


def _organ_names(about: Announcement) -> Iterator[str]:
    if about.topology is not None:
        yield from (organ.name for organ in about.topology.organs)
    yield from about.report.organs


def topologies(workers: Sequence[Consumer]) -> dict[str, Topology]:
    """The topologies that workers run, by fingerprint, the most common one first."""
    found: dict[str, list[Topology]] = {}
    for worker in workers:
        if worker.about is not None and worker.about.topology is not None:
            found.setdefault(worker.about.topology.fingerprint, []).append(worker.about.topology)
    return {name: same[0] for name, same in sorted(found.items(), key=lambda each: -len(each[1]))}


# --- what is shown ------------------------------------------------------------------------------------------


def worker_table(workers: Sequence[Consumer], now: datetime) -> Table:
    """A row for each worker; those that need somebody come first."""
    header = ("worker", "host", "pid", "version", "up", "pending", "in work", "handled/s", "failed", "last heard")
    ordered = sorted(workers, key=lambda worker: (not is_blocked(worker, now), worker.name))
    return Table(header, [_worker_row(worker, now) for worker in ordered], ("host", "pid", "version", "up", "pending"))


def _worker_row(worker: Consumer, now: datetime) -> Sequence[object]:
    about, heard = worker.about, span(worker.idle)
    if about is None:
        return (worker.name, "-", "-", "-", "-", worker.pending, "-", "-", "-", heard)
    up = span((now - about.started_at).total_seconds())
    counts = (worker.pending, about.in_work, per_second(about.rate), about.report.failed)
    return (worker.name, about.host, about.pid, about.version, up, *counts, heard)


def organ_table(organs: Sequence[OrganLine]) -> Table:
    """A row for each Organ."""
    header = ("organ", "handled", "handled/s", "emitted/s", "failed", "failed/s", "retried", "dead-lettered")
    rows = [
        (
            *(organ.name, organ.total.handled, per_second(organ.handled), per_second(organ.emitted)),
            *(organ.total.failed, per_second(organ.failed), organ.total.retried, organ.total.dead_lettered),
        )
        for organ in organs
    ]
    return Table(header, rows, ("emitted/s", "retried"))


def per_second(rate: float) -> str:
    """Show how often something happens in a second.

    >>> per_second(0), per_second(0.04), per_second(3.25), per_second(1234.5)
    ('0', '0.04', '3.2', '1234')
    """
    if rate == 0:
        return "0"
    return f"{rate:.2f}" if abs(rate) < 0.1 else f"{rate:.1f}" if abs(rate) < 10 else f"{rate:.0f}"


# --- what is odd --------------------------------------------------------------------------------------------


def is_blocked(worker: Consumer, now: datetime) -> bool:
    """Whether a worker that lives, and holds something, gets no turn to say so."""
    about = worker.about
    return about is not None and worker.pending > 0 and (now - about.at).total_seconds() > _SILENT


def remarks(workers: Sequence[Consumer], now: datetime) -> list[str]:
    """Say what an operator should know of the workers of one group; nothing when all is well."""
    return [finding.what for finding in findings(workers, now)]


def findings(workers: Sequence[Consumer], now: datetime) -> list[Finding]:
    """The same, with what to do."""
    differing = [*_on_versions(workers), *_on_topologies(workers)]
    return [
        *(Finding("warning", what, _ROLL_OUT) for what in differing),
        *(Finding("warning", what, _UNBLOCK) for what in _on_blocked(workers, now)),
    ]


_ROLL_OUT = "let the workers of a group run the same; necrostack inspect shows who runs what"
_UNBLOCK = "let handlers await what takes long, or hand it to a thread; until then others wait, and its lease may end"


def _on_versions(workers: Sequence[Consumer]) -> Iterator[str]:
    versions = Counter(worker.about.version for worker in workers if worker.about is not None)
    if len(versions) > 1:
        told = [f"{version} ({counted(count, 'worker')})" for version, count in sorted(versions.items())]
        yield f"the workers run different versions of necrostack: {_some(told)}"


def _on_topologies(workers: Sequence[Consumer]) -> Iterator[str]:
    known = [about.topology for about in (worker.about for worker in workers) if about and about.topology]
    counts = Counter(
        f"{organ.name} (on {', '.join(sorted(organ.listens_to))})" for graph in known for organ in graph.organs
    )
    apart = [f"{organ} in {count} of {len(known)}" for organ, count in counts.items() if count < len(known)]
    if apart:
        yield f"the workers run different Organs: {_some(apart)}"


def _on_blocked(workers: Sequence[Consumer], now: datetime) -> Iterator[str]:
    blocked = [(worker, worker.about) for worker in workers if worker.about is not None and is_blocked(worker, now)]
    for worker, about in blocked[:_NAMED]:
        silent = span((now - about.at).total_seconds())
        yield f"{worker.name} holds {worker.pending} and is silent for {silent}: does a handler block its event loop?"
    if len(blocked) > _NAMED:
        yield f"and {counted(len(blocked) - _NAMED, 'more worker')} like that"


def _some(told: Sequence[str]) -> str:
    """Name a few of them."""
    more = [f"and {len(told) - _NAMED} more"] if len(told) > _NAMED else []
    return "; ".join([*told[:_NAMED], *more])


# --- JSON ---------------------------------------------------------------------------------------------------


def worker_facts(worker: Consumer) -> dict[str, Any]:
    """A worker that pulls."""
    about = None if worker.about is None else about_facts(worker.about)
    return {"name": worker.name, "pending": worker.pending, "last_heard": worker.idle, "about": about}


def about_facts(about: Announcement) -> dict[str, Any]:
    """What a worker says of itself. Its topology is named by its fingerprint: see `topology_facts`."""
    return {
        "host": about.host,
        "pid": about.pid,
        "version": about.version,
        "python": about.python,
        "started_at": about.started_at.astimezone(UTC).isoformat(),
        "at": about.at.astimezone(UTC).isoformat(),
        "concurrency": about.concurrency,
        "in_work": about.in_work,
        "handled_per_second": about.rate,
        "failed_per_second": about.failure_rate,
        "report": about.report.to_dict(),
        "topology": None if about.topology is None else about.topology.fingerprint,
    }


def topology_facts(workers: Sequence[Consumer]) -> Mapping[str, Any]:
    """The topologies that workers run, by fingerprint."""
    return {name: topology.to_dict() for name, topology in topologies(workers).items()}


def organ_facts(organ: OrganLine) -> dict[str, Any]:
    """One Organ, in all workers that run it."""
    numbers = {name: getattr(organ.total, name) for name in OrganReport.__slots__}
    return {
        "name": organ.name,
        **numbers,
        "handled_per_second": organ.handled,
        "failed_per_second": organ.failed,
        "emitted_per_second": organ.emitted,
    }

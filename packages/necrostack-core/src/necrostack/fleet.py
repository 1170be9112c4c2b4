"""What a worker says of itself, for whoever looks at all workers of a group."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from necrostack.report import OrganReport, RunReport
from necrostack.topology import Topology
from necrostack.value import Value

MOST_BYTES = 2**17
"""How long an announcement, or its topology, may be in JSON: room for hundreds of Organs. More is not read."""

_MOST_CHARACTERS = 255
"""How long a name may be that is read; the event types of a topology may be no longer either."""

_LARGEST = 2**53
"""Up to here JSON keeps whole numbers exact: https://www.rfc-editor.org/rfc/rfc8259#section-6"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Announcement(Value):
    """What a worker says of itself and of the run that it is in.

    Attributes:
        host: The name of its machine.
        pid: Its process there.
        version: Of necrostack.
        python: The version of Python.
        started_at: When the run began, UTC, by the worker's clock.
        at: When this was said, by the same clock.
        concurrency: How many deliveries it handles at once.
        in_work: How many it is handling.
        report: What the run has done until now.
        recent: What it did since it said so before; `duration` is how long that is.
        topology: Its Organs and event types; None where they are not known.
    """

    host: str
    pid: int
    version: str
    python: str
    started_at: datetime
    at: datetime
    concurrency: int = 1
    in_work: int = 0
    report: RunReport = field(default_factory=RunReport)
    recent: RunReport = field(default_factory=RunReport)
    topology: Topology | None = None

    @property
    def rate(self) -> float:
        """Deliveries handled a second, lately."""
        return self.per_second(self.recent.handled)

    @property
    def failure_rate(self) -> float:
        """Handler calls that failed a second, lately."""
        return self.per_second(self.recent.failed)

    def per_second(self, count: int) -> float:
        """Spread a number of `recent` over the time that it took."""
        return count / self.recent.duration if self.recent.duration > 0 else 0.0

    def to_json(self) -> str:
        """Write it without its topology, which is larger, and rarely another one."""
        return json.dumps(
            {
                "host": self.host,
                "pid": self.pid,
                "version": self.version,
                "python": self.python,
                "started_at": self.started_at.isoformat(),
                "at": self.at.isoformat(),
                "concurrency": self.concurrency,
                "in_work": self.in_work,
                "report": _numbers(self.report),
                "recent": _numbers(self.recent),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, said: bytes | str, topology: Topology | None = None) -> Self | None:
        """Read what a worker wrote, or anybody who can write where workers do.

        Args:
            said: What `to_json` wrote.
            topology: What belongs to it: see `read_topology`.

        Returns:
            None if `said` is no announcement.
        """
        told = _read(said)
        if told is None:
            return None
        try:
            return cls(
                host=_text(told["host"]),
                pid=_count(told["pid"]),
                version=_text(told["version"]),
                python=_text(told["python"]),
                started_at=_moment(told["started_at"]),
                at=_moment(told["at"]),
                concurrency=_count(told["concurrency"]),
                in_work=_count(told["in_work"]),
                report=_report(told["report"]),
                recent=_report(told["recent"]),
                topology=topology,
            )
        except _WRONG:
            return None


_WRONG = (KeyError, ValueError, TypeError, AttributeError, OverflowError)
"""What it leads to to take something for an announcement that is none."""


def read_topology(text: bytes | str) -> Topology | None:
    """Read `Topology.to_dict()` as JSON, which anybody may have written; None if it is none."""
    graph = _read(text)
    try:
        topology = None if graph is None else Topology.from_dict(graph)
        for organ in () if topology is None else topology.organs:
            for name in (organ.name, *organ.listens_to, *(organ.emits or ())):
                _text(name)
            _flag(organ.is_async)
    except _WRONG:
        return None
    return topology


def _read(text: bytes | str) -> dict[str, Any] | None:
    """Read a JSON object of bounded size."""
    try:
        found = json.loads(text) if len(text) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _numbers(report: RunReport) -> dict[str, Any]:
    """Write a report without what is 0, which is most of it where there are many Organs."""
    numbers = report.to_dict()
    return _not_0(numbers) | {"organs": {name: _not_0(organ) for name, organ in numbers["organs"].items()}}


def _not_0(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: number for name, number in numbers.items() if number != 0}


def _report(told: Mapping[str, Any]) -> RunReport:
    counts = {name: _count(told.get(name, 0)) for name in RunReport.__slots__ if name not in ("duration", "organs")}
    organs = {_text(name): _organ(numbers) for name, numbers in told["organs"].items()}
    return RunReport(**counts, duration=_seconds(told.get("duration", 0.0)), organs=organs)


def _organ(told: Mapping[str, Any]) -> OrganReport:
    return OrganReport(**{name: _count(told.get(name, 0)) for name in OrganReport.__slots__})


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS:
        raise ValueError
    return value


def _flag(value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise ValueError
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError
    return float(value)


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(UTC)

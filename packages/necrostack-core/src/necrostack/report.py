"""What a run did, in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from necrostack.value import Value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class OrganReport(Value):
    """What one Organ did in a run.

    Attributes:
        handled: Handler calls, those that failed included.
        emitted: Events it returned that were kept.
        failed: Calls that raised, or returned what no handler may return.
        retried: Retries that were scheduled.
        dead_lettered: Dead letters that were kept.
    """

    handled: int = 0
    emitted: int = 0
    failed: int = 0
    retried: int = 0
    dead_lettered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RunReport(Value):
    """What a run did. Only what was committed counts as emitted, retried and dead-lettered.

    Attributes:
        handled: Deliveries that some Organ got.
        unrouted: Deliveries that nobody listens to.
        emitted: Events that Organs emitted.
        failed: Handler calls that raised, or returned what no handler may return.
        retried: Retries that were scheduled.
        dead_lettered: Dead letters that were kept.
        deduplicated: Deliveries acknowledged without running: their id was handled before in this run.
        lost: Deliveries that others had taken over before they were settled; nothing of theirs was committed.
        duration: Seconds from the start of the run to its end.
        organs: The same for each Organ, by name.
    """

    handled: int = 0
    unrouted: int = 0
    emitted: int = 0
    failed: int = 0
    retried: int = 0
    dead_lettered: int = 0
    deduplicated: int = 0
    lost: int = 0
    duration: float = 0.0
    organs: Mapping[str, OrganReport] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values.

        >>> RunReport(handled=2).to_dict()["handled"]
        2
        """
        numbers: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__ if name != "organs"}
        return numbers | {"organs": {name: organ_dict(organ) for name, organ in self.organs.items()}}

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        >>> RunReport.from_dict(RunReport(handled=2).to_dict()) == RunReport(handled=2)
        True
        """
        organs = {name: OrganReport(**organ) for name, organ in numbers["organs"].items()}
        return cls(**(dict(numbers) | {"organs": organs}))

    @classmethod
    def summed(cls, reports: Iterable[RunReport]) -> Self:
        """Add up the reports of workers that ran side by side; the duration is the longest.

        >>> RunReport.summed([RunReport(handled=2, duration=1.0), RunReport(handled=3, duration=2.5)]).handled
        5
        """
        reports = list(reports)
        totals: dict[str, Any] = {
            name: sum(getattr(report, name) for report in reports)
            for name in cls.__slots__
            if name not in ("duration", "organs")
        }
        names = dict.fromkeys(name for report in reports for name in report.organs)
        return cls(
            **totals,
            duration=max((report.duration for report in reports), default=0.0),
            organs={
                name: _organ_sum(report.organs[name] for report in reports if name in report.organs) for name in names
            },
        )

    def since(self, earlier: RunReport) -> Self:
        """Say what was done after an earlier report of the same run.

        >>> RunReport(handled=5, duration=3.0).since(RunReport(handled=2, duration=1.0)).handled
        3
        """
        numbers: dict[str, Any] = {
            name: getattr(self, name) - getattr(earlier, name) for name in self.__slots__ if name != "organs"
        }
        before = {name: organ_dict(organ) for name, organ in earlier.organs.items()}
        return type(self)(
            **numbers,
            organs={
                name: OrganReport(
                    **{of: number - before.get(name, {}).get(of, 0) for of, number in organ_dict(organ).items()}
                )
                for name, organ in self.organs.items()
            },
        )


def organ_dict(organ: OrganReport) -> dict[str, int]:
    """Return one Organ's numbers by name."""
    return {name: getattr(organ, name) for name in organ.__slots__}


def _organ_sum(organs: Iterable[OrganReport]) -> OrganReport:
    counted = list(organs)
    return OrganReport(**{name: sum(getattr(organ, name) for organ in counted) for name in OrganReport.__slots__})

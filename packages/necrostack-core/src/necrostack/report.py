"""What a run did, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganReport:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
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


def organ_dict(organ: OrganReport) -> dict[str, int]:
    """Return one Organ's numbers by name."""
    return {name: getattr(organ, name) for name in organ.__slots__}

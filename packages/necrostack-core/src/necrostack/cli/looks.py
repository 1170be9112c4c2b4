"""What is seen of a backend at one time after the other, and how fast it changes in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from necrostack.backend import Admin, BackendStats, Consumer, Group


@dataclass(frozen=True, slots=True)
class Look:
    """One look.

    Attributes:
        groups: All groups.
        workers: Those of one group.
        time: When it was, by this machine's clock.
        at: The same, by a clock that never goes back.
        before: The look before it.
    """

    groups: Sequence[Group]
    workers: Sequence[Consumer]
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    at: float = field(default_factory=monotonic)
    before: Look | None = field(default=None, repr=False)

    def change(self, group: Group, number: Callable[[BackendStats], int]) -> float | None:
        """By how much a number of a group has grown a second since the look before; None where there was none."""
        if self.before is None or self.at <= self.before.at:
            return None
        for other in self.before.groups:
            if other.name == group.name:
                return (number(group.stats) - number(other.stats)) / (self.at - self.before.at)
        return None


async def look(admin: Admin, before: Look | None = None) -> Look:
    """Look at a backend.

    Raises:
        BackendError: It cannot be seen.
    """
    groups, workers = await admin.groups(), await admin.consumers()
    # What was before that is not needed, and would grow.
    return Look(groups, workers, before=None if before is None else Look(before.groups, (), before.time, before.at))

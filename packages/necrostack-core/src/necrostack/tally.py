"""The counters of a run while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from necrostack.clock import Clock
from necrostack.report import OrganReport, RunReport


class OrganTally:
    """One Organ's counters. See `OrganReport`."""

    __slots__ = ("dead_lettered", "emitted", "failed", "handled", "retried")

    def __init__(self) -> None:
        self.handled = self.emitted = self.failed = self.retried = self.dead_lettered = 0


class Tally:
    """A run's counters. See `RunReport`."""

    def __init__(self, organs: Iterable[str], clock: Clock) -> None:
        self.organs = {name: OrganTally() for name in organs}
        self.handled = self.unrouted = self.emitted = self.failed = self.retried = 0
        self.dead_lettered = self.deduplicated = self.lost = 0
        self._clock = clock
        self._started = clock.monotonic()

    def now(self) -> datetime:
        """Return the time by the run's clock."""
        return self._clock.now()

    def report(self) -> RunReport:
        """Return what was counted until now."""
        return RunReport(
            handled=self.handled,
            unrouted=self.unrouted,
            emitted=self.emitted,
            failed=self.failed,
            retried=self.retried,
            dead_lettered=self.dead_lettered,
            deduplicated=self.deduplicated,
            lost=self.lost,
            duration=self._clock.monotonic() - self._started,
            organs={
                name: OrganReport(
                    handled=counts.handled,
                    emitted=counts.emitted,
                    failed=counts.failed,
                    retried=counts.retried,
                    dead_lettered=counts.dead_lettered,
                )
                for name, counts in self.organs.items()
            },
        )

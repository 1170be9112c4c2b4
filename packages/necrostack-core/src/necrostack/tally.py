"""The counters of a run while it goes on."""

from __future__ import annotations

from datetime import datetime

from necrostack.clock import Clock
from necrostack.inspection import OrganSpec
from necrostack.report import OrganReport, RunReport
from necrostack.routing import Routes


class OrganTally:
    """One Organ in a run: how to call it, and its counters. See `OrganReport`."""

    __slots__ = (
        "dead_lettered",
        "emitted",
        "failed",
        "handle",
        "handled",
        "is_async",
        "name",
        "retried",
        "spec",
        "timeout",
    )

    def __init__(self, spec: OrganSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.handle = spec.handle
        self.is_async = spec.is_async
        self.timeout = spec.timeout
        self.handled = self.emitted = self.failed = self.retried = self.dead_lettered = 0


class Tally:
    """A run's counters. See `RunReport`.

    Attributes:
        organs: Every Organ by name.
        listening: The Organs that listen to each event type, in registration order.
    """

    def __init__(self, routes: Routes, clock: Clock) -> None:
        self.organs = {name: OrganTally(spec) for name, spec in routes.by_name.items()}
        self.listening = {
            event_type: tuple(self.organs[spec.name] for spec in specs)
            for event_type, specs in routes.by_event_type.items()
        }
        self.handled = self.unrouted = self.emitted = self.failed = self.retried = 0
        self.dead_lettered = self.deduplicated = self.lost = 0
        self._clock = clock
        self._started = clock.monotonic()

    def start(self) -> None:
        """The run begins now."""
        self._started = self._clock.monotonic()

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

"""Whether the workers of a supervisor live and can work, and their metrics, as one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from necrostack.backend import Backend
from necrostack.cli.child import Child
from necrostack.cli.crew import Crew
from necrostack.cli.exposing import Collector, Together, families
from necrostack.cli.health import Probe, library
from necrostack.cli.place import Phase, Place
from necrostack.cli.pulse import Pulse
from necrostack.metrics import BackendMetrics, prometheus

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

SUPERVISOR = "supervisor"
"""What the label `worker` says of what is the supervisor's own."""


class CrewHealth:
    """How the workers are. See `Patient`.

    It is ready when each place has had a worker that pulled, and from then on as long as one pulls: neither a worker
    that died and is replaced nor a roll takes the others out of service.
    """

    def __init__(self, crew: Crew, backend: Backend, max_stall: float) -> None:
        """Look at them from the event loop that runs.

        Args:
            crew: The workers.
            backend: Theirs.
            max_stall: Seconds for which a worker may be hung.
        """
        self._crew = crew
        self._pulse = Pulse(max_stall)
        self._probe = Probe(backend)
        self.collector: Collector | None = None
        if (client := library()) is not None:
            registry = client.CollectorRegistry()
            BackendMetrics(backend, registry)
            self.collector = Together((registry, _Workers(crew), _Totals(crew)))

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Feel the pulse of the event loop that runs."""
        self._pulse.begin()
        try:
            yield
        finally:
            self._pulse.end()

    def ailment(self) -> str | None:
        """See `Patient.ailment`."""
        if self._pulse.is_missed:
            return f"the supervisor's event loop has not turned for {self._pulse.pause:.0f} s"
        found = ((place, _ailment(child, self._pulse.limit)) for place, child in _alive(self._crew))
        return next((f"worker {place.number} {problem}" for place, problem in found if problem is not None), None)

    async def hindrance(self) -> str | None:
        """See `Patient.hindrance`."""
        return self._standing() or await self._probe.problem() or self._standing()

    def details(self) -> Mapping[str, object]:
        """See `Patient.details`."""
        told = {str(place.number): _hindrance(child) or "ready" for place, child in _alive(self._crew)}
        return {"workers": told}

    def _standing(self) -> str | None:
        crew = self._crew
        if crew.phase >= Phase.STOPPING:
            return "draining"
        problems: dict[int, str | None] = {place.number: "starting" for place in crew.places}
        problems |= {place.number: _hindrance(child) for place, child in _alive(crew)}
        missing = [place.number for place in crew.places if not place.was_ready]
        if missing or None not in problems.values():
            return "; ".join(f"worker {number}: {problems[number] or 'starting'}" for number in missing or problems)
        return None


def _alive(crew: Crew) -> Sequence[tuple[Place, Child]]:
    return [(place, child) for place in crew.places if (child := place.child) is not None and child.code is None]


def _ailment(child: Child, limit: float) -> str | None:
    """Say why a worker does not live. One that has not told yet is still importing the application."""
    vitals, silence = child.vitals, time.monotonic() - child.heard_at
    if vitals is None:
        return None
    if vitals.ailment is not None:
        return f"(process {child.pid}): {vitals.ailment}"
    return f"(process {child.pid}) has not been heard of for {silence:.0f} s" if silence > limit else None


def _hindrance(child: Child) -> str | None:
    vitals = child.vitals
    return "starting" if vitals is None else vitals.ailment or vitals.hindrance


class _Workers:
    """What a supervisor knows of its workers."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def collect(self) -> Iterator[Metric]:
        """See `Collector.collect`."""
        core = prometheus().metrics_core
        started = sum(len(place.children) for place in self._crew.places)
        what = "Workers that were started here, those that took the place of others included."
        yield core.CounterMetricFamily("necrostack_worker_starts", what, started)
        ready = sum(_hindrance(child) is None for _, child in _alive(self._crew))
        yield core.GaugeMetricFamily("necrostack_workers_ready", "Workers here that pull.", ready)


class _Totals:
    """What the workers counted, and the supervisor's own process."""

    def __init__(self, crew: Crew) -> None:
        self._totals = crew.totals

    def collect(self) -> Iterator[Metric]:
        """See `Collector.collect`."""
        self._totals.told(SUPERVISOR, families(prometheus().REGISTRY))
        return self._totals.collect()

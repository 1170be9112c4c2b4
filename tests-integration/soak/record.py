"""What was found in a soak, before anybody judges it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from soak.plan import Plan
from soak.sampling import Sample
from soak.slope import Points, percentile
from soak.witness import Count

RETURN = 10.0
"""Seconds for which clients come back after an outage: they look for the server with pauses of up to 5 s."""

Waits = dict[int, list[float]]
"""Milliseconds, by the period in which they were measured."""


@dataclass
class Record:
    """What was found in a soak.

    Attributes:
        plan: What was to be done.
        elders: The names of the workers that were never killed.
        samples: What was seen every few seconds.
        waits: How long orders waited for their first Organ, in ms since they were due to be stated.
        pings: How long the server took to answer PING to somebody else: what the machine allows.
        kills: At which seconds a worker was killed.
        restarts: At which seconds the server was killed, and after how many seconds it answered again.
        held_by_the_dead: How many deliveries the workers held that were killed.
        mended: How many dead letters were mended and went again.
        repeats: How many calls the producer made again, in outages.
        reports: What the workers that were not killed said in the end, by name.
        log: How many lines of each kind the workers' logs have, without those that the load makes by itself.
        count: What became of the orders.
    """

    plan: Plan
    elders: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    waits: Waits = field(default_factory=lambda: defaultdict(list))
    pings: Waits = field(default_factory=lambda: defaultdict(list))
    kills: list[float] = field(default_factory=list)
    restarts: list[tuple[float, float]] = field(default_factory=list)
    held_by_the_dead: int = 0
    mended: int = 0
    repeats: int = 0
    reports: dict[str, Any] = field(default_factory=dict)
    log: Counter[str] = field(default_factory=Counter)
    count: Count = field(default_factory=Count)

    def process(self, name: str, figure: str) -> Points:
        """Give what was seen of a process, over time."""
        seen = [(sample.at, sample.processes.get(name, {})) for sample in self.samples]
        return [(at, figures[figure]) for at, figures in seen if figure in figures]

    def server(self, figure: str) -> Points:
        """Give what was seen of the server, over time."""
        return [(sample.at, sample.server[figure]) for sample in self.samples if figure in sample.server]

    def undisturbed(self, points: Points) -> Points:
        """Leave out what was seen while the server was away, and while its clients came back."""
        outages = [(at, at + seconds + RETURN) for at, seconds in self.restarts]
        return [(at, y) for at, y in points if not any(begin <= at <= end for begin, end in outages)]

    def percentiles(self, waits: Waits, share: float) -> Points:
        """Give a percentile of each whole period, over time."""
        periods = int(self.plan.seconds / self.plan.period + 0.001)
        by_period = [(period, waits.get(period, [])) for period in range(periods)]
        return [((period + 0.5) * self.plan.period, percentile(of, share)) for period, of in by_period if of]

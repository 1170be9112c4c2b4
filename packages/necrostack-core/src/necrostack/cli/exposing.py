"""Metrics of several registries, and of several processes, as one page."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from necrostack.cli.answering import Answer
from necrostack.metrics import prometheus

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class Collector(Protocol):
    """What has metrics."""

    def collect(self) -> Iterable[Metric]:
        """Say how they are now."""


Labels = tuple[tuple[str, str], ...]

Family = tuple[str, str, str, Sequence[tuple[str, Mapping[str, str], float]]]
"""A metric, as JSON has it: its name, what it means, its type, and its samples with their labels and values."""

_SUMMED = frozenset(("counter", "histogram", "summary"))
"""Types of which the sum over all processes says what one process would have said."""


@dataclass(frozen=True, slots=True)
class Together:
    """Several collectors, as one. Of two metrics with one name the first counts: a page may have each only once."""

    collectors: Sequence[Collector]

    def collect(self) -> Iterator[Metric]:
        """See `Collector.collect`."""
        seen: set[str] = set()
        for collector in self.collectors:
            for metric in collector.collect():
                if metric.name not in seen:
                    seen.add(metric.name)
                    yield metric


def written(collector: Collector, accepts: str) -> Answer:
    """Write metrics as whoever asks for them understands it."""
    encode, content_type = prometheus().exposition.choose_encoder(accepts)
    return Answer(status=200, body=encode(_Plain(collector)), content_type=content_type)


def families(collector: Collector) -> list[Family]:
    """Write metrics down for another process."""
    return [
        (
            metric.name,
            metric.documentation,
            metric.type,
            [(each.name, each.labels, each.value) for each in metric.samples if not _tells_a_date(metric, each.name)],
        )
        for metric in collector.collect()
    ]


@dataclass(frozen=True, slots=True)
class _Plain:
    """The metrics of a collector without when each series was made, which would be as much again."""

    collector: Collector

    def collect(self) -> Iterator[Metric]:
        for metric in self.collector.collect():
            metric.samples = [each for each in metric.samples if not _tells_a_date(metric, each.name)]
            yield metric


def _tells_a_date(metric: Metric, sample: str) -> bool:
    return metric.type in _SUMMED and sample == f"{metric.name}_created"


class Totals:
    """The metrics of the processes of one run. What is counted is summed, and stays when a process is gone.

    What is not counted, such as memory, has the label `worker`, with who said it, and goes with that process.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._alive: dict[str, Sequence[Family]] = {}
        self._gone: dict[str, _Sum] = {}

    def told(self, worker: str, metrics: Sequence[Family]) -> None:
        """A process said how its metrics are now."""
        with self._lock:
            self._alive[worker] = metrics

    def ended(self, worker: str) -> None:
        """A process has ended. What it said last is kept, once."""
        with self._lock:
            _add(self._gone, self._alive.pop(worker, ()))

    def collect(self) -> Iterator[Metric]:
        """See `Collector.collect`."""
        with self._lock:
            alive = {**self._alive}
            sums = {name: each.copy() for name, each in self._gone.items()}
        others: dict[str, Metric] = {}
        for worker, metrics in sorted(alive.items()):
            _add(sums, metrics)
            for name, what, kind, samples in metrics:
                if kind not in _SUMMED:
                    found = others.setdefault(name, _metric(name, what, kind))
                    for sample, labels, value in samples:
                        found.add_sample(sample, {**labels, "worker": worker}, value)
        yield from (each.metric(name) for name, each in sums.items())
        yield from others.values()


@dataclass(slots=True)
class _Sum:
    what: str
    kind: str
    values: dict[tuple[str, Labels], float]

    def copy(self) -> _Sum:
        return _Sum(self.what, self.kind, {**self.values})

    def metric(self, name: str) -> Metric:
        made = _metric(name, self.what, self.kind)
        for (sample, labels), value in self.values.items():
            made.add_sample(sample, dict(labels), value)
        return made


def _add(sums: dict[str, _Sum], metrics: Iterable[Family]) -> None:
    for name, what, kind, samples in metrics:
        if kind in _SUMMED:
            values = sums.setdefault(name, _Sum(what, kind, {})).values
            for sample, labels, value in samples:
                key = sample, tuple(labels.items())
                values[key] = values.get(key, 0.0) + value


def _metric(name: str, what: str, kind: str) -> Metric:
    made: Metric = prometheus().metrics_core.Metric(name, what, kind)
    return made

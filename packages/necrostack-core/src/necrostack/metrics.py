"""Metrics for Prometheus: what runs count, and what a backend holds. They need the extra `metrics`.

Nothing of an event but its type is in them, and of the types only those that the Organs name: others may be anybody's,
and any number, so they are counted together.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Any

from necrostack.backend import Backend, BackendStats
from necrostack.delivery import Delivery, Failure, Settlement
from necrostack.errors import ConfigurationError, EventError
from necrostack.event import Event
from necrostack.instrumentation import Instrumentation
from necrostack.topology import Topology

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.metrics_core import Metric

OTHER = "other"
"""What stands for every event type, and every Organ, that the topology does not know."""

GIVEN_UP = "given_up"
"""What stands for every reason that a handler gave to `GiveUp`."""

REASONS_OF_ORGANS = ("attempts_exhausted", "bad_result", "not_retried")
REASONS_OF_EVENTS = ("max_hops", "max_recoveries", "undecodable", "unrouted")
REASONS = frozenset((*REASONS_OF_ORGANS, *REASONS_OF_EVENTS, "unknown_organ"))
"""Why an event is given up where no handler says why: docs/reference/dead-letters.md."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""The upper bounds of what handlers take, from one that counts to one that asks somebody slow."""


def prometheus() -> Any:
    """Import the library.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import prometheus_client
    except ImportError as error:
        msg = "metrics need prometheus-client, which is not installed: pip install 'necrostack-core[metrics]'"
        raise ConfigurationError(msg) from error
    return prometheus_client


class Metrics(Instrumentation):
    """Counts what a Spine does, for Prometheus. docs/how-to/watch-with-prometheus.md lists the metrics.

    Attributes:
        running: How many handlers of each Organ run now.
    """

    def __init__(self, topology: Topology, registry: CollectorRegistry | None = None) -> None:
        """Register the metrics.

        Args:
            topology: That of the Spine: the names that the metrics tell apart.
            registry: Where they are registered; the library's own, which everybody shares, unless given.

        Raises:
            ConfigurationError: prometheus-client is not installed.
        """
        client = prometheus()
        registry = registry or client.REGISTRY
        self.registry = registry
        self._event_types = frozenset(topology.event_types)
        self._organs = dict.fromkeys(organ.name for organ in topology.organs)  # in the order in which they are shown
        self._deliveries: Counter = client.Counter(
            "necrostack_deliveries",
            "Deliveries settled: done, or that some Organ gets again (retried), or gave up (dead_lettered); or lost:"
            " others had taken them over.",
            ["event_type", "outcome"],
            registry=registry,
        )
        self._emitted: Counter = client.Counter(
            "necrostack_emitted_events", "Events that were emitted.", ["event_type"], registry=registry
        )
        self._retries: Counter = client.Counter(
            "necrostack_retries",
            "Failures of an Organ after which it gets the event again.",
            ["organ"],
            registry=registry,
        )
        self._dead: Counter = client.Counter(
            "necrostack_dead_letters",
            "Events given up, by the Organ that did, if it was one, and why.",
            ["organ", "reason"],
            registry=registry,
        )
        seconds: Histogram = client.Histogram(
            "necrostack_handler_seconds", "What handlers took.", ["organ"], registry=registry, buckets=SECONDS
        )
        running: Gauge = client.Gauge(
            "necrostack_handlers_running", "Handlers that run now.", ["organ"], registry=registry
        )
        client.Info("necrostack", "What runs here.", registry=registry).info({"version": version("necrostack-core")})
        self.running = dict.fromkeys((*self._organs, OTHER), 0)
        # To find a label's child takes a lock and a walk each time.
        self._seconds = {name: seconds.labels(name) for name in self._organs}
        self._other_seconds = partial(seconds.labels, OTHER)
        self._settled: dict[tuple[str, str], Counter] = {}
        # What can be known is told from 0 on, so that the first one is seen as an increase.
        for reason in REASONS_OF_EVENTS:
            self._dead.labels("", reason)
        for name in self._organs:
            self._retries.labels(name)
            for reason in (*REASONS_OF_ORGANS, GIVEN_UP):
                self._dead.labels(name, reason)
            running.labels(name).set_function(partial(self.running.__getitem__, name))

    def handling(self, organ: str, delivery: Delivery) -> AbstractContextManager[object]:
        """See `Instrumentation.handling`."""
        seconds = self._seconds.get(organ)
        if seconds is None:
            organ, seconds = OTHER, self._other_seconds()
        return _Timed(organ, self.running, seconds)

    def settled(self, settlements: Sequence[Settlement], accepted: Sequence[bool]) -> None:
        """See `Instrumentation.settled`."""
        for settlement, ours in zip(settlements, accepted, strict=True):
            self._count_delivery(settlement, ours=ours)
            if ours:
                for event in settlement.emitted:
                    self._emitted.labels(self._type_of(event)).inc()
                for retry in settlement.retries:
                    self._retries.labels(self._organ(retry.organ)).inc()
                for failure in settlement.dead:
                    self._dead.labels(self._organ(failure.organ), _reason(failure)).inc()

    def _count_delivery(self, settlement: Settlement, *, ours: bool) -> None:
        try:
            event_type = self._type_of(settlement.delivery.event)
        except EventError:  # it could not be read
            event_type = OTHER
        key = event_type, _outcome(settlement) if ours else "lost"
        if (counter := self._settled.get(key)) is None:
            counter = self._settled[key] = self._deliveries.labels(*key)
        counter.inc()

    def _type_of(self, event: Event) -> str:
        return event.event_type if event.event_type in self._event_types else OTHER

    def _organ(self, name: str | None) -> str:
        return "" if name is None else name if name in self._organs else OTHER


class _Timed(AbstractContextManager[None]):
    __slots__ = ("_began", "_organ", "_running", "_seconds")

    def __init__(self, organ: str, running: dict[str, int], seconds: Histogram) -> None:
        self._organ = organ
        self._running = running
        self._seconds = seconds

    def __enter__(self) -> None:
        self._running[self._organ] += 1
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds.observe(time.perf_counter() - self._began)
        self._running[self._organ] -= 1


def _outcome(settlement: Settlement) -> str:
    return "dead_lettered" if settlement.dead else "retried" if settlement.retries else "done"


def _reason(failure: Failure) -> str:
    return failure.reason if failure.reason in REASONS else GIVEN_UP


class BackendMetrics:
    """What a backend holds, as gauges. It is asked when somebody scrapes, and not oftener than every few seconds.

    Make it where the event loop runs. A scrape from another thread, such as that of
    `prometheus_client.start_http_server`, waits for the answer. One in the loop itself cannot: it gets the last
    answer, if that is not old, while the next one is asked for.
    """

    def __init__(
        self,
        backend: Backend,
        registry: CollectorRegistry | None = None,
        *,
        at_most_every: float = 5.0,
        timeout: float = 2.0,
    ) -> None:
        """Register the gauges.

        Args:
            backend: What is looked at.
            registry: Where they are registered; the library's own unless given.
            at_most_every: Seconds for which an answer is taken for good.
            timeout: Seconds that a backend gets to answer.

        Raises:
            ConfigurationError: No event loop runs here, or prometheus-client is not installed.
        """
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError as error:
            msg = "BackendMetrics asks its backend in the event loop that runs; make it inside a coroutine"
            raise ConfigurationError(msg) from error
        self._backend = backend
        self._at_most_every = at_most_every
        self._timeout = timeout
        self._stats: BackendStats | None = None
        self._asked_at = float("-inf")
        self._asking = threading.Lock()
        self._in_loop: asyncio.Task[None] | None = None
        (registry or prometheus().REGISTRY).register(self)

    def describe(self) -> Iterable[Metric]:
        """Name the gauges, for the registry."""
        return _gauges(None)

    def collect(self) -> Iterable[Metric]:
        """Say what the backend holds; only that it cannot be asked, when it cannot."""
        if _running_loop() is self._loop:
            self._ask_for_next_time()
        else:
            with self._asking:
                self._ask_and_wait()
        return _gauges(self._stats)

    @property
    def _age(self) -> float:
        return time.monotonic() - self._asked_at

    def _ask_for_next_time(self) -> None:
        if self._age >= 3 * self._at_most_every:
            self._stats = None  # too old to be told
        if self._age >= self._at_most_every and (self._in_loop is None or self._in_loop.done()):
            self._in_loop = self._loop.create_task(self._refresh())

    def _ask_and_wait(self) -> None:
        if self._age < self._at_most_every:
            return
        refreshing = self._refresh()
        try:
            answer = asyncio.run_coroutine_threadsafe(refreshing, self._loop)
        except RuntimeError:  # the loop is closed
            refreshing.close()
            self._stats = None
            return
        try:
            answer.result(self._timeout + 0.5)
        except TimeoutError:  # a handler holds the loop
            answer.cancel()
            self._keep(None)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                self._keep(await self._backend.admin.stats())
        except Exception:  # noqa: BLE001 -- whatever it is, `necrostack_backend_up` tells of it, and a run logs it
            self._keep(None)

    def _keep(self, stats: BackendStats | None) -> None:
        self._stats = stats
        self._asked_at = time.monotonic()


_GAUGES: Sequence[tuple[str, str, Callable[[BackendStats], float]]] = (
    ("queued", "Events that can be pulled now.", lambda stats: stats.queued),
    ("pending", "Deliveries pulled and not settled, by any worker of the group.", lambda stats: stats.pending),
    ("scheduled", "Events due later: retries and delayed ones.", lambda stats: stats.scheduled),
    ("dead_letters", "Dead letters that wait.", lambda stats: stats.dead),
    ("workers", "Workers that pull.", lambda stats: stats.consumers),
    ("history", "Events kept for replay.", lambda stats: stats.history),
    (
        "oldest_pending_seconds",
        "Seconds since the oldest pending delivery was pulled; 0 without one.",
        lambda stats: stats.oldest_pending or 0.0,
    ),
)


def _gauges(stats: BackendStats | None) -> Iterable[Metric]:
    """Write down what a backend holds; None when that cannot be had."""
    family = prometheus().metrics_core.GaugeMetricFamily
    yield family("necrostack_backend_up", "Whether the backend said in time what it holds.", int(stats is not None))
    for name, what, value in _GAUGES:
        yield family(f"necrostack_backend_{name}", what, None if stats is None else value(stats))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

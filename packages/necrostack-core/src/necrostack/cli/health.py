"""Whether a run lives and can work, and its metrics, as `run --health` says it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, Protocol

from necrostack.backend import Backend
from necrostack.cli.address import Address, listen
from necrostack.cli.answering import Answer, Answering
from necrostack.cli.exposing import Collector, Together, written
from necrostack.cli.printable import without_passwords
from necrostack.cli.pulse import Pulse
from necrostack.cli.terminal import Terminal
from necrostack.errors import ConfigurationError, NecroStackError, explain
from necrostack.instrumentation import Instrumentation, Several, together
from necrostack.metrics import BackendMetrics, Metrics, prometheus
from necrostack.spine import Spine

PROBE_TIMEOUT = 2.0
"""Seconds in which a backend must have kept what a probe writes."""

PROBE_LASTS = 1.0
"""Seconds for which the answer to a probe is taken for good, however many ask."""

FLAG = "--health"


class Patient(Protocol):
    """Whose health it is. All of this is asked from another thread."""

    def ailment(self) -> str | None:
        """Say why it does not live; None when it does."""

    async def hindrance(self) -> str | None:
        """Say why it can do no work now; None when it can."""

    def details(self) -> Mapping[str, object]:
        """Say more of it."""

    @property
    def collector(self) -> Collector | None:
        """What has its metrics; None without the library for them."""


@asynccontextmanager
async def served(patient: Patient, address: Address, terminal: Terminal) -> AsyncIterator[None]:
    """Answer how somebody is, for as long as this is entered.

    Raises:
        CommandError: The address cannot be listened on.
    """
    sockets = listen(address, FLAG)
    url = f"http://{Address(address.host, sockets[0].getsockname()[1])}"
    without = "" if patient.collector else "; /metrics needs prometheus-client: pip install 'necrostack-core[metrics]'"
    terminal.note(f"health is told at {url}/live, /ready and /metrics{without}")

    async def live(_: str) -> Answer:
        return _verdict("live", patient.ailment(), patient.details())

    async def ready(_: str) -> Answer:
        problem = patient.ailment() or await patient.hindrance()
        return _verdict("ready", problem, patient.details())

    async def metrics(accepts: str) -> Answer:
        if patient.collector is None:
            needed = b"metrics need prometheus-client: pip install 'necrostack-core[metrics]'\n"
            return Answer(status=HTTPStatus.NOT_IMPLEMENTED, body=needed)
        # It may wait for the backend, and run what the application registered.
        return await asyncio.to_thread(written, patient.collector, accepts)

    answering = Answering(sockets, {"/live": live, "/ready": ready, "/metrics": metrics})
    answering.begin()
    try:
        yield
    finally:
        await asyncio.to_thread(answering.end)


def _verdict(name: str, problem: str | None, details: Mapping[str, object]) -> Answer:
    if problem is None:
        return Answer.of({name: True, **details})
    return Answer.of({name: False, "reason": problem, **details}, HTTPStatus.SERVICE_UNAVAILABLE)


class Health:
    """How a run in this process is, but for its backend.

    Attributes:
        spine: What is to be run: it counts.
        metrics: What it counts; None without the library for it.
        pulse: Whether its event loop turns.
    """

    def __init__(self, spine: Spine, is_draining: Callable[[], bool], max_stall: float) -> None:
        """Watch the run of a Spine.

        Args:
            spine: It. One that counts already is left as it is.
            is_draining: Whether it was told to stop.
            max_stall: Seconds for which a handler may hold the event loop.
        """
        watching = spine.settings.instrumentation
        self.metrics = _metrics_in(watching)
        if self.metrics is None and (client := library()) is not None:
            self.metrics = Metrics(spine.topology, client.CollectorRegistry())
            spine = spine.with_settings(instrumentation=together(self.metrics, watching))
        self.spine = spine
        self.pulse = Pulse(max_stall)
        self._is_draining = is_draining
        self._has_begun = False

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Feel the pulse of the event loop that runs. A run must have been asked for."""
        self.pulse.begin()
        beginning = asyncio.create_task(self._note_beginning())
        try:
            yield
        finally:
            beginning.cancel()
            self.pulse.end()

    async def _note_beginning(self) -> None:
        await self.spine.started()
        self._has_begun = True

    def ailment(self) -> str | None:
        """See `Patient.ailment`."""
        return (
            f"the event loop has not turned for {self.pulse.pause:.0f} s{self._held()}"
            if self.pulse.is_missed
            else None
        )

    def _held(self) -> str:
        running = [] if self.metrics is None else [name for name, count in self.metrics.running.items() if count]
        return f"; what runs is {', '.join(sorted(running))}" if running else ""

    def standing(self) -> str | None:
        """Say why it does not pull; None when it does. This asks nobody."""
        outage = self.spine.backend.outage.error
        if self._is_draining():
            return "draining"
        if outage is not None:
            return told(outage)
        if not self.spine.is_running:
            return "the run is over" if self._has_begun else "starting"
        return None


class Alone:
    """A run in this process alone, and its backend. See `Patient`."""

    def __init__(self, health: Health) -> None:
        """Look at it from the event loop that runs."""
        self._health = health
        self._probe = Probe(health.spine.backend)
        self.collector: Collector | None = None
        if health.metrics is not None:
            client = prometheus()
            registry = client.CollectorRegistry()
            BackendMetrics(health.spine.backend, registry)
            self.collector = Together((registry, health.metrics.registry, client.REGISTRY))

    def ailment(self) -> str | None:
        """See `Patient.ailment`."""
        return self._health.ailment()

    async def hindrance(self) -> str | None:
        """See `Patient.hindrance`."""
        return self._health.standing() or await self._probe.problem() or self._health.standing()

    def details(self) -> Mapping[str, object]:
        """See `Patient.details`."""
        return {}


class Probe:
    """Tries whether the backend keeps anything, in the event loop of the run, asked from that of the health page."""

    def __init__(self, backend: Backend) -> None:
        """Probe in the event loop that runs now."""
        self._backend = backend
        self._loop = asyncio.get_running_loop()
        self._asking: asyncio.Task[str | None] | None = None
        self._answered_at = 0.0

    async def problem(self) -> str | None:
        """Say what is wrong with the backend; None when nothing is."""
        is_old = time.monotonic() - self._answered_at > PROBE_LASTS
        if self._asking is None or (self._asking.done() and is_old):
            self._asking = asyncio.create_task(self._ask())
        # Whoever asked first may have gone by now; the others wait on.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> str | None:
        probing = self._within_time()
        try:
            answer = asyncio.run_coroutine_threadsafe(probing, self._loop)
        except RuntimeError:
            probing.close()
            return "the run is over"
        try:
            async with asyncio.timeout(PROBE_TIMEOUT + 0.5):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            return "the event loop is held by a handler, so the backend could not be asked"
        finally:
            self._answered_at = time.monotonic()

    async def _within_time(self) -> str | None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await self._backend.probe()
        except TimeoutError:
            return f"the backend did not keep what was written to it within {PROBE_TIMEOUT:g} s"
        except Exception as error:  # noqa: BLE001 -- a backend may be anybody's
            return told(error)
        return None


def told(error: Exception) -> str:
    """Say what went wrong."""
    text = str(error) if isinstance(error, NecroStackError) else f"{type(error).__name__}: {explain(error)}"
    return without_passwords(text)


def library() -> Any:
    """Return the library for metrics; None where it is not installed."""
    try:
        return prometheus()
    except ConfigurationError:
        return None


def _metrics_in(watching: Instrumentation | None) -> Metrics | None:
    """Find the metrics that an application has already."""
    each = watching.inner if isinstance(watching, Several) else (watching,)
    return next((found for found in each if isinstance(found, Metrics)), None)

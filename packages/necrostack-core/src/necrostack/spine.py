"""The Spine: pulls events, runs the Organs that listen, and commits what they emitted."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self

from necrostack.announcing import Announcer
from necrostack.backend import Backend
from necrostack.errors import ConfigurationError, check_count, check_seconds
from necrostack.event import Event, caused_by
from necrostack.handling import now_handling
from necrostack.instrumentation import Instrumentation, emitting
from necrostack.lifespan import in_background
from necrostack.log import end_repeats, install_default_handler, logger
from necrostack.memory import InMemoryBackend
from necrostack.organ import Organ
from necrostack.report import RunReport
from necrostack.retry import RetryPolicy
from necrostack.routing import Routes, topology_of
from necrostack.run import Run, RunSettings
from necrostack.topology import Topology

_ONE_ATTEMPT = RetryPolicy(max_attempts=1)


class Spine:
    """Runs Organs on the events of a backend.

    >>> import asyncio
    >>> class Greeter(Organ):
    ...     listens_to = ["GREETED"]
    ...     def handle(self, event: Event) -> None:
    ...         print("hello", event.payload["name"])
    >>> spine = Spine(organs=[Greeter()])
    >>> report = asyncio.run(spine.run_until_idle(Event(event_type="GREETED", payload={"name": "Ada"})))
    hello Ada
    >>> report.handled
    1

    Attributes:
        backend: Where events are kept.
    """

    def __init__(
        self,
        organs: Iterable[Organ[Any]],
        backend: Backend | None = None,
        *,
        max_steps: int | None = None,
        max_hops: int | None = 1000,
        deduplicate: bool = False,
        retry: RetryPolicy = _ONE_ATTEMPT,
        concurrency: int = 1,
        unrouted: Literal["ack", "dead_letter"] = "ack",
        prefetch: int | None = None,
        drain_timeout: float = 20.0,
        max_outage: float | None = None,
        instrumentation: Instrumentation | None = None,
    ) -> None:
        """Inspect the Organs and make a Spine.

        Args:
            organs: The Organs, in the order in which those that listen to one event run.
            backend: Where events are kept; a new `InMemoryBackend` unless given.
            max_steps: How many deliveries a run may handle, retries included; None for no limit.
            max_hops: How far an event may be from its root before it is given up; None for no limit.
            deduplicate: Whether an event whose id this run has handled is acknowledged without running.
            retry: What happens to an Organ that fails, unless it has a policy of its own. One attempt by default.
            concurrency: How many deliveries are handled at once.
            unrouted: What becomes of an event that nobody listens to.
            prefetch: How many deliveries are pulled ahead at the most; None for what suits the backend.
            drain_timeout: Seconds that running handlers get to finish after `stop()`.
            max_outage: Seconds after which a backend out of reach ends the run; None for never.
            instrumentation: Who watches; None for nobody, which costs nothing.

        Raises:
            OrganError: An Organ is declared in a way that cannot work.
            ConfigurationError: A setting is out of its range.
        """
        check_count("max_steps", max_steps, least=0, or_none=True)
        check_count("max_hops", max_hops, least=0, or_none=True)
        check_count("concurrency", concurrency, least=1)
        check_count("prefetch", prefetch, least=1, or_none=True)
        check_seconds("drain_timeout", drain_timeout)
        if max_outage is not None:
            check_seconds("max_outage", max_outage)
        _check_kind("retry", retry, RetryPolicy)
        _check_kind("backend", backend, Backend | None)
        if unrouted not in ("ack", "dead_letter"):
            msg = f"unrouted={unrouted!r} must be 'ack' or 'dead_letter'"
            raise ConfigurationError(msg)
        if isinstance(organs, Organ):
            msg = f"organs={organs!r} is one Organ; write organs=[…]"
            raise ConfigurationError(msg)
        self._routes = Routes(organs)
        self.backend = InMemoryBackend() if backend is None else backend
        self._settings = RunSettings(
            max_steps=max_steps,
            max_hops=max_hops,
            deduplicate=deduplicate,
            retry=retry,
            concurrency=concurrency,
            unrouted=unrouted,
            prefetch=prefetch,
            drain_timeout=drain_timeout,
            max_outage=max_outage,
            instrumentation=instrumentation,
        )
        # The run that goes on; and the one that was asked for last and has not begun.
        self._run: Run | None = None
        self._prepared: Run | None = None

    # --- what it is --------------------------------------------------------------------------------------

    @property
    def organs(self) -> tuple[Organ[Any], ...]:
        """The Organs, in registration order."""
        return tuple(spec.organ for spec in self._routes.specs)

    @property
    def topology(self) -> Topology:
        """The graph of Organs and event types."""
        return topology_of(self._routes.specs)

    @property
    def settings(self) -> RunSettings:
        """How it runs."""
        return self._settings

    def with_backend(self, backend: Backend) -> Spine:
        """Return a Spine with the same Organs and settings on another backend."""
        return self._changed(backend=backend)

    def with_settings(self, **changes: Any) -> Spine:
        """Return a Spine with the same Organs and backend and some settings changed, such as `concurrency=10`."""
        return self._changed(settings=replace(self._settings, **changes))

    @contextmanager
    def running_as(self, other: Spine) -> Iterator[None]:
        """Be another Spine for as long as this is entered, such as one that `with_backend` made of this one.

        Whoever holds this one then holds that one: a handler that stops the Spine of its module stops what runs. This
        is how the command line runs an application on another backend.
        """
        mine, self.__dict__ = self.__dict__, other.__dict__
        try:
            yield
        finally:
            self.__dict__ = mine

    def _changed(self, *, backend: Backend | None = None, settings: RunSettings | None = None) -> Spine:
        chosen = settings or self._settings
        values = {name: getattr(chosen, name) for name in RunSettings.__slots__}
        return Spine(self.organs, backend or self.backend, **values)

    # --- what it does --------------------------------------------------------------------------------------

    async def emit(self, *events: Event) -> None:
        """State events, from outside or inside a handler; they are kept when this returns.

        Inside a handler they take the handled event's lineage. That is outside the atomic step: they stay, also when
        the handler fails afterwards, and come again when it runs again. What belongs to the step is returned.

        Raises:
            EventError: One of them is not what its event type says, or too large.
            BackendFull: There is no room for all of them; none was kept.
            BackendUnavailable: The backend is out of reach, and they may be kept or not. Nothing is waited out here:
                make the identical call again, with the same events, and they are kept once. On Redis that holds
                within `repeat_window`.
        """
        await self.backend.enqueue(*self._stated(events))

    def run(self, *events: Event) -> Coroutine[Any, Any, RunReport]:
        """Emit `events`, then handle what comes until `stop()`. To be awaited.

        Raises:
            MaxStepsExceeded: `max_steps` deliveries were handled and another one waited.
        """
        return self._execute(self._prepare(until_idle=False), events)

    def run_until_idle(self, *events: Event) -> Coroutine[Any, Any, RunReport]:
        """Emit `events`, then handle what comes until nothing is queued, pending or due for a retry. To be awaited.

        Raises:
            MaxStepsExceeded: `max_steps` deliveries were handled and another one waited.
        """
        return self._execute(self._prepare(until_idle=True), events)

    async def started(self) -> None:
        """Wait until the run that was asked for pulls: every Organ's `startup()` has returned.

        For whoever may only go on when the run is ready, such as a web application. A run that fails before never
        gets there, so wait for its task, too.

        Raises:
            ConfigurationError: No run was asked for.
        """
        run = self._prepared or self._run
        if run is None:
            msg = "no run was asked for; make a task of spine.run() first"
            raise ConfigurationError(msg)
        await run.begun.wait()

    def running(
        self, *, on_failure: Callable[[BaseException], object] | None = None
    ) -> AbstractAsyncContextManager[None]:
        """Run in the background of a block, such as the lifespan of a web application. For `async with`.

        The block begins when the run pulls: every Organ's `startup()` has returned, and what went wrong until then is
        raised. A backend out of reach does not keep it waiting, for that is waited out in the background: until it is
        there, `is_running` is False. When the block ends, the run drains. The backend stays open: see `aclose`.

        A run that fails in between is logged as `run_failed` at once, and its error is raised when the block ends.

        Args:
            on_failure: Called at once with that error, in the event loop; for whoever wants to end the program then.
        """
        return in_background(lambda: self._prepare(until_idle=False), self._execute, on_failure)

    @property
    def is_running(self) -> bool:
        """Whether a run goes on that pulls. It may be waiting out an outage."""
        return self._run is not None and self._run.goes_on

    def stop(self) -> None:
        """Drain: finish what is running, start nothing new, hand back the rest. Does nothing without a run.

        A run that was asked for and has not begun, such as that of a task made a line before, is stopped, too.
        """
        for run in (self._run, self._prepared):
            if run is not None:
                run.stop()

    def stop_when_idle(self) -> None:
        """Let the run end as `run_until_idle` does: when nothing is queued, pending or due. Does nothing without a run.

        For whoever feeds a running Spine and has no more to give.
        """
        if self._run is not None:
            self._run.stop_when_idle()

    async def aclose(self) -> None:
        """Close the backend. May be called again."""
        await self.backend.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- a run ---------------------------------------------------------------------------------------------

    def _stated(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Return events as they are to be kept: with their lineage, and seen by the instrumentation."""
        handled = now_handling.get()
        parent = None if handled is None else handled[0]
        if parent is not None:
            events = tuple(caused_by(event, parent) for event in events)
        if self._settings.instrumentation is not None:
            events = tuple(emitting(self._settings.instrumentation, event, parent) for event in events)
        return events

    def _prepare(self, *, until_idle: bool) -> Run:
        self._prepared = Run(self.backend, self._routes, self._settings, until_idle=until_idle)
        return self._prepared

    async def _execute(self, run: Run, events: tuple[Event, ...]) -> RunReport:
        if self._run is not None:
            self._prepared = None
            msg = "this Spine is running; make another one with spine.with_backend(…), or raise its concurrency"
            raise ConfigurationError(msg)
        install_default_handler()
        self._run, self._prepared = run, None
        run.tally.start()
        logger.info(
            "run_started",
            extra={"organs": list(self._routes.by_name), "backend": type(self.backend).__name__},
        )
        started: list[Organ[Any]] = []
        try:
            for organ in self.organs:
                started.append(organ)
                await organ.startup()
            has_joined = await self._join_group(run)
            try:
                async with self._announcer(run):
                    if events:
                        await run.keep(self._stated(events))
                    return await run.execute()
            finally:
                if has_joined:
                    await self.backend.leave(self.topology.fingerprint)
        finally:
            self._run = None
            try:
                await _shut_down(started)
            finally:
                numbers = run.tally.report().to_dict()
                del numbers["organs"]
                end_repeats()
                logger.info("run_stopped", extra=numbers)

    async def _join_group(self, run: Run) -> bool:
        others = await run.join(self.topology.fingerprint)
        if others:
            logger.warning(
                "topologies_differ",
                extra={
                    "ours": self.topology.fingerprint,
                    "others": sorted(others),
                    "organs": list(self._routes.by_name),
                },
            )
        return others is not None

    def _announcer(self, run: Run) -> Announcer:
        return Announcer(self.backend, run.tally, self.topology, self._settings.concurrency, run.in_work)


async def _shut_down(organs: list[Organ[Any]]) -> None:
    """Call every shutdown hook, last started first. The first error goes on when all were called."""
    first: Exception | None = None
    for organ in reversed(organs):
        try:
            await organ.shutdown()
        except Exception as error:  # noqa: BLE001 -- hooks are foreign code, and the others must run, too
            error.add_note(f"in {organ.name}.shutdown()")
            if first is None:
                first = error
            else:
                logger.error("shutdown_failed", extra={"organ": organ.name}, exc_info=error)
    if first is not None:
        raise first


def _check_kind(name: str, value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        msg = f"{name}={value!r} must be a {getattr(kind, '__name__', kind)}"
        raise ConfigurationError(msg)

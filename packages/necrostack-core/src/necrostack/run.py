"""One run of a Spine: deliveries are pulled, handled and settled until it stops."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from necrostack.backend import Backend
from necrostack.commit import Committer
from necrostack.delivery import Delivery, Failure
from necrostack.errors import MaxStepsExceeded
from necrostack.event import Event
from necrostack.inspection import OrganSpec
from necrostack.instrumentation import Instrumentation
from necrostack.log import logger
from necrostack.patience import Patience
from necrostack.report import RunReport
from necrostack.retry import RetryPolicy
from necrostack.routing import Routes
from necrostack.seen import SeenIds
from necrostack.step import RunEnded, Step, StepTaker
from necrostack.tally import Tally

PULL_TIMEOUT = 1.0
"""Seconds that one pull waits for events, and so how often an idle Spine looks whether it may end."""

CANCEL_GRACE = 5.0
"""Seconds that cancelled handlers get to clean up before they are left alone."""

_FAST, _SLOW = 0.01, 0.1
"""Seconds for a batch: faster, and the next one is larger; slower, and others may want a share of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How a Spine runs. See `Spine`."""

    max_steps: int | None = None
    max_hops: int | None = 1000
    deduplicate: bool = False
    retry: RetryPolicy = RetryPolicy(max_attempts=1)
    concurrency: int = 1
    unrouted: Literal["ack", "dead_letter"] = "ack"
    prefetch: int = 100
    drain_timeout: float = 20.0
    max_outage: float | None = None
    instrumentation: Instrumentation | None = None


class Run:
    """Workers that share a hand of pulled deliveries.

    Whoever finds the hand empty pulls for all. Each worker handles one delivery at a time, so `concurrency` workers
    make `concurrency` deliveries at once, started in the order in which they were pulled.
    """

    def __init__(self, backend: Backend, routes: Routes, settings: RunSettings, *, until_idle: bool) -> None:
        self._backend = backend
        self._routes = routes
        self._settings = settings
        self._until_idle = until_idle
        self.tally = Tally(routes.by_name, backend.clock)
        self._patience = Patience(settings.max_outage, backend.clock)
        self._taker = StepTaker(settings.retry, settings.instrumentation, self.tally)
        self._committer = Committer(
            backend, self._taker, routes.by_name, self._patience, self.tally, self, settings.instrumentation
        )
        self._seen = SeenIds() if settings.deduplicate else None
        # Pulled, not started; and what each worker has in work.
        self._hand: deque[Delivery] = deque()
        self._in_work: list[Delivery | None] = [None] * settings.concurrency
        self._busy = 0
        self._pulling = asyncio.Lock()
        self._limit = min(settings.concurrency, settings.prefetch)
        self._last_pull = 0.0
        # Set to interrupt a pull that waits.
        self._interrupt: asyncio.Future[None] | None = None
        self._stopped = asyncio.Event()
        self._is_stopping = False
        self._steps = 0
        self._types: Counter[str] = Counter()
        self._overrun: str | None = None
        self._error: BaseException | None = None
        self._warned_types: set[str] = set()

    def stop(self) -> None:
        """Start nothing new; what runs is finished."""
        self._is_stopping = True
        self._stopped.set()
        self._wake_puller()

    async def execute(self) -> RunReport:
        """Work until stopped, or idle.

        Raises:
            MaxStepsExceeded: `max_steps` deliveries were handled and another one waited.
            BackendError: The backend failed for good.
        """
        workers = [asyncio.create_task(self._work(number)) for number in range(self._settings.concurrency)]
        try:
            await self._stopped.wait()
            # What ends the run by force ends the other handlers, too.
            await asyncio.wait(workers, timeout=self._settings.drain_timeout if self._error is None else 0)
        finally:
            await self._wind_up(workers)
        if self._error is not None:
            raise self._error
        report = self.tally.report()
        if self._overrun is not None:
            raise MaxStepsExceeded(self._overrun, report)
        return report

    # --- the end -----------------------------------------------------------------------------------------

    async def _wind_up(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """End the workers, commit what is done, and hand back the rest, whatever it was that ended the run."""
        self._is_stopping = True
        running = [worker for worker in workers if not worker.done()]
        for worker in running:
            worker.cancel()
        if running:
            _, abandoned = await asyncio.wait(running, timeout=CANCEL_GRACE)
            if abandoned:
                logger.error("handlers_abandoned", extra={"handlers": len(abandoned)})
        unfinished = [delivery for delivery in self._in_work if delivery is not None]
        try:
            async with asyncio.timeout(max(self._settings.drain_timeout, 0.1)):
                await self._committer.commit()
                await self._patience.through(lambda: self._backend.release(*unfinished, *self._hand))
        except Exception as error:  # noqa: BLE001 -- raised by execute(), unless something else ended the run before
            self._error = self._error or error
        self._committer.close()

    def failed(self, error: BaseException) -> None:
        """End the run with an error. The first one counts."""
        self._error = self._error or error
        self.stop()

    # --- the work ----------------------------------------------------------------------------------------

    async def _work(self, number: int) -> None:
        try:
            while (delivery := await self._next()) is not None:
                self._in_work[number] = delivery
                step = await self._handle(delivery)
                if self._in_work[number] is not delivery:
                    return  # it was handed back while this handler would not be cancelled
                self._in_work[number] = None
                if step is not None:
                    self._committer.add(step)
                    if self._committer.is_due:
                        await self._committer.commit()
        except RunEnded as ended:
            self.failed(ended.error)
        except Exception as error:  # noqa: BLE001 -- a backend's, or a bug: raised by execute()
            self.failed(error)

    async def _next(self) -> Delivery | None:
        """Take the next delivery from the hand; None when the run is over."""
        while not self._is_stopping:
            if self._hand:
                return self._hand.popleft()
            async with self._pulling:
                if not self._hand and not self._is_stopping:
                    await self._pull()
        return None

    async def _handle(self, delivery: Delivery) -> Step | None:
        """Handle one delivery; None when it is not started after all."""
        event = delivery.event
        organs = self._routes.by_event_type.get(event.event_type, ())
        step = Step(delivery)
        if delivery.organs is not None:
            organs = self._targeted(step)
        elif not organs:
            self._unrouted(step)
        if not organs:
            return step
        if self._settings.max_hops is not None and event.hops > self._settings.max_hops:
            error = f"{event.hops} hops from its root, more than max_hops={self._settings.max_hops}; is there a loop?"
            self._give_up(step, Failure(reason="max_hops", error=error))
            return step
        if self._seen is not None and delivery.origin in ("live", "recovered"):
            if await self._is_duplicate(event.id, self._seen):
                self.tally.deduplicated += 1
                return step
        if self._settings.max_steps is not None and not self._may_step(delivery, self._settings.max_steps):
            return None
        self._busy += 1
        try:
            taken = await self._taker.take(delivery, organs)
        finally:
            self._busy -= 1
        taken.dead += step.dead
        self.tally.handled += 1
        return taken

    def _targeted(self, step: Step) -> tuple[OrganSpec, ...]:
        """The Organs that a delivery names; those that this Spine lacks leave dead letters."""
        event_type = step.delivery.event.event_type
        found = []
        for name in step.delivery.organs or ():
            spec = self._routes.by_name.get(name)
            if spec is not None and event_type in spec.event_types:
                found.append(spec)
            else:
                error = f"no Organ {name!r} of this Spine listens to {event_type!r}; all workers of a group run the same Organs"
                self._give_up(step, Failure(reason="unknown_organ", organ=name, error=error))
        return tuple(found)

    def _unrouted(self, step: Step) -> None:
        self.tally.unrouted += 1
        event_type = step.delivery.event.event_type
        if event_type not in self._warned_types:
            self._warned_types.add(event_type)
            logger.warning("unrouted", extra={"event_type": event_type, "outcome": self._settings.unrouted})
        if self._settings.unrouted == "dead_letter":
            self._give_up(step, Failure(reason="unrouted", error=f"nobody listens to {event_type!r}"))

    def _give_up(self, step: Step, failure: Failure) -> None:
        step.dead.append(failure)
        event = step.delivery.event
        logger.error(
            "dead_lettered",
            extra={
                "event_id": str(event.id),
                "event_type": event.event_type,
                "correlation_id": str(event.correlation_id),
                "organ": failure.organ,
                "reason": failure.reason,
                "error": failure.error,
            },
        )

    def _may_step(self, delivery: Delivery, max_steps: int) -> bool:
        """Count a step, or stop the run because this would be one too many."""
        if self._steps < max_steps:
            self._steps += 1
            self._types[delivery.event.event_type] += 1
            return True
        self._hand.appendleft(delivery)
        often = ", ".join(f"{name} ({count})" for name, count in self._types.most_common(5))
        self._overrun = (
            f"max_steps={max_steps} deliveries were handled and another one waits, a {delivery.event.event_type}; "
            f"handled most often: {often}. Look for a loop in spine.topology.cycles, or raise max_steps"
        )
        self.stop()
        return False

    # --- duplicates --------------------------------------------------------------------------------------

    async def _is_duplicate(self, event_id: UUID, seen: SeenIds) -> bool:
        while (open_step := seen.in_work(event_id)) is not None:
            # The first one is handled, or still at it; what becomes of this one hangs on how it is settled.
            await self._committer.commit()
            await open_step.wait()
        return not seen.begin(event_id)

    def settled(self, step: Step, *, accepted: bool) -> None:
        """See `CommitObserver.settled`."""
        if self._seen is not None:
            self._seen.end(step.delivery.event.id, accepted=accepted)
        if self._until_idle and self._busy == 0:
            self._wake_puller()

    # --- pulling -----------------------------------------------------------------------------------------

    async def _pull(self) -> None:
        """Fill the hand, or find out that nothing is left to do."""
        await self._committer.commit()
        self._adapt_limit()
        self._hand.extend(await self._patience.through(lambda: self._backend.pull(limit=self._limit, timeout=0)))
        # What was done meanwhile may have emitted something.
        if self._hand or await self._committer.commit():
            return
        if self._until_idle and (await self._patience.through(self._backend.admin.stats)).idle:
            self.stop()
        elif not self._is_stopping:
            await self._patience.through(self._pull_patiently)

    async def _pull_patiently(self) -> None:
        """Wait for deliveries, until interrupted."""
        interrupt = self._interrupt = asyncio.get_running_loop().create_future()
        pull = asyncio.create_task(self._pull_once())
        try:
            await asyncio.wait({pull, interrupt}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._interrupt = None
            # A cancelled pull loses nothing: either it took deliveries, and they are in the hand, or it took none.
            pull.cancel()
            await asyncio.wait({pull})
        if not pull.cancelled():
            pull.result()

    async def _pull_once(self) -> None:
        self._hand.extend(await self._backend.pull(limit=self._limit, timeout=PULL_TIMEOUT))

    def _wake_puller(self) -> None:
        if self._interrupt is not None and not self._interrupt.done():
            self._interrupt.set_result(None)

    def _adapt_limit(self) -> None:
        """Pull more at a time while that is handled in no time, and little where each event takes long."""
        now = time.monotonic()
        elapsed, self._last_pull = now - self._last_pull, now
        if elapsed < _FAST:
            self._limit = min(self._limit * 2, self._settings.prefetch)
        elif elapsed > _SLOW:
            self._limit = min(self._settings.concurrency, self._settings.prefetch)

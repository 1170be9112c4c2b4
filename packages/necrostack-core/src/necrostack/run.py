"""One run of a Spine: deliveries are pulled, handled and settled until it stops."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

from necrostack.backend import Backend, BackendStats
from necrostack.commit import Committer
from necrostack.deadline import Deadline
from necrostack.delivery import Delivery
from necrostack.errors import BackendUnavailable, MaxStepsExceeded
from necrostack.event import Event
from necrostack.gate import Gate, TooManySteps
from necrostack.instrumentation import Instrumentation
from necrostack.log import event_facts, logger
from necrostack.patience import TROUBLE, Patience
from necrostack.report import RunReport
from necrostack.retry import RetryPolicy
from necrostack.routing import Routes
from necrostack.step import RunEnded, Step, StepTaker
from necrostack.tally import Tally
from necrostack.value import Value

T = TypeVar("T")
D = TypeVar("D")

PULL_TIMEOUT = 1.0
"""Seconds that one pull waits for events where the run ends when nothing is left: so often it looks whether it may."""

_LONG_PULL_TIMEOUT = 10.0
"""The same where it goes on: whoever stops it interrupts the pull. And where it cannot end before something is due."""

_BRIEF_PULL_TIMEOUT = 0.1
"""The same in an outage, whose end is then known when it is over, and not when the wait for events is."""

CANCEL_GRACE = 5.0
"""Seconds that cancelled handlers get to clean up before they are left alone."""

_TURNS_TO_SEND = 3
"""Turns of the event loop after which a call that was begun is on its way, and handlers may block the loop."""

_FAST, _SLOW = 0.01, 0.1
"""Seconds for a batch: faster, and the next one is larger; slower, and others may want a share of it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RunSettings(Value):
    """How a Spine runs. See `Spine`."""

    max_steps: int | None = None
    max_hops: int | None = 1000
    deduplicate: bool = False
    retry: RetryPolicy = RetryPolicy(max_attempts=1)
    concurrency: int = 1
    unrouted: Literal["ack", "dead_letter"] = "ack"
    prefetch: int | None = None
    drain_timeout: float = 20.0
    max_outage: float | None = None
    instrumentation: Instrumentation | None = None


class Run:
    """Workers that share a hand of pulled deliveries.

    Whoever finds the hand empty pulls for all. Each worker handles one delivery at a time, so `concurrency` workers
    make `concurrency` deliveries at once, started in the order in which they were pulled.

    Attributes:
        tally: What is counted.
        begun: Set when it begins to pull.
    """

    def __init__(self, backend: Backend, routes: Routes, settings: RunSettings, *, until_idle: bool) -> None:
        self._backend = backend
        self._settings = settings
        self._until_idle = until_idle
        self.tally = Tally(routes, backend.clock)
        self._patience = Patience(backend.outage, settings.max_outage, backend.clock)
        self._gate = Gate(
            self.tally,
            max_hops=settings.max_hops,
            max_steps=settings.max_steps,
            deduplicate=settings.deduplicate,
            unrouted=settings.unrouted,
        )
        self._taker = StepTaker(settings.retry, settings.instrumentation, self.tally, backend.admit)
        self._committer = Committer(backend, self._taker, self._patience, self.tally, self, settings.instrumentation)
        # Pulled, not started; and what each worker has in work.
        self._hand: deque[Delivery] = deque()
        self._in_work: list[Step | None] = [None] * settings.concurrency
        self._pulling = asyncio.Lock()
        # A pull that was begun while the hand is handled.
        self._ahead: asyncio.Task[Sequence[Delivery]] | None = None
        self._limit = settings.concurrency
        self._prefetch = max(settings.concurrency, settings.prefetch or backend.batch_size)
        self._filled_at = 0.0
        # Whether the last pull waited in vain: then there is no need to look before waiting on.
        self._has_waited = False
        self._has_to_wait = False  # for what is due later
        # Set to interrupt a pull that waits.
        self._interrupt: asyncio.Future[None] | None = None
        self._logs_each = False
        # Nobody asks for the event of what is done, unless it failed. What is kept in this process is there anyway.
        self._seals = backend.is_remote and not self._gate.is_guarded and settings.instrumentation is None
        self._is_stopping = False
        self.begun = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopped_at = 0.0
        self._error: BaseException | None = None
        self._overrun: TooManySteps | None = None

    @property
    def goes_on(self) -> bool:
        """Whether it pulls, and is not to stop."""
        return self.begun.is_set() and not self._is_stopping

    @property
    def is_held_up(self) -> bool:
        """Whether it waits for a backend that is out of reach."""
        return self._backend.outage.error is not None

    def stop(self) -> None:
        """Start nothing new; what runs is finished."""
        if not self._stopped.is_set():
            self._stopped_at = time.monotonic()
        self._is_stopping = True
        self._stopped.set()
        self._interrupt_pull()

    def stop_when_idle(self) -> None:
        """Go on until nothing is left to do."""
        self._until_idle = True
        self._interrupt_pull()

    def in_work(self) -> int:
        """How many deliveries are being handled."""
        return sum(step is not None for step in self._in_work)

    async def join(self, topology: str) -> Collection[str] | None:
        """Tell the group what runs here; return what others run, or None if stopped meanwhile. See `Backend.join`."""
        return await self._unless_stopped(lambda: self._backend.join(topology), None)

    async def keep(self, events: Sequence[Event]) -> None:
        """Keep what the run begins with.

        Raises:
            BackendUnavailable: The run was stopped before they could be kept.
        """
        await self._patience.through(lambda: self._backend.enqueue(*events), self._stopped)

    async def execute(self) -> RunReport:
        """Work until stopped, or idle.

        Raises:
            MaxStepsExceeded: `max_steps` deliveries were handled and another one waited.
            BackendError: The backend failed for good.
        """
        self._logs_each = logger.isEnabledFor(logging.DEBUG)
        self.begun.set()
        workers = [asyncio.create_task(self._work(number)) for number in range(self._settings.concurrency)]
        try:
            await self._stopped.wait()
            # Others need not wait for what was not started until what runs has ended.
            workers.append(asyncio.create_task(self._hand_back_early()))
            # What ends the run by force ends the other handlers, too.
            await asyncio.wait(workers, timeout=self._settings.drain_timeout if self._error is None else 0)
        finally:
            await self._wind_up(workers)
        if self._error is not None:
            raise self._error
        report = self.tally.report()
        if self._overrun is not None:
            raise MaxStepsExceeded(str(self._overrun), report)
        return report

    # --- the work ----------------------------------------------------------------------------------------

    async def _work(self, number: int) -> None:
        hand, in_work, gate, committer = self._hand, self._in_work, self._gate, self._committer
        deadline = Deadline()
        try:
            while not self._is_stopping:
                if not hand:
                    await self._fill_hand()
                    continue
                if not self._backend.may_start(hand[0]):
                    await self._unless_stopped(self._hand_back, None)
                    continue
                step = in_work[number] = Step(hand.popleft())
                organs = gate.organs_for(step)
                if organs and (not gate.is_guarded or await gate.may_start(step, committer.commit)):
                    await self._taker.take(step, organs, deadline)
                    self.tally.handled += 1
                    if self._logs_each:
                        _log_handled(step)
                if self._seals:
                    step.delivery.seal()
                if in_work[number] is None:
                    return  # it was handed back, because its handler would not be cancelled
                in_work[number] = None
                if committer.add(step):
                    await committer.keep_up()
        except TooManySteps as error:
            self._overrun = error
            self.stop()
        except RunEnded as ended:
            self.failed(ended.error)
        except Exception as error:  # noqa: BLE001 -- a backend's, or a bug: raised by execute()
            self.failed(error)
        finally:
            deadline.close()

    def settled(self, steps: Sequence[Step], accepted: Sequence[bool]) -> None:
        """See `CommitObserver.settled`."""
        if self._gate.is_guarded:
            for step, ours in zip(steps, accepted, strict=True):
                self._gate.settled(step, accepted=ours)
        if self._until_idle and not any(self._in_work):
            self._interrupt_pull()  # this may have been the last one

    def failed(self, error: BaseException) -> None:
        """End the run with an error. The first one counts. See `CommitObserver.failed`."""
        self._error = self._error or error
        self.stop()

    # --- pulling -----------------------------------------------------------------------------------------

    async def _fill_hand(self) -> None:
        """Pull for all workers, or find out that nothing is left to do."""
        async with self._pulling:
            if self._hand or self._is_stopping:
                return
            self._adapt_limit()
            await self._pull()
            self._filled_at = time.monotonic()

    async def _pull(self) -> None:
        if self._ahead is not None:
            await self._take_ahead()
        if self._backend.is_remote and not self._until_idle:
            await self._pull_or_wait()
        else:
            await self._pull_or_end()

    async def _pull_or_wait(self) -> None:
        """Pull, and wait if need be. What is done is settled meanwhile."""
        if not self._hand and not self._is_stopping:
            self._committer.begin()
            await self._unless_stopped(self._pull_patiently, None)
        if len(self._hand) >= self._prefetch and not self._is_stopping:
            await self._pull_ahead()

    async def _pull_or_end(self) -> None:
        """Pull, or find out that nothing is left to do, or else wait."""
        if not self._hand and (await self._committer.commit() or not self._has_waited):
            self._hand.extend(await self._pull_now())
        if self._backend.is_remote and len(self._hand) >= self._prefetch:
            await self._pull_ahead()
        # What was done meanwhile may have emitted something.
        if self._hand or await self._committer.commit():
            return
        if self._until_idle and (await self._what_is_left()).idle:
            self.stop()
        elif not self._is_stopping:
            await self._unless_stopped(self._pull_patiently, None)
            self._has_waited = not self._hand

    async def _what_is_left(self) -> BackendStats:
        left = await self._unless_stopped(self._backend.admin.stats, BackendStats())
        # Elsewhere another process may take what is due, and this one would be late to see that nothing is left.
        self._has_to_wait = left.scheduled > 0 and not self._backend.is_shared
        return left

    async def _pull_now(self) -> Sequence[Delivery]:
        return await self._unless_stopped(lambda: self._backend.pull_sealed(limit=self._limit, timeout=0), ())

    async def _pull_ahead(self) -> None:
        """Begin to pull the next hand, and to settle the last one, while this one is handled."""
        self._committer.begin()
        self._ahead = asyncio.create_task(self._pull_now())
        for _ in range(_TURNS_TO_SEND):
            await asyncio.sleep(0)

    async def _take_ahead(self) -> None:
        """Take into the hand what was pulled ahead."""
        assert self._ahead is not None, "somebody pulled ahead"
        await asyncio.wait({self._ahead})  # not by itself: if this is cancelled, it goes on, and is taken in the end
        ahead, self._ahead = self._ahead, None
        self._hand.extend(ahead.result())

    async def _pull_patiently(self) -> None:
        """Wait for deliveries, until interrupted."""
        interrupt = self._interrupt = asyncio.get_running_loop().create_future()
        pull = asyncio.create_task(self._pull_once())
        try:
            await asyncio.wait({pull, interrupt}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._interrupt = None
            # A cancelled pull loses nothing: either it took deliveries, and they are in the hand, or it took none.
            if not pull.done():
                pull.cancel()
                await asyncio.wait({pull})
        if not pull.cancelled():
            pull.result()

    async def _pull_once(self) -> None:
        timeout = PULL_TIMEOUT if self._until_idle and not self._has_to_wait else _LONG_PULL_TIMEOUT
        if self._backend.outage.error is not None:
            timeout = _BRIEF_PULL_TIMEOUT
        self._hand.extend(await self._backend.pull_sealed(limit=self._limit, timeout=timeout))

    async def _unless_stopped(self, operation: Callable[[], Awaitable[T]], otherwise: D) -> T | D:
        """Ask the backend. An outage is waited out, unless the run is to stop in it."""
        try:
            return await self._patience.through(operation, self._stopped)
        except TROUBLE:
            if not self._is_stopping:
                raise
            return otherwise

    async def _hand_back(self) -> None:
        """Let others have what was not started, or not settled. It stays in the hand if that fails."""
        deliveries = [*self._hand]
        self._hand.clear()
        try:
            await self._backend.release(*deliveries)
        except BaseException:
            self._hand.extendleft(reversed(deliveries))
            raise

    def _interrupt_pull(self) -> None:
        if self._interrupt is not None and not self._interrupt.done():
            self._interrupt.set_result(None)

    def _adapt_limit(self) -> None:
        """Pull more at a time while that is handled in no time, and little where each event takes long."""
        elapsed = time.monotonic() - self._filled_at
        if elapsed < _FAST:
            self._limit = min(self._limit * 2, self._prefetch)
        elif elapsed > _SLOW:
            self._limit = max(int(self._limit * _SLOW / elapsed), self._settings.concurrency)

    # --- the end -----------------------------------------------------------------------------------------

    async def _hand_back_early(self) -> None:
        with suppress(Exception):  # it is tried again in the end, and that is heard of
            async with self._pulling:
                if self._ahead is not None:
                    await self._take_ahead()
            await self._hand_back()

    async def _wind_up(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """End the workers, commit what is done, and hand back the rest, whatever it was that ended the run."""
        self.stop()
        running = [worker for worker in workers if not worker.done()]
        for worker in running:
            worker.cancel()
        if running:
            _, abandoned = await asyncio.wait(running, timeout=CANCEL_GRACE)
            if abandoned:
                logger.error("handlers_abandoned", extra={"handlers": len(abandoned)})
        self._hand.extendleft(step.delivery for step in reversed(self._in_work) if step is not None)
        self._in_work[:] = [None] * len(self._in_work)
        left = self._stopped_at + self._settings.drain_timeout - time.monotonic()
        try:
            async with asyncio.timeout(max(left, CANCEL_GRACE)):
                await self._committer.commit()
                if self._ahead is not None:
                    await self._take_ahead()
                if self._hand:
                    await self._patience.through(self._hand_back)
        except Exception as error:  # noqa: BLE001 -- raised by execute(), unless something else ended the run before
            self._error = self._error or self._told(error)
            # A backend that cannot hand them back now may do so when it can, and a later run of this process needs it.
            self._hand.extendleft(self._committer.unsettled())
            if self._ahead is not None:
                self._ahead.cancel()
            with suppress(Exception):
                async with asyncio.timeout(CANCEL_GRACE):
                    await self._hand_back()
        self._committer.close()

    def _told(self, error: Exception) -> Exception:
        """Say what it was that took too long."""
        outage = self._backend.outage
        if not isinstance(error, TimeoutError) or outage.error is None:
            return error
        msg = (
            f"the backend was out of reach for {outage.length:.1f} s when the run ended: {outage.error};"
            f" what is not settled will be handled again"
        )
        told = BackendUnavailable(msg)
        told.__cause__ = outage.error
        return told


def _log_handled(step: Step) -> None:
    delivery = step.delivery
    facts = {"attempt": delivery.attempt, "origin": delivery.origin, "emitted": len(step.emitted)}
    logger.debug("delivery_handled", extra=event_facts(delivery.event) | facts)

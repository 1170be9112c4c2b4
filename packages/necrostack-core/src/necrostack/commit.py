"""Group commit: steps that are done are settled together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from necrostack.backend import Backend
from necrostack.delivery import Delivery
from necrostack.errors import EventError, HandlerResultError
from necrostack.instrumentation import Instrumentation, settled
from necrostack.log import event_facts, logger
from necrostack.patience import Patience
from necrostack.step import Step, StepTaker
from necrostack.tally import Tally

MAX_WAIT = 0.002
"""Seconds that a finished step waits for company."""

_MOST_BATCHES = 3
"""How many batches may wait, the one that is being settled included, before whoever adds to them waits, too."""


class CommitObserver(Protocol):
    """Whom a Committer tells."""

    def settled(self, steps: Sequence[Step], accepted: Sequence[bool]) -> None:
        """Steps were settled, or turned out not to be ours any more."""

    def failed(self, error: BaseException) -> None:
        """A commit in the background failed for good."""


class Committer:
    """Collects finished steps and settles them: when many wait, when one has waited long, and on request.

    A step stays here until its settlement was answered, so that a commit that was cut short is made again; a
    settlement that is made twice is accepted once.
    """

    def __init__(
        self,
        backend: Backend,
        taker: StepTaker,
        patience: Patience,
        tally: Tally,
        observer: CommitObserver,
        instrumentation: Instrumentation | None = None,
    ) -> None:
        self._backend = backend
        self._batch_size = backend.batch_size
        self._taker = taker
        self._patience = patience
        self._tally = tally
        self._observer = observer
        self._instrumentation = instrumentation
        self._waiting: list[Step] = []
        self._oldest = 0.0
        self._committing = asyncio.Lock()
        # One timer at a time looks after what waits while a handler is suspended.
        self._timer: asyncio.TimerHandle | None = None
        self._in_background: asyncio.Task[None] | None = None

    def add(self, step: Step) -> bool:
        """Take over a step that is done; return whether it is time to commit.

        It says so when enough wait, and when the oldest has waited long: no timer can fire while no handler suspends.
        """
        now = time.monotonic()
        if not self._waiting:
            self._oldest = now
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(MAX_WAIT, self._time_is_up)
        self._waiting.append(step)
        return len(self._waiting) >= self._batch_size or now - self._oldest >= MAX_WAIT

    async def commit(self) -> bool:
        """Settle all steps that wait, oldest first; return whether there were any."""
        if not self._waiting:
            return False
        async with self._committing:
            at_once = self._batch_size
            while self._waiting:
                steps = self._waiting[:at_once]
                try:
                    accepted = await self._patience.through(lambda: self._backend.settle(*steps))  # noqa: B023
                except EventError as error:
                    # Each event was admitted: one by one, the step comes up that leads to too much at once.
                    if at_once == 1:
                        self._without_emissions(steps[0], error)
                    at_once = 1
                    continue
                del self._waiting[: len(steps)]
                self._oldest = time.monotonic()
                self._count(steps, accepted)
        return True

    async def keep_up(self) -> None:
        """Settle what waits: in the background where that takes a while, unless too much waits for it."""
        if self._backend.is_remote and len(self._waiting) < _MOST_BATCHES * self._batch_size:
            self.begin()
        else:
            await self.commit()

    def begin(self) -> None:
        """Settle in the background what waits, unless that is being done."""
        is_busy = self._in_background is not None and not self._in_background.done()
        if self._waiting and not is_busy and not self._committing.locked():
            self._in_background = asyncio.create_task(self._commit_in_background())

    def unsettled(self) -> Sequence[Delivery]:
        """Take out, newest first, the deliveries of all steps that wait: they could not be settled."""
        deliveries = [step.delivery for step in reversed(self._waiting)]
        self._waiting.clear()
        return deliveries

    def close(self) -> None:
        """Start nothing more in the background."""
        if self._timer is not None:
            self._timer.cancel()

    def _time_is_up(self) -> None:
        self._timer = None
        self.begin()

    async def _commit_in_background(self) -> None:
        try:
            await self.commit()
        except Exception as error:  # noqa: BLE001 -- handed on to the run, which raises it
            self._observer.failed(error)

    def _without_emissions(self, step: Step, error: EventError) -> None:
        """Make it the failure of those who emitted that all they emitted together cannot be kept."""
        if not step.emitted:
            raise error
        organs = dict.fromkeys(step.emitters)
        step.set_emitted((), ())
        for organ in organs:
            self._taker.fail(step, self._tally.organs[organ], HandlerResultError(str(error)))

    def _count(self, steps: Sequence[Step], accepted: Sequence[bool]) -> None:
        for step, ours in zip(steps, accepted, strict=True):
            if not ours:
                self._tally.lost += 1
                logger.warning("settlement_lost", extra=_named(step.delivery))
            elif step.emitted or step.retries or step.dead:
                self._count_outcome(step)
        self._observer.settled(steps, accepted)
        if self._instrumentation is not None:
            settled(self._instrumentation, steps, accepted)

    def _count_outcome(self, step: Step) -> None:
        tally = self._tally
        tally.emitted += len(step.emitted)
        tally.retried += len(step.retries)
        tally.dead_lettered += len(step.dead)
        for name in step.emitters:
            tally.organs[name].emitted += 1
        for retry in step.retries:
            tally.organs[retry.organ].retried += 1
        for failure in step.dead:
            if failure.organ in tally.organs:
                tally.organs[failure.organ].dead_lettered += 1


def _named(delivery: Delivery) -> dict[str, object]:
    try:
        return event_facts(delivery.event)
    except EventError:  # it could not be read, and was to become a dead letter
        return {"receipt": str(delivery.receipt)}

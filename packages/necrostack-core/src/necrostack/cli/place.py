"""The place of one worker: whoever dies in it is replaced."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import IntEnum
from typing import Protocol

from necrostack.cli.child import Child, told
from necrostack.cli.failures import Exit
from necrostack.cli.messages import Order
from necrostack.log import logger
from necrostack.retry import RetryPolicy

RESTARTS = RetryPolicy(max_attempts=10, base_delay=0.1, max_delay=10.0, jitter=False)
"""How long after its death a worker is replaced, and how many may die in a row: half a minute in all."""

SETTLED_IN = 10.0
"""Seconds of life after which a worker's death begins a new row."""


class Phase(IntEnum):
    """What all workers are to do."""

    WORKING = 0
    FINISHING = 1  # end when nothing is left to do
    STOPPING = 2  # drain
    CANCELLED = 3  # end now


ORDERS = {Phase.FINISHING: Order.FINISH, Phase.STOPPING: Order.STOP, Phase.CANCELLED: Order.CANCEL}


class PlaceObserver(Protocol):
    """Whom a place tells what has happened."""

    phase: Phase
    stopping: asyncio.Event

    def changed(self) -> None:
        """Something changed that somebody may wait for."""

    def failed(self, code: int, reason: str) -> None:
        """A worker ended in a way that ends them all."""


class Place:
    """Keeps one worker running.

    Attributes:
        number: Which one, from 1 on.
        children: The workers that were in it, the present one last.
        was_ready: Whether one has ever pulled here.
        deaths: How many died before they could tell what they did.
    """

    def __init__(
        self, number: int, start: Callable[[int, Callable[[], object]], Awaitable[Child]], observer: PlaceObserver
    ) -> None:
        """Make an empty one.

        Args:
            number: Which one.
            start: Starts a worker of this number, to call back whenever it has told something.
            observer: Who says what is to be done, and is told what happened.
        """
        self.number = number
        self.children: list[Child] = []
        self.was_ready = False
        self.deaths = 0
        self._start = start
        self._observer = observer
        self._in_a_row = 0
        self._is_greeted = self._is_killed = False

    @property
    def child(self) -> Child | None:
        """The worker that is here, or was last."""
        return self.children[-1] if self.children else None

    def tell(self, phase: Phase) -> None:
        """Tell the worker, if it can hear that already."""
        if self.child is not None and (phase > Phase.FINISHING or self.child.is_ready):
            self.child.tell(ORDERS[phase])

    def kill(self) -> None:
        """Kill the worker, if it runs."""
        if self.child is not None and self.child.code is None:
            self._is_killed = True
            self.child.send_signal(signal.SIGKILL)

    async def keep(self) -> None:
        """Have a worker here until there is nothing left to do."""
        while not self._observer.stopping.is_set():
            try:
                child = await self._start(self.number, self._hear)
            except OSError as error:
                self._observer.failed(Exit.FAILED, f"worker {self.number} cannot be started: {error}")
                return
            self.children.append(child)
            self._is_greeted = self._is_killed = False
            logger.info("worker_started", extra={"worker": self.number, "pid": child.pid})
            if self._observer.phase >= Phase.STOPPING:
                self.tell(self._observer.phase)
            code = await child.ended()
            self._observer.changed()
            if not await self._goes_on(child, code):
                return

    def _hear(self) -> None:
        if self.child is not None and self.child.is_ready and not self._is_greeted:
            self._is_greeted = self.was_ready = True
            if self._observer.phase == Phase.FINISHING:
                self.tell(Phase.FINISHING)
        self._observer.changed()

    async def _goes_on(self, child: Child, code: int) -> bool:
        """Say what a worker's end means: whether another one takes its place."""
        phase = self._observer.phase
        is_orderly = child.is_orderly and code >= 0
        is_well = is_orderly and code in (Exit.OK, Exit.INTERRUPTED)
        if is_well or phase >= Phase.STOPPING:
            logger.info("worker_ended", extra=self._facts(child))
            if phase == Phase.STOPPING and not is_well:
                how = "did not end in time and was killed" if self._is_killed else told(code)
                self._observer.failed(code, f"worker {self.number} {how}")
            # Somebody may have stopped this one alone, or it was rolled.
            return phase == Phase.WORKING
        if is_orderly:
            # What ends a single run, such as a handler's SystemExit, ends this one.
            self._observer.failed(code, f"worker {self.number} {told(code)}; so the others are stopped")
            return False
        self.deaths += child.report is None
        if not self.was_ready and code > 0:
            self._observer.failed(code, f"worker {self.number} cannot start: it {told(code)}")
            return False
        return await self._recover(child, code)

    async def _recover(self, child: Child, code: int) -> bool:
        """Wait until a worker that died may be replaced; False when too many did."""
        lived = time.monotonic() - child.started_at
        self._in_a_row = 1 if lived > SETTLED_IN else self._in_a_row + 1
        delay = RESTARTS.delay_after(self._in_a_row)
        if delay is None:
            self._observer.failed(code, f"worker {self.number} died {self._in_a_row} times in a row; it {told(code)}")
            return False
        logger.warning("worker_died", extra=self._facts(child) | {"restart_in": delay})
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._observer.stopping.wait()
        return True

    def _facts(self, child: Child) -> dict[str, object]:
        return {"worker": self.number, "pid": child.pid, "exit_code": child.code}

"""The workers of a supervisor: kept running, rolled one after the other, and ended by one shared deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from necrostack.cli.child import Child
from necrostack.cli.exposing import Totals
from necrostack.cli.failures import Exit
from necrostack.cli.lifeline import GRACE, SUPERVISOR
from necrostack.cli.place import Phase, Place
from necrostack.cli.worker import NUMBER
from necrostack.log import logger
from necrostack.report import RunReport


class Crew:
    """Keeps as many workers running as it was told, until it finishes or stops.

    Attributes:
        places: Where they are.
        phase: What they are to do.
        totals: What all of them have counted, also those that are gone.
        stopping: Set when they are to stop.
        code: The exit code of what ended them before their time, or went wrong at their end; None without that.
    """

    def __init__(
        self,
        size: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        drain_timeout: float,
        tell_error: Callable[[str], object],
    ) -> None:
        """Gather nobody yet.

        Args:
            size: How many workers there are.
            command: What each of them runs.
            environment: What is added to its environment, beside its number.
            drain_timeout: Seconds that its handlers get to finish.
            tell_error: Called with what a person should read.
        """
        self.phase = Phase.WORKING
        self.stopping = asyncio.Event()
        self.code: int | None = None
        self.totals = Totals()
        self._command = command
        self._environment = environment
        self._drain_timeout = drain_timeout
        self._tell_error = tell_error
        self.places = [Place(number, self._start, self) for number in range(1, size + 1)]
        self._news = asyncio.Event()
        self._rolling: asyncio.Task[None] | None = None

    # --- what it is told ------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Start everybody, and return when all have ended."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for place in self.places:
                    tasks.create_task(place.keep())
        finally:
            self._kill()
            await asyncio.gather(*(child.ended() for child in self._children if child.code is None))
            if self._rolling is not None:
                self._rolling.cancel()

    def finish(self) -> None:
        """Let everybody end when nothing is left to do."""
        self._enter(Phase.FINISHING)

    def stop(self) -> None:
        """Let everybody drain; who is not done by the deadline is killed."""
        self._enter(Phase.STOPPING, self._drain_timeout + GRACE)

    def cancel(self) -> None:
        """End everybody now; when told again, by force."""
        if self.phase == Phase.CANCELLED:
            self._kill()
        self._enter(Phase.CANCELLED, GRACE)

    def roll(self) -> None:
        """Replace one worker after the other, each when the one before pulls. Not while that goes on already."""
        if self.phase == Phase.WORKING and (self._rolling is None or self._rolling.done()):
            self._rolling = asyncio.create_task(self._roll())

    # --- what can be asked -----------------------------------------------------------------------------------

    async def all_ready(self) -> None:
        """Wait until each place has had a worker that pulls."""
        await self._until(lambda: all(place.was_ready for place in self.places))

    @property
    def report(self) -> RunReport:
        """What those who have ended did."""
        return RunReport.summed(child.report for child in self._children if child.report is not None)

    @property
    def deaths(self) -> int:
        """How many died before they could tell what they did."""
        return sum(place.deaths for place in self.places)

    @property
    def progress(self) -> tuple[int, int]:
        """How many deliveries were settled, and how many dead letters came of them, as far as they have told."""
        told = [child.progress for child in self._children]
        return sum(progress.settled for progress in told), sum(progress.dead for progress in told)

    @property
    def _children(self) -> list[Child]:
        return [child for place in self.places for child in place.children]

    # --- what its places tell it: see `PlaceObserver` --------------------------------------------------------

    def changed(self) -> None:
        """See `PlaceObserver.changed`."""
        self._news.set()
        for place in self.places:
            if place.child is not None and place.child.vitals is not None:
                self.totals.told(str(place.number), place.child.vitals.metrics)
                if place.child.is_over:
                    self.totals.ended(str(place.number))
                    place.child.vitals = None

    def failed(self, code: int, reason: str) -> None:
        """See `PlaceObserver.failed`."""
        self.code = self.code or (code if code > 0 else Exit.FAILED)
        self._tell_error(reason)
        self.stop()

    # --- inside ----------------------------------------------------------------------------------------------

    async def _start(self, number: int, changed: Callable[[], object]) -> Child:
        return await Child.start(self._command, {**self._environment, NUMBER: str(number)}, SUPERVISOR, changed)

    def _enter(self, phase: Phase, deadline: float | None = None) -> None:
        """Go on to a phase, never back."""
        if phase <= self.phase:
            return
        self.phase = phase
        if phase >= Phase.STOPPING:
            self.stopping.set()
        for place in self.places:
            place.tell(phase)
        if deadline is not None:
            asyncio.get_running_loop().call_later(deadline, self._kill)

    def _kill(self) -> None:
        for place in self.places:
            place.kill()

    async def _roll(self) -> None:
        logger.info("workers_rolling", extra={"workers": len(self.places)})
        for place in self.places:
            if self.phase != Phase.WORKING:
                return
            if not await self._replace(place):
                # What is new cannot start. The others are left as they are: they work.
                logger.error("roll_stopped", extra={"worker": place.number})
                return

    async def _replace(self, place: Place) -> bool:
        """Let another worker take this place; return whether it pulls."""
        before = place.child
        place.tell(Phase.STOPPING)
        killing = asyncio.get_running_loop().call_later(self._drain_timeout + GRACE, place.kill)
        await self._until(lambda: place.child is not before)
        killing.cancel()
        after = place.children[-1]
        await self._until(lambda: after.is_ready or after.code is not None)
        return after.is_ready

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

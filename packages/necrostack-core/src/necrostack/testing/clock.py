"""A clock whose time passes only when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import math
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from unittest.mock import patch
from weakref import WeakSet

from necrostack.clock import sleep
from necrostack.errors import ConfigurationError

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
"""What a new VirtualClock shows."""

MAX_TURNS = 10_000
"""Turns of the event loop after which it counts as settled: what polls would otherwise stop time for ever."""


class VirtualClock:
    """A clock for tests: hours pass in no time, and nothing passes by itself.

    Give it to a backend, and drive what uses it with `run`, or step by step with `advance`:

    >>> async def main() -> float:
    ...     clock = VirtualClock()
    ...     await clock.run(clock.sleep(3600.0))
    ...     return clock.monotonic()
    >>> asyncio.run(main())
    3600.0

    Time stands still while anything on the event loop can run, and then jumps to the next timer, so that a
    test does the same in every run. What is real stays real: sockets, threads and `asyncio.sleep` take none
    of this clock's time. They are waited for whenever no timer of this clock is set; while one is set, time
    does not wait for them.
    """

    def __init__(self, start: datetime = START) -> None:
        """Make a clock that stands.

        Args:
            start: What it shows at first.
        """
        if start.tzinfo is None:
            msg = f"start={start!r} has no time zone; write datetime(…, tzinfo=UTC)"
            raise ConfigurationError(msg)
        self._start = start.astimezone(UTC)
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = itertools.count()
        # Set when a timer is added, for `run`, which has nothing to jump to until then.
        self._added = asyncio.Event()

    def now(self) -> datetime:
        """See `Clock.now`."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """See `Clock.monotonic`. 0 at the start."""
        return self._elapsed

    def call_later(self, delay: float, callback: Callable[[], object]) -> _Timer:
        """See `Clock.call_later`."""
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._elapsed + max(delay, 0.0), next(self._numbers), timer))
        self._added.set()
        return timer

    @property
    def timers(self) -> int:
        """How many calls are due later: for a test that nothing is left behind."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    async def sleep(self, seconds: float) -> None:
        """Wait some of this clock's time: for a handler that is to be slow."""
        await sleep(self, seconds)

    async def advance(self, seconds: float) -> None:
        """Let time pass: make the calls that fall due, each at its time, with all that follows from them.

        Args:
            seconds: How many; 0 only lets happen what can happen now.
        """
        if not 0 <= seconds < math.inf:
            msg = f"advance({seconds!r}): time passes forward; write a number of seconds, 0 or more"
            raise ConfigurationError(msg)
        with _driving(asyncio.get_running_loop()):
            target = self._elapsed + seconds
            await _settle()
            while (due := self._next_due()) is not None and due <= target:
                self._jump(due)
                await _settle()
            self._elapsed = target

    async def run(self, awaitable: Awaitable[T]) -> T:
        """Await something while time jumps from timer to timer, and return its result.

        Cancellation is handed on to it, and its cleaning up gets time as well.
        """
        task = asyncio.ensure_future(awaitable)
        try:
            with _driving(asyncio.get_running_loop()):
                try:
                    await self._drive(task)
                except asyncio.CancelledError:
                    task.cancel()
                    await self._drive(task)
                    raise
            return task.result()
        finally:
            task.cancel()

    async def _drive(self, task: asyncio.Future[Any]) -> None:
        while not task.done():
            await _settle()
            if task.done():
                return
            due = self._next_due()
            if due is None:
                await self._wait_for_real(task)
            else:
                self._jump(due)

    async def _wait_for_real(self, task: asyncio.Future[Any]) -> None:
        """Wait until the task is done or a timer is set: something real is going on."""
        self._added.clear()
        added = asyncio.ensure_future(self._added.wait())
        try:
            await asyncio.wait({task, added}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            added.cancel()

    def _next_due(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _jump(self, due: float) -> None:
        """Go to a time and make the calls that are due."""
        self._elapsed = max(self._elapsed, due)
        while self._timers and self._timers[0][0] <= self._elapsed:
            heapq.heappop(self._timers)[2].fire()


class _Timer:
    """One call that is due later."""

    __slots__ = ("_context", "callback")

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback
        self._context = contextvars.copy_context()

    def cancel(self) -> None:
        self.callback = None

    def fire(self) -> None:
        # By way of the loop, as a real timer: an error then goes to the loop's exception handler.
        if self.callback is not None:
            asyncio.get_running_loop().call_soon(self.callback, context=self._context)
        self.callback = None


_driven: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


@contextlib.contextmanager
def _driving(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Hold the right to make time pass: two that drive would keep each other from ever settling."""
    if loop in _driven:
        msg = "this event loop's VirtualClock is driven already; inside, write `await clock.sleep(seconds)`"
        raise RuntimeError(msg)
    _driven.add(loop)
    try:
        yield
    finally:
        _driven.discard(loop)


async def _settle() -> None:
    """Give the loop its turns until nothing more can run without time or the outside world."""
    # Whatever becomes ready passes through call_soon, so a turn in which only this task did is one in which
    # nothing else could run. A fixed number of turns would be a guess.
    loop = asyncio.get_running_loop()
    schedule = loop.call_soon
    scheduled = 0

    def counting(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal scheduled
        scheduled += 1
        return schedule(*args, **kwargs)

    with patch.object(loop, "call_soon", counting):
        for _ in range(MAX_TURNS):
            scheduled = 0
            await asyncio.sleep(0)
            if scheduled <= 1:
                return

"""A time limit for what a task does over and over."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Deadline:
    """What `asyncio.timeout` does, for the task that makes it, without a timer for each use.

    A timer made and cancelled for every use is most of what a time limit costs. Here one timer stays: when it fires,
    it looks whether the limit of that moment is over, and goes on to it where that lies ahead.

    >>> async def main() -> bool:
    ...     deadline = Deadline()
    ...     try:
    ...         with deadline.within(0.01):
    ...             await asyncio.sleep(60)
    ...     except TimeoutError:
    ...         return deadline.expired
    ...     return False
    >>> asyncio.run(main())
    True

    Attributes:
        expired: Whether the last limit was exceeded.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a deadline is for the task that makes it"
        self.expired = False
        self._task = task
        self._loop = asyncio.get_running_loop()
        # When the time is up, by the loop's clock; None while nothing is limited.
        self._due: float | None = None
        self._cancelling = 0
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> Self:
        """Limit what comes in the `with` block. One at a time."""
        self.expired = False
        self._cancelling = self._task.cancelling()
        self._due = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._due:
            self.close()
            self._timer = self._loop.call_at(self._due, self._look)
        return self

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        """Nothing more to do: `within` began."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._due = None
        # Somebody else may have cancelled the task at the same time: then it is no timeout.
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _look(self) -> None:
        assert self._timer is not None, "it has just fired"
        fired, self._timer = self._timer, None
        if self._due is None:
            return
        if self._due > fired.when():
            self._timer = self._loop.call_at(self._due, self._look)
        else:
            self.expired = True
            self._task.cancel()

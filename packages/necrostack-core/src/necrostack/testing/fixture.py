"""A Spine for tests: on memory, in virtual time, and recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from necrostack.delivery import DeadLetter
from necrostack.event import Event
from necrostack.memory import InMemoryBackend
from necrostack.organ import Organ
from necrostack.report import RunReport
from necrostack.spine import Spine
from necrostack.testing.clock import VirtualClock
from necrostack.testing.recorder import Recorder

HISTORY = 10_000
"""How many events the backend keeps for replay."""


class SpineFixture(Recorder):
    """A Spine on memory and virtual time, and the Recorder of what it does: an hour passes in no time.

    >>> import asyncio
    >>> from necrostack import RetryPolicy
    >>> class Flaky(Organ):
    ...     listens_to = ["PING"]
    ...     calls = 0
    ...     def handle(self, event: Event) -> Event:
    ...         self.calls += 1
    ...         if self.calls < 3:
    ...             raise TimeoutError("no answer")
    ...         return Event(event_type="PONG")
    >>> async def test_a_ping_is_answered_in_the_end() -> None:
    ...     async with SpineFixture([Flaky()], retry=RetryPolicy(base_delay=3600.0)) as fixture:
    ...         report = await fixture.run(Event(event_type="PING"))
    ...         assert report.retried == 2
    ...         fixture.assert_emitted("PONG", times=1)
    >>> asyncio.run(test_a_ping_is_answered_in_the_end())

    Attributes:
        spine: The Spine.
        backend: Its backend.
        clock: The time of both.
        dead_letters: The dead letters that waited at the end of the last run, oldest first.
    """

    def __init__(
        self,
        organs: Iterable[Organ[Any]],
        *,
        clock: VirtualClock | None = None,
        max_size: int | None = None,
        **settings: Any,
    ) -> None:
        """Make a Spine and what it needs.

        Args:
            organs: The Organs. See `Spine`.
            clock: A clock to share; a new one unless given.
            max_size: See `InMemoryBackend`.
            **settings: Everything else that `Spine` takes, but for `backend` and `instrumentation`.
        """
        super().__init__()
        self.clock = clock or VirtualClock()
        self.backend = InMemoryBackend(max_size=max_size, history=HISTORY, clock=self.clock)
        self.spine = Spine(organs, self.backend, instrumentation=self, **settings)
        self.dead_letters: Sequence[DeadLetter] = ()

    async def run(self, *events: Event) -> RunReport:
        """Emit events and handle what comes until nothing is left to do. See `Spine.run_until_idle`."""
        try:
            return await self.clock.run(self.spine.run_until_idle(*events))
        finally:
            self.dead_letters = [letter async for letter in self.backend.admin.dead_letters()]

    async def aclose(self) -> None:
        """Close the backend. May be called again."""
        await self.spine.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

"""The Organs of the contract suite."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from necrostack.backend import Backend
from necrostack.event import Event
from necrostack.organ import Organ
from necrostack.retry import RetryPolicy
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import (
    CHILD,
    NUMBERED,
    several,
)


class Doubler(Organ):
    """Emits two children for each event."""

    listens_to = [NUMBERED]

    async def handle(self, event: Event) -> Sequence[Event]:
        await asyncio.sleep(0)
        return several(2, CHILD)


class Keeper(Organ):
    """Keeps what it handled."""

    listens_to = [CHILD, NUMBERED]

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.events: list[Event] = []

    async def handle(self, event: Event) -> None:
        self.events.append(event)
        await asyncio.sleep(0)


class Failing(Organ):
    """Fails the first times that it gets an event; keeps when it was called."""

    listens_to = [NUMBERED]

    def __init__(self, backend: Backend, *, failures: int, error: Exception | None = None) -> None:
        super().__init__()
        self.calls: Counter[int] = Counter()
        self.times: list[float] = []
        self._backend = backend
        self._failures = failures
        self._error = error or LookupError("no such customer")

    async def handle(self, event: Event) -> None:
        self.times.append(self._backend.clock.monotonic())
        number = event.payload["number"]
        self.calls[number] += 1
        await asyncio.sleep(0)
        if self.calls[number] <= self._failures:
            raise self._error


def retry_policy(factory: BackendFactory, max_attempts: int, delay: float = 0.0, **more: Any) -> RetryPolicy:
    """Make a policy without jitter, its first delay in the factory's units of time."""
    return RetryPolicy(max_attempts=max_attempts, base_delay=delay * factory.unit, jitter=False, **more)

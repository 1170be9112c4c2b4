"""What the contract suite needs to know about a backend: how to make one, and how its time passes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from types import TracebackType
from typing import Literal, Self, TypeVar

from necrostack.backend import Backend
from necrostack.event import MAX_EVENT_SIZE
from necrostack.memory import InMemoryBackend
from necrostack.testing.clock import VirtualClock

T = TypeVar("T")

Feature = Literal["announces", "bounded", "durable", "groups", "restores"]
"""What not every backend has.

`Backend.announce`; `max_size`; events that outlive their worker; several groups; `Admin.restore`.
"""


class BackendFactory(ABC):
    """Makes backends for the contract suite and lets their time pass: subclass it for one of your own.

    Attributes:
        features: What the backend has that not every one has. Checks that need more do not apply to it.
        unit: The seconds in which checks count: much longer than a call takes, and otherwise short.
        recovery: Seconds within which a durable backend hands over what a dead worker held.
        limit: Seconds that one check may take.
    """

    features: frozenset[Feature] = frozenset()
    unit: float = 0.2
    recovery: float = 5.0
    limit: float = 60.0

    def __init__(self) -> None:
        self._open: list[Backend] = []

    @abstractmethod
    async def create(self, *, max_size: int | None, max_event_size: int) -> Backend:
        """Make a backend with nothing in it that keeps history.

        Args:
            max_size: How many events may wait; None for no bound. Given only to a `bounded` backend.
            max_event_size: How many bytes of JSON a payload may have.
        """

    async def connect(self, backend: Backend, *, group: str | None) -> Backend:
        """Make another worker on what a backend keeps, also when that one is closed. For `durable` backends.

        Args:
            backend: One that `create` or this made.
            group: Another group for it, which starts with everything that is kept; None for the same.
        """
        msg = f"{type(self).__name__} says that its backends are durable or have groups; write its connect()"
        raise NotImplementedError(msg)

    async def freeze(self, backend: Backend) -> None:
        """Let a worker look dead to the others, though it can still be used. For `durable` backends."""
        msg = f"{type(self).__name__} says that its backends are durable; write its freeze()"
        raise NotImplementedError(msg)

    async def wait(self, seconds: float) -> None:
        """Let time pass by the backend's clock."""
        await asyncio.sleep(seconds)

    async def run(self, awaitable: Awaitable[T]) -> T:
        """Await a check, and drive whatever its time depends on."""
        return await awaitable

    # --- what checks use ---------------------------------------------------------------------------------

    async def make(self, *, max_size: int | None = None, max_event_size: int = MAX_EVENT_SIZE) -> Backend:
        """Make a backend that is closed when the check is over. See `create`."""
        self._open.append(backend := await self.create(max_size=max_size, max_event_size=max_event_size))
        return backend

    async def attach(self, backend: Backend, *, group: str | None = None) -> Backend:
        """Make another worker that is closed when the check is over. See `connect`."""
        self._open.append(another := await self.connect(backend, group=group))
        return another

    async def aclose(self) -> None:
        """Close every backend that was made."""
        while self._open:
            await self._open.pop().aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class InMemoryFactory(BackendFactory):
    """Makes in-memory backends on virtual time.

    Attributes:
        clock: Their time.
    """

    features = frozenset({"announces", "bounded", "restores"})
    unit = 1.0
    limit = 1_000.0
    history = 100_000

    def __init__(self, backend_class: type[InMemoryBackend] = InMemoryBackend) -> None:
        """Make a factory.

        Args:
            backend_class: What it makes.
        """
        super().__init__()
        self.clock = VirtualClock()
        self._backend_class = backend_class

    async def create(self, *, max_size: int | None, max_event_size: int) -> Backend:
        """See `BackendFactory.create`."""
        return self._backend_class(
            max_size=max_size, history=self.history, max_event_size=max_event_size, clock=self.clock
        )

    async def wait(self, seconds: float) -> None:
        """See `BackendFactory.wait`."""
        await self.clock.sleep(seconds)

    async def run(self, awaitable: Awaitable[T]) -> T:
        """See `BackendFactory.run`."""
        return await self.clock.run(awaitable)

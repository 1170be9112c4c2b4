"""The Organ: a handler class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeAlias

from typing_extensions import TypeVar

from necrostack.event import Event
from necrostack.retry import RetryPolicy

EventT = TypeVar("EventT", bound=Event, default=Event, contravariant=True)
_Item_co = TypeVar("_Item_co", covariant=True)


class _ListNotString(Protocol[_Item_co]):
    """A list, tuple or set of items. A bare string is none: its `__contains__` takes strings only."""

    def __contains__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[_Item_co]: ...
    def __len__(self) -> int: ...


HandlerResult: TypeAlias = Event | Sequence[Event] | None
"""What a handler may return: nothing, an event, or several."""


class Organ(ABC, Generic[EventT]):
    """Listens to events, and handles them one at a time.

    Subclass it, say what it listens to, and write `handle`:

    >>> class Audit(Organ):
    ...     listens_to = ["ORDER_PLACED"]
    ...     async def handle(self, event: Event) -> None:
    ...         print("placed", event.payload["order_id"])
    >>> Audit().name
    'Audit'

    `Organ[OrderPlaced]` tells a type checker, and the Spine, which events `handle` takes. Everything is
    checked when the Spine is made.

    Attributes:
        listens_to: Event types, or declared event classes.
        retry: How often to run it again after a failure; None for the Spine's policy.
        timeout: Seconds after which a call of an async `handle` is cancelled and counts as failed; None for
            no limit.
    """

    listens_to: ClassVar[_ListNotString[str | type[Event]]] = ()
    retry: RetryPolicy | None = None
    timeout: float | None = None

    def __init__(self, *, name: str | None = None) -> None:
        """Make an Organ.

        Args:
            name: What it is called in logs, reports and dead letters; the class name unless given.
        """
        self._name = name

    @property
    def name(self) -> str:
        """What it is called in logs, reports and dead letters. Unique within a Spine."""
        # A subclass may have an __init__ of its own that does not call this one's.
        given: str | None = getattr(self, "_name", None)
        return type(self).__name__ if given is None else given

    if TYPE_CHECKING:
        # Abstract for type checkers only: at run time a missing `handle` is told when the Spine is made.
        @abstractmethod
        def handle(self, event: EventT, /) -> HandlerResult | Awaitable[HandlerResult]:
            """Handle one event; return what it led to."""

    async def startup(self) -> None:
        """Called before the first delivery of every run."""

    async def shutdown(self) -> None:
        """Called after the last delivery of every run, also when it failed."""

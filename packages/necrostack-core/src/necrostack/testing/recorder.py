"""A recorder of what a Spine did, for tests to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from necrostack.delivery import Delivery, Failure, Retry, Settlement
from necrostack.errors import EventError, explain
from necrostack.event import Event, as_declared
from necrostack.instrumentation import Instrumentation

EventT = TypeVar("EventT", bound=Event)

_in_handler: ContextVar[bool] = ContextVar("necrostack_recorder_in_handler", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerCall:
    """One call of one Organ's handler.

    Attributes:
        organ: The Organ's name.
        delivery: What it was called for.
        error: What it raised; None when it returned.
    """

    organ: str
    delivery: Delivery
    error: BaseException | None = None


class Recorder(Instrumentation):
    """Records what a Spine emitted, handled, retried and gave up.

    >>> import asyncio
    >>> from necrostack import Spine
    >>> recorder = Recorder()
    >>> spine = Spine([], instrumentation=recorder)
    >>> report = asyncio.run(spine.run_until_idle(Event(event_type="PING")))
    >>> [event.event_type for event in recorder.events]
    ['PING']

    Attributes:
        events: Every event that was emitted, in order, as the class that is declared for it: by a program as
            soon as it calls `emit`, by a handler's result when that is committed.
        calls: Every handler call that ended, in order.
        settlements: Every settlement that was accepted, in order.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.calls: list[HandlerCall] = []
        self.settlements: list[Settlement] = []

    # --- what a Spine tells it ---------------------------------------------------------------------------

    def emitting(self, event: Event, parent: Event | None) -> Event:
        """See `Instrumentation.emitting`."""
        # What a handler returned comes without one running, and counts when it is committed.
        if parent is None or _in_handler.get():
            self.events.append(_raised(event))
        return event

    def handling(self, organ: str, delivery: Delivery) -> AbstractContextManager[object]:
        """See `Instrumentation.handling`."""
        return self._handling(organ, delivery)

    @contextmanager
    def _handling(self, organ: str, delivery: Delivery) -> Iterator[None]:
        error: BaseException | None = None
        token = _in_handler.set(True)
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            _in_handler.reset(token)
            self.calls.append(HandlerCall(organ=organ, delivery=delivery, error=error))

    def settled(self, settlements: Sequence[Settlement], accepted: Sequence[bool]) -> None:
        """See `Instrumentation.settled`."""
        for settlement, ours in zip(settlements, accepted, strict=True):
            if ours:
                self.settlements.append(settlement)
                self.events += [_raised(event) for event in settlement.emitted]

    # --- what a test asks --------------------------------------------------------------------------------

    @overload
    def emitted(self, kind: type[EventT]) -> list[EventT]: ...
    @overload
    def emitted(self, kind: str) -> list[Event]: ...
    def emitted(self, kind: type[Event] | str) -> Sequence[Event]:
        """Return the events of a class, or of an event type, that were emitted, in order."""
        return [event for event in self.events if _is_a(event, kind)]

    def handled(self, organ: str) -> list[Event]:
        """Return the events that an Organ was called for, in order; one that was retried comes again."""
        return [call.delivery.event for call in self.calls if call.organ == organ]

    def retried(self, organ: str) -> list[Retry]:
        """Return the retries that were scheduled for an Organ, in order."""
        return [retry for ended in self.settlements for retry in ended.retries if retry.organ == organ]

    def dead_lettered(self, organ: str | None = None) -> list[Failure]:
        """Return what was given up, in order.

        Args:
            organ: Only by this Organ; None for all.
        """
        failures = (failure for ended in self.settlements for failure in ended.dead)
        return [failure for failure in failures if organ in (None, failure.organ)]

    @overload
    def assert_emitted(
        self, kind: type[EventT], *, times: int | None = None, where: Callable[[EventT], bool] | None = None
    ) -> list[EventT]: ...
    @overload
    def assert_emitted(
        self, kind: str, *, times: int | None = None, where: Callable[[Event], bool] | None = None
    ) -> list[Event]: ...
    def assert_emitted(
        self, kind: type[Event] | str, *, times: int | None = None, where: Callable[[Any], bool] | None = None
    ) -> Sequence[Event]:
        """Fail, showing what caused what, unless a kind of event was emitted.

        Args:
            kind: An event class, or an event type.
            times: How often exactly; None for once or more.
            where: Counts only the events for which this is true.

        Returns:
            The events that count, in order.
        """
        found = [event for event in self.emitted(kind) if where is None or where(event)]
        if len(found) != times if times is not None else not found:
            name = kind if isinstance(kind, str) else kind.__qualname__
            wanted = "at least once" if times is None else f"{times} times"
            what = name if where is None else f"{name}, as asked for,"
            msg = f"{what} was emitted {len(found)} times, not {wanted}; what happened:\n{self.tree()}"
            raise AssertionError(msg)
        return found

    def tree(self) -> str:
        """Draw each event under the one that caused it, with the Organs that handled it, and how."""
        known = {event.id for event in self.events}
        roots = [event for event in self.events if event.causation_id not in known]
        lines = [line for root in roots for line in self._branch(root, "  ")]
        return "\n".join(lines or ["  nothing was emitted"])

    def _branch(self, event: Event, indent: str) -> Iterator[str]:
        yield f"{indent}{event.event_type} {str(event.id)[:8]}{self._fate(event)}"
        for child in self.events:
            if child.causation_id == event.id:
                yield from self._branch(child, indent + "  ")

    def _fate(self, event: Event) -> str:
        calls = [_told(call) for call in self.calls if call.delivery.event.id == event.id]
        dead = [
            f"dead letter: {failure.reason}"
            for ended in self.settlements
            if ended.delivery.event.id == event.id
            for failure in ended.dead
        ]
        return "".join(f"; {fact}" for fact in [*calls, *dead])


def _told(call: HandlerCall) -> str:
    if call.error is None:
        return f"{call.organ} handled it"
    return f"{call.organ} failed with {type(call.error).__name__}: {explain(call.error)}"


def _raised(event: Event) -> Event:
    """Return the event as it will arrive. What cannot be raised is refused by the backend, which says why."""
    try:
        return as_declared(event)
    except EventError:
        return event


def _is_a(event: Event, kind: type[Event] | str) -> bool:
    return event.event_type == kind if isinstance(kind, str) else isinstance(event, kind)

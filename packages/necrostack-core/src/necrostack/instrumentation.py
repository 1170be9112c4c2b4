"""The one hook that tracing, metrics, progress bars and a studio use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import MappingProxyType, TracebackType

from necrostack.delivery import Delivery, Settlement
from necrostack.event import Event
from necrostack.log import event_facts, logger


class Instrumentation:
    """What a Spine tells whoever watches it. Override what you need; every method here does nothing.

    A Spine without instrumentation does not call anything. What a hook raises is logged, and the run goes on.
    """

    def emitting(self, event: Event, parent: Event | None) -> Event:
        """Called for each event before it is kept, with its lineage set.

        Args:
            event: The event.
            parent: The event whose handling emitted it; None from outside a handler.

        Returns:
            The event, or a copy with other headers: this is where trace context goes in.
        """
        return event

    def handling(self, organ: str, delivery: Delivery) -> AbstractContextManager[object]:
        """Called for each handler call; what it returns is entered before and left after, also with the error."""
        return nullcontext()

    def settled(self, settlements: Sequence[Settlement], accepted: Sequence[bool]) -> None:
        """Called after settlements were committed; `accepted` says which of them were ours to settle.

        Of a delivery whose event could not be read `event` raises `EventError`; its dead letter says `undecodable`.
        """


class Several(Instrumentation):
    """Several who watch, as one. What one of them raises is logged, and the others hear of it all the same.

    Attributes:
        inner: Who they are. They are told in this order; what they give to be entered is left in the reverse.
    """

    def __init__(self, *inner: Instrumentation) -> None:
        """Let all of `inner` watch."""
        self.inner = inner
        # Most have no use for some of the hooks, and to call one for each delivery costs more than what some do.
        self._emitting = [each for each in inner if _overrides(each.emitting, Instrumentation.emitting)]
        self._handling = [each for each in inner if _overrides(each.handling, Instrumentation.handling)]

    def emitting(self, event: Event, parent: Event | None) -> Event:
        """See `Instrumentation.emitting`. Each gets what the one before returned."""
        for each in self._emitting:
            event = emitting(each, event, parent)
        return event

    def handling(self, organ: str, delivery: Delivery) -> AbstractContextManager[object]:
        """See `Instrumentation.handling`."""
        if len(self._handling) == 1:
            return handling(self._handling[0], organ, delivery)
        stack = ExitStack()
        for each in self._handling:
            stack.enter_context(handling(each, organ, delivery))
        return stack

    def settled(self, settlements: Sequence[Settlement], accepted: Sequence[bool]) -> None:
        """See `Instrumentation.settled`."""
        for each in self.inner:
            settled(each, settlements, accepted)


def _overrides(hook: Callable[..., object], default: Callable[..., object]) -> bool:
    return getattr(hook, "__func__", None) is not default


def together(*watching: Instrumentation | None) -> Instrumentation | None:
    """Make one of all that are there; None of none.

    >>> together(None, None) is None
    True
    """
    inner = [each for each in watching if each is not None]
    return Several(*inner) if len(inner) > 1 else next(iter(inner), None)


# --- calling a hook: whoever watches must not stop the work, so what it raises is logged ----------------------


def emitting(instrumentation: Instrumentation, event: Event, parent: Event | None) -> Event:
    """Call `Instrumentation.emitting`."""
    try:
        return instrumentation.emitting(event, parent)
    except Exception:  # noqa: BLE001 -- foreign code
        _failed("emitting", event_facts(event))
        return event


def handling(instrumentation: Instrumentation, organ: str, delivery: Delivery) -> AbstractContextManager[None]:
    """Call `Instrumentation.handling`, when what this returns is entered."""
    return _Handling(instrumentation, organ, delivery)


def settled(instrumentation: Instrumentation, settlements: Sequence[Settlement], accepted: Sequence[bool]) -> None:
    """Call `Instrumentation.settled`."""
    try:
        instrumentation.settled(settlements, accepted)
    except Exception:  # noqa: BLE001 -- foreign code
        _failed("settled")


class _Handling(AbstractContextManager[None]):
    """Neither what a hook raises on the way in or out nor what it answers changes what becomes of the handler."""

    __slots__ = ("_delivery", "_inner", "_instrumentation", "_organ")

    def __init__(self, instrumentation: Instrumentation, organ: str, delivery: Delivery) -> None:
        self._instrumentation = instrumentation
        self._organ = organ
        self._delivery = delivery
        self._inner: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        try:
            inner = self._instrumentation.handling(self._organ, self._delivery)
            inner.__enter__()
        except Exception:  # noqa: BLE001 -- foreign code
            self._tell_failure()
        else:
            self._inner = inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inner is None:
            return
        try:
            self._inner.__exit__(kind, error, trace)
        except Exception as raised:  # noqa: BLE001 -- foreign code
            if raised is not error:
                self._tell_failure()

    def _tell_failure(self) -> None:
        _failed("handling", event_facts(self._delivery.event) | {"organ": self._organ})


def _failed(hook: str, facts: Mapping[str, object] = MappingProxyType({})) -> None:
    logger.exception("instrumentation_failed", extra={"hook": hook, **facts})

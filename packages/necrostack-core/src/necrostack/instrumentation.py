"""The one hook that tracing, metrics, progress bars and a studio use."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from necrostack.delivery import Delivery, Settlement
from necrostack.event import Event


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

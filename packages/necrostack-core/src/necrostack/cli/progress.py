"""Watching a run: how far it is, and which lines of its feed are handled to the end."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from necrostack.delivery import Settlement
from necrostack.errors import EventError
from necrostack.event import Event
from necrostack.instrumentation import Instrumentation


class Watch(Instrumentation):
    """Counts what is settled.

    Attributes:
        settled_deliveries: How many deliveries were settled.
        dead: How many dead letters came of them.
    """

    def __init__(self) -> None:
        self.settled_deliveries = 0
        self.dead = 0
        # For each chain that a line began: that line, and the ids of its events that are not settled.
        self._open: dict[UUID, tuple[int, list[UUID]]] = {}

    def began(self, kept: Sequence[tuple[int, Event]]) -> None:
        """Note lines whose events are kept."""
        for number, event in kept:
            self._open.setdefault(event.correlation_id, (number, []))[1].append(event.id)

    def first_unfinished(self) -> int | None:
        """The first line whose event, or an event that came of it, is not settled. None when all are.

        What handlers emitted by themselves, outside their result, is not looked at.
        """
        return min((number for number, _ in self._open.values()), default=None)

    def settled(self, settlements: Sequence[Settlement], accepted: Sequence[bool]) -> None:
        """See `Instrumentation.settled`."""
        for settlement, ours in zip(settlements, accepted, strict=True):
            if ours:
                self.settled_deliveries += 1
                self.dead += len(settlement.dead)
                self._follow(settlement)

    def _follow(self, settlement: Settlement) -> None:
        try:
            event = settlement.delivery.event
        except EventError:  # it could not be read, so no line of ours led to it
            return
        chain = self._open.get(event.correlation_id)
        if chain is None:
            return
        unsettled = chain[1]
        if event.id in unsettled:
            unsettled.remove(event.id)
        unsettled += [event.id] * len(settlement.retries)
        unsettled += [child.id for child in settlement.emitted]
        if not unsettled:
            del self._open[event.correlation_id]

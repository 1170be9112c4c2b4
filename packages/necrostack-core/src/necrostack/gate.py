"""What happens to a delivery before any Organ gets it: routing, the loop guards, duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Literal

from necrostack.delivery import Failure
from necrostack.errors import EventError
from necrostack.log import event_facts, logger
from necrostack.seen import SeenIds
from necrostack.step import Step
from necrostack.tally import OrganTally, Tally


class TooManySteps(Exception):
    """`max_steps` deliveries were handled and another one waits. The message says which event types kept coming."""


class Gate:
    """Decides which Organs get a delivery, and whether it is started at all.

    Attributes:
        is_guarded: Whether `may_start` has to be asked: only where duplicates or steps are looked at.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        max_hops: int | None,
        max_steps: int | None,
        deduplicate: bool,
        unrouted: Literal["ack", "dead_letter"],
    ) -> None:
        self._tally = tally
        self._max_hops = max_hops
        self._max_steps = max_steps
        self._seen = SeenIds() if deduplicate else None
        self._unrouted = unrouted
        self._warned: set[str] = set()
        self._steps = 0
        self._handled_types: Counter[str] = Counter()
        self.is_guarded = deduplicate or max_steps is not None

    def organs_for(self, step: Step) -> Sequence[OrganTally]:
        """Find the Organs that get a delivery. Where there are none, the step says what becomes of it."""
        delivery = step.delivery
        try:
            event = delivery.event
        except EventError as unreadable:
            give_up_unread(step, unreadable)
            return ()
        organs: Sequence[OrganTally] = self._tally.listening.get(event.event_type, ())
        if delivery.organs is not None:
            organs = self._named(step, delivery.organs)
        elif not organs:
            self._count_unrouted(step)
        if organs and self._max_hops is not None and event.hops > self._max_hops:
            error = f"{event.hops} hops from its root, more than max_hops={self._max_hops}; is there a loop?"
            give_up(step, Failure(reason="max_hops", error=error))
            return ()
        return organs

    async def may_start(self, step: Step, commit: Callable[[], Awaitable[object]]) -> bool:
        """Say whether a delivery is to be handled: False for a duplicate.

        Args:
            step: The delivery's.
            commit: Settles what is done; whether an event is a duplicate hangs on that.

        Raises:
            TooManySteps: It would be one more than `max_steps`.
        """
        if self._seen is not None and step.delivery.origin in ("live", "recovered"):
            event_id = step.delivery.event.id
            while (in_work := self._seen.in_work(event_id)) is not None:
                await commit()
                await in_work.wait()
            if not self._seen.begin(event_id):
                self._tally.deduplicated += 1
                return False
        if self._max_steps is not None:
            self._count_step(step.delivery.event.event_type, self._max_steps)
        return True

    def settled(self, step: Step, *, accepted: bool) -> None:
        """Mark the event as handled, if its settlement was accepted."""
        if self._seen is not None:
            with suppress(EventError):  # of what is no event, and so none that could come again
                self._seen.end(step.delivery.event.id, accepted=accepted)

    def _named(self, step: Step, names: Sequence[str]) -> Sequence[OrganTally]:
        """The Organs that a delivery names; those that this Spine lacks leave dead letters."""
        event_type = step.delivery.event.event_type
        found = []
        for name in names:
            organ = self._tally.organs.get(name)
            if organ is not None and event_type in organ.spec.event_types:
                found.append(organ)
            else:
                error = f"no Organ {name!r} here listens to {event_type!r}; all workers of a group run the same Organs"
                give_up(step, Failure(reason="unknown_organ", organ=name, error=error))
        return found

    def _count_unrouted(self, step: Step) -> None:
        self._tally.unrouted += 1
        event_type = step.delivery.event.event_type
        if event_type not in self._warned:
            self._warned.add(event_type)
            logger.warning("unrouted", extra=event_facts(step.delivery.event) | {"outcome": self._unrouted})
        if self._unrouted == "dead_letter":
            give_up(step, Failure(reason="unrouted", error=f"nobody listens to {event_type!r}"))

    def _count_step(self, event_type: str, max_steps: int) -> None:
        if self._steps >= max_steps:
            often = ", ".join(f"{name} ({count})" for name, count in self._handled_types.most_common(5))
            msg = (
                f"max_steps={max_steps} deliveries were handled and another one waits, a {event_type}; "
                f"handled most often: {often or 'none'}. Look for a loop in spine.topology.cycles, or raise max_steps"
            )
            raise TooManySteps(msg)
        self._steps += 1
        self._handled_types[event_type] += 1


def give_up_unread(step: Step, error: EventError) -> None:
    """Make a delivery a dead letter whose event cannot be read, and log it."""
    failure = Failure(reason="undecodable", error_type=type(error).__name__, error=str(error))
    step.add_dead(failure)
    facts = {
        "receipt": str(step.delivery.receipt),
        "organ": None,
        "reason": failure.reason,
        "error_type": failure.error_type,
        "error": failure.error,
    }
    logger.error("dead_lettered", extra=facts)


def give_up(step: Step, failure: Failure) -> None:
    """Make a delivery that no Organ was asked about a dead letter, and log it."""
    step.add_dead(failure)
    facts = event_facts(step.delivery.event) | {
        "organ": failure.organ,
        "reason": failure.reason,
        "error": failure.error,
    }
    logger.error("dead_lettered", extra=facts)

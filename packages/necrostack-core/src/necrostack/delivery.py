"""What a backend hands over, and how that ends: the frozen values between a Spine and a Backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from necrostack.errors import EventError
from necrostack.event import Event, admit
from necrostack.value import Value

Origin = Literal["live", "retry", "redrive", "replay", "recovered"]
"""Why an event is delivered: it is new; an Organ failed; a dead letter or history goes again; its consumer died."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Attempt(Value):
    """One failed attempt.

    Attributes:
        time: When it failed, UTC.
        error: What was raised: its type and its text.
        delay: Seconds until the next attempt; None when there is none.
    """

    time: datetime
    error: str
    delay: float | None


# Delivery and Settlement exist once per event. A frozen class's generated __init__ sets field by field through
# object.__setattr__, at twice the cost of filling the instance's dict, hence their own.
@dataclass(frozen=True, init=False, eq=False, repr=False)
class Delivery(Value):
    """One handing-over of one event, to be settled exactly once.

    Attributes:
        event: What was delivered, as the class that is declared for its event type.
        attempt: 1 on the first delivery, one higher on each retry; crashes do not count.
        origin: Why it is delivered.
        organs: Names of the Organs it is for; None for all that listen.
        receipt: The backend's own handle; opaque to everyone else.
        attempts: The attempts that failed before this one, oldest first.
    """

    event: Event
    attempt: int = 1
    origin: Origin = "live"
    organs: tuple[str, ...] | None = None
    receipt: object = None
    attempts: tuple[Attempt, ...] = ()

    def __init__(
        self,
        event: Event,
        attempt: int = 1,
        origin: Origin = "live",
        organs: tuple[str, ...] | None = None,
        receipt: object = None,
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        fields = self.__dict__
        fields["event"] = event
        fields["attempt"] = attempt
        fields["origin"] = origin
        fields["organs"] = organs
        fields["receipt"] = receipt
        fields["attempts"] = attempts

    def seal(self) -> None:
        """Let go of what the backend can read again. The event may be asked for all the same."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Retry(Value):
    """One Organ gets the event again.

    Attributes:
        organ: Its name.
        delay: In how many seconds, 0 or more.
        attempts: What failed so far, oldest first, the last failure included.
    """

    organ: str
    delay: float
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Failure(Value):
    """Why an event is given up, by one Organ or by all: what its dead letter will say.

    Attributes:
        reason: A short word for the kind, such as `attempts_exhausted`, or what a handler gave to `GiveUp`.
        organ: The Organ that failed; None when no Organ was asked.
        error_type: The exception's class name.
        error: The exception's text.
        traceback: The formatted traceback; empty when nothing was raised.
        attempts: Every failed attempt, oldest first.
    """

    reason: str
    organ: str | None = None
    error_type: str = ""
    error: str = ""
    traceback: str = ""
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Settlement(Value):
    """How a delivery ends: done, and with it, in one atomic step, all that came of it.

    Attributes:
        delivery: What ends.
        emitted: The events that its Organs emitted, in order.
        retries: The Organs that get it again.
        dead: What becomes a dead letter.
    """

    delivery: Delivery
    emitted: Sequence[Event] = ()
    retries: Sequence[Retry] = ()
    dead: Sequence[Failure] = ()

    def __init__(
        self,
        delivery: Delivery,
        emitted: Sequence[Event] = (),
        retries: Sequence[Retry] = (),
        dead: Sequence[Failure] = (),
    ) -> None:
        fields = self.__dict__
        fields["delivery"] = delivery
        fields["emitted"] = emitted
        fields["retries"] = retries
        fields["dead"] = dead


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class DeadLetter(Value):
    """An event that was given up, kept with the reason until somebody redrives or discards it.

    Attributes:
        id: Names the letter, not the event; one event can leave several letters.
        event: What was delivered; a plain Event when it is not what its type says; None when it cannot be read at all.
        raw: The bytes as they were kept, when they cannot be read.
        organ: The Organ that failed; None when no Organ was asked (hops, poison).
        reason: A short word for the kind, such as `attempts_exhausted`, or what a handler gave to `GiveUp`.
        error_type: The exception's class name.
        error: The exception's text.
        traceback: The formatted traceback.
        attempts: Every failed attempt, oldest first.
        dead_at: When it was given up, UTC.
        redriven_at: When it went again; None while it is waiting.
    """

    id: str
    event: Event | None
    raw: Mapping[bytes, bytes] | None = None
    organ: str | None = None
    reason: str
    error_type: str = ""
    error: str = ""
    traceback: str = ""
    attempts: tuple[Attempt, ...] = ()
    dead_at: datetime
    redriven_at: datetime | None = None

    def matches(
        self,
        event_type: str | None = None,
        organ: str | None = None,
        error: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> bool:
        """Say whether this is one of those that `Admin.dead_letters` is asked for."""
        return (
            (event_type is None or (self.event is not None and self.event.event_type == event_type))
            and (organ is None or self.organ == organ)
            and (error is None or self.error_type == error or error in self.error)
            and (since is None or self.dead_at >= since)
            and (until is None or self.dead_at < until)
        )


def restored_event(letter: DeadLetter) -> Event:
    """Return the event of a dead letter that is to be kept again.

    Raises:
        EventError: It has none.
    """
    if letter.event is None:
        msg = f"dead letter {letter.id} has no event that can be read, so it cannot be restored"
        raise EventError(msg)
    return letter.event


def redriven_event(letter: DeadLetter, payload: Mapping[str, Any] | None, max_size: int) -> Event:
    """Return the event of a dead letter as it goes again: 0 hops, and its payload edited if there is a new one.

    Args:
        letter: One with an event.
        payload: What its payload is to be instead; None to leave it.
        max_size: How many bytes of JSON payload and headers may have.

    Raises:
        EventError: The new payload is not what the event type says.
    """
    event = letter.event
    assert event is not None, "only letters with an event are redriven"
    if payload is None:
        return event.model_copy(update={"hops": 0})
    try:
        fields = event.model_dump(mode="json") | {"payload": dict(payload), "hops": 0}
        return admit(Event.model_validate(fields), max_size)[0]
    except EventError:
        raise
    except ValueError as error:
        msg = f"the new payload of dead letter {letter.id} is none: {error}"
        raise EventError(msg) from error

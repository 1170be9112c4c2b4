"""The contract of a backend: where events are kept between being emitted and being settled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from necrostack.clock import SYSTEM_CLOCK, Clock, sleep
from necrostack.delivery import DeadLetter, Delivery, Settlement
from necrostack.errors import BackendError
from necrostack.event import MAX_EVENT_SIZE, Event, admit
from necrostack.finding import Finding
from necrostack.fleet import Announcement
from necrostack.patience import Outage
from necrostack.value import Value


class Backend(ABC):
    """Keeps events, hands them over as deliveries, and settles each delivery once, atomically.

    `settle` is the heart: a delivery ends by exactly one settlement. Of two that try, one gets True, the other False.
    `necrostack.testing` ships the suite that says whether a backend keeps this contract.

    Attributes:
        max_event_size: How many bytes of JSON a payload may have.
        batch_size: How many deliveries it is good to pull, and to settle, in one call.
        is_remote: Whether calls take a while. Then handlers need not wait for them: the next deliveries are pulled, and
            what is done is settled, while they run.
        clock: Where the backend's time comes from.
        is_shared: Whether several processes that open it work on the same events.
    """

    is_shared: bool = False
    batch_size: int = 100
    is_remote: bool = False
    max_event_size: int = MAX_EVENT_SIZE
    clock: Clock = SYSTEM_CLOCK

    @cached_property
    def outage(self) -> Outage:
        """What is known of the outage that this backend is in, shared by everybody in this process who waits."""
        return Outage(self.clock)

    @property
    @abstractmethod
    def admin(self) -> Admin:
        """The interface for looking at what is kept, and for repairing it."""

    @abstractmethod
    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        """Keep events, all or none; they are kept when this returns.

        The identical call may be made again after an error, within a window: its events are then kept once. Copies of
        an event inside one call are kept as they are.

        Args:
            events: What to keep, in order.
            delay: Seconds until they are delivered, never earlier.

        Raises:
            EventError: One of them is not what its event type says, or too large.
            BackendFull: There is no room for all of them.
            BackendClosed: The backend was closed.
            BackendUnavailable: It is out of reach.
        """

    @abstractmethod
    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        """Hand over deliveries, oldest first, and bring up what is due or was left by the dead.

        A cancelled pull loses nothing.

        Args:
            limit: How many at the most.
            timeout: Seconds to wait when there is nothing; 0 only looks.

        Returns:
            At most `limit` deliveries; empty when there was nothing.
        """

    async def pull_sealed(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        """Hand over deliveries as `pull` does, to somebody who asks for each event when its turn has come.

        A backend that keeps bytes need not read them until then: what waits is small, and the garbage collector has
        less to walk through. But then an event may turn out to be none: asking for it raises `EventError`, and the
        delivery is to be settled with a dead letter.
        """
        return await self.pull(limit=limit, timeout=timeout)

    def admit(self, events: Sequence[Event], beside: Sequence[Event] = ()) -> Sequence[Event]:
        """Make sure that events can be kept, and return them in the form that is best for `Settlement.emitted`.

        A Spine asks for this as soon as a handler has returned. What a backend writes then, it need not hold as objects
        until the delivery is settled, and not look at again.

        Args:
            events: What an Organ emitted.
            beside: What this returned before, for other Organs that got the same delivery.

        Returns:
            `beside` and `events`, in order, as events of their declared classes.

        Raises:
            EventError: One of them is not what its event type says, or too large.
        """
        return [*beside, *[admit(event, self.max_event_size)[0] for event in events]]

    @abstractmethod
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        """End deliveries, each in one atomic step: acknowledge it, and keep what it emitted, its retries, its letters.

        This is never refused because the backend is full. It may be called again after an error.

        Returns:
            For each settlement, in order, whether it was accepted. False: the delivery was settled before or is no
            longer ours, and nothing was done.

        Raises:
            EventError: An emitted event is not what its type says, or too large; none of the settlements was done.
        """

    @abstractmethod
    async def release(self, *deliveries: Delivery) -> None:
        """Hand back deliveries that were not started: others may pull them at once, with the attempt unchanged."""

    def may_start(self, delivery: Delivery) -> bool:
        """Say whether a delivery is still this worker's, as far as can be known without asking.

        False when others may have taken it over, because this worker was frozen or cut off for long. A Spine then
        hands it back instead of starting it.
        """
        return True

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of connections and whatever is kept only here. May be called again."""

    async def ack(self, delivery: Delivery) -> bool:
        """End a delivery of which nothing came. See `settle`."""
        return (await self.settle(Settlement(delivery)))[0]

    async def wait_for_room(self, count: int = 1) -> None:
        """Wait until there may be room for `count` more events. A hint: somebody else may take it first.

        This is how a producer keeps pace: on `BackendFull`, wait for room and call `enqueue` again.
        """
        await sleep(self.clock, 0.05)

    async def probe(self) -> None:
        """Make sure that something can be kept now, and read again. It does no harm, however often.

        For whoever must know whether a process can do its work, such as `necrostack run --health`. A backend that
        nothing else can be said of counts what it holds.

        Raises:
            BackendFull: It takes nothing new now.
            BackendClosed: The backend was closed.
            BackendUnavailable: It is out of reach.
            BackendError: Something else is wrong that only a person can mend.
        """
        await self.admin.stats()

    async def join(self, topology: str) -> Collection[str]:
        """Tell the group which topology this worker runs.

        Returns:
            What other workers of the group run, where it differs. A backend that cannot know returns nothing.
        """
        return ()

    async def leave(self, topology: str) -> None:
        """Take back what `join` and `announce` told."""
        return

    async def announce(self, announcement: Announcement) -> None:
        """Tell what this worker is and does, in place of what it told before: see `Consumer.about`.

        A Spine does so when a run begins, and again and again while it has something to do. It lasts for as long as the
        worker counts as alive. A backend that has no place for it does nothing.
        """
        return

    def is_announced(self) -> bool:
        """Say whether what was announced is still there, as far as can be known without asking.

        False when this worker may have been taken for dead since, or data was lost. A Spine then announces itself anew,
        also when it has nothing to do.
        """
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class BackendStats(Value):
    """How much a backend holds, at one instant.

    Attributes:
        queued: Events that can be pulled now.
        pending: Deliveries pulled and not settled, by any worker of the group.
        scheduled: Events due later: retries and delayed ones.
        dead: Dead letters that wait.
        consumers: Workers that have pulled and are alive.
        oldest_pending: Seconds since the oldest pending delivery was pulled; None without one.
        history: Events kept for replay.
    """

    queued: int = 0
    pending: int = 0
    scheduled: int = 0
    dead: int = 0
    consumers: int = 0
    oldest_pending: float | None = None
    history: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, pending or scheduled."""
        return not (self.queued or self.pending or self.scheduled)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Group(Value):
    """Workers that share events. Each group gets every event.

    Attributes:
        name: What it is called.
        stats: What it holds.
        behind: Seconds since the oldest event was kept that it has not settled, and that must be kept for it; None
            without one, or where the backend does not know.
        ephemeral_after: Seconds without a live worker after which it is removed, with all that waits for it; None where
            it stays.
    """

    name: str
    stats: BackendStats
    behind: float | None = None
    ephemeral_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class PendingDelivery(Value):
    """A delivery that was pulled and is not settled.

    Attributes:
        event: What was delivered.
        attempt: Which attempt it is.
        organs: The Organs it is for; None for all that listen.
        consumer: Who pulled it.
        idle: Seconds since it was pulled.
    """

    event: Event
    attempt: int
    organs: tuple[str, ...] | None
    consumer: str
    idle: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ScheduledDelivery(Value):
    """A delivery that is due later: a retry, or an event that was delayed.

    Attributes:
        event: What will be delivered.
        attempt: Which attempt it will be.
        organs: The Organs it is for; None for all that listen.
        due: When, UTC.
    """

    event: Event
    attempt: int
    organs: tuple[str, ...] | None
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Consumer(Value):
    """One worker that pulls.

    Attributes:
        name: What the backend calls it.
        pending: How many deliveries it holds.
        idle: Seconds since it was last heard of.
        about: What it said of itself last; None where it said nothing, or what is there cannot be read.
    """

    name: str
    pending: int
    idle: float
    about: Announcement | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class KeptEvent(Value):
    """An event in the history.

    Attributes:
        event: It.
        kept_at: When it was kept, UTC.
        position: Where it stands, for going on after it; opaque to everyone but the backend.
    """

    event: Event
    kept_at: datetime
    position: str


class Admin(ABC):
    """Looks at what a backend keeps, and repairs it. What the command line can do, this does."""

    @abstractmethod
    async def stats(self) -> BackendStats:
        """Count what is kept, all at one instant."""

    @abstractmethod
    def dead_letters(
        self,
        event_type: str | None = None,
        organ: str | None = None,
        error: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        redriven: bool = False,
    ) -> AsyncIterator[DeadLetter]:
        """Go through the dead letters, oldest first, without a limit.

        Args:
            event_type: Only events of this type.
            organ: Only what this Organ gave up.
            error: Only this `error_type`, or errors whose text holds this.
            since: Only what was given up at this time or later.
            until: Only what was given up before this time.
            redriven: Those that were redriven, instead of those that wait.
        """

    async def dead_letter(self, name: str) -> DeadLetter | None:
        """Find a dead letter by its id, redriven or not."""
        for redriven in (False, True):
            async for letter in self.dead_letters(redriven=redriven):
                if letter.id == name:
                    return letter
        return None

    @abstractmethod
    async def redrive(self, *ids: str, payload: Mapping[str, Any] | None = None) -> int:
        """Deliver dead letters again, each at most once, to the Organ that failed, as a first attempt with 0 hops.

        Args:
            ids: Which letters.
            payload: What the event's payload is to be instead. The event keeps its id and lineage. One letter only.

        Returns:
            How many really went again; a letter that is unknown, redriven, discarded or unreadable does not.

        Raises:
            EventError: The new payload is not what the event type says; nothing was changed.
        """

    @abstractmethod
    async def discard(self, *ids: str) -> int:
        """Forget dead letters, redriven ones too. Returns how many there were to forget."""

    async def restore(self, *letters: DeadLetter) -> None:
        """Keep dead letters of elsewhere, or that were discarded here, as letters that wait: nothing is delivered.

        Each says what it said, but has an id of its own here, and comes after those that are there. Whether there is
        such a letter already is for the caller to look.

        Args:
            letters: With their events; one that went again is to wait again.

        Raises:
            EventError: One has no event; none was kept.
            BackendError: The backend cannot do this.
        """
        msg = f"{type(self).__name__} takes no dead letters of elsewhere"
        raise BackendError(msg)

    @abstractmethod
    def kept(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        event_type: str | None = None,
        ids: Collection[UUID] | None = None,
        *,
        after: str | None = None,
        newest_first: bool = False,
    ) -> AsyncIterator[KeptEvent]:
        """Go through the events that are kept, oldest first. A delayed event is one of them once it is due.

        Args:
            since: Only what was kept at this time or later.
            until: Only what was kept before this time.
            event_type: Only events of this type.
            ids: Only events with these ids.
            after: Only what was kept after this position: what is new since then.
            newest_first: Whether to go the other way round.
        """

    async def history(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        event_type: str | None = None,
        ids: Collection[UUID] | None = None,
    ) -> AsyncIterator[Event]:
        """Go through the events that are kept, oldest first, without when and where. See `kept`."""
        async for found in self.kept(since, until, event_type, ids):
            yield found.event

    @abstractmethod
    async def replay(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        event_type: str | None = None,
        organs: Sequence[str] | None = None,
        rate: float | None = None,
        dry_run: bool = False,
        ids: Collection[UUID] | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> int:
        """Deliver history again, with the same ids, to this group alone. What is emitted meanwhile is not part of it.

        Args:
            since: See `kept`.
            until: See `kept`.
            event_type: See `kept`.
            organs: Only to these Organs; None for all that listen.
            rate: How many events a second at the most.
            dry_run: Only count.
            ids: See `kept`.
            on_progress: Called now and then with how many went, or would, so far.

        Returns:
            How many events go again, or would.
        """

    @abstractmethod
    def pending(self) -> AsyncIterator[PendingDelivery]:
        """Go through the deliveries that are pulled and not settled, oldest first."""

    async def scheduled(self) -> AsyncIterator[ScheduledDelivery]:
        """Go through the deliveries that are due later, the next one first. A backend that cannot look there has none.

        What becomes due meanwhile may be left out.
        """
        for found in list[ScheduledDelivery]():
            yield found

    @abstractmethod
    async def consumers(self) -> Sequence[Consumer]:
        """List the workers that pull."""

    async def groups(self) -> Sequence[Group]:
        """List the groups. A group without consumers that is behind keeps history from being forgotten."""
        return (Group(name="default", stats=await self.stats()),)

    async def remove_group(self, name: str) -> bool:
        """Remove a group that nobody serves any more, with all that is kept for it: what waits, and its dead letters.

        Returns:
            Whether there was one.

        Raises:
            BackendError: Workers of it are alive, or the backend has only one group, which stays.
        """
        msg = f"{type(self).__name__} has one group, which stays"
        raise BackendError(msg)

    @abstractmethod
    async def trim(self, *, max_length: int | None = None, before: datetime | None = None) -> int:
        """Forget history: all but the newest `max_length` events, and what was kept before a time.

        Nothing is forgotten from the first event on that some group has not settled.

        Returns:
            How many events were forgotten.
        """

    async def check(self) -> Sequence[Finding]:
        """Say what is wrong, may go wrong, or is good to know of what is kept and where."""
        findings = [_on_group(group) for group in await self.groups()]
        async for letter in self.dead_letters():
            dead = (await self.stats()).dead
            waiting = "1 dead letter waits" if dead == 1 else f"{dead} dead letters wait"
            what = f"{waiting}, the oldest since {letter.dead_at:%Y-%m-%d %H:%M} UTC"
            remedy = "necrostack dlq list --group-by cause says why; redrive or discard them"
            findings.append(Finding("warning", what, remedy))
            break
        return [finding for finding in findings if finding is not None]


def _on_group(group: Group) -> Finding | None:
    stats = group.stats
    waiting = stats.queued + stats.pending
    if stats.consumers or not waiting:
        return None
    told = "1 event waits" if waiting == 1 else f"{waiting} events wait"
    what = f"{told} for the group {group.name!r}, in which no worker is alive"
    remedy = (
        f"start a worker of that group; if nobody needs it any more, await backend.admin.remove_group({group.name!r})"
    )
    return Finding("warning", what, remedy)

"""Pulling: what is read from the server, who holds it, and how to wait for more."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from necrostack.delivery import Delivery, Failure
from necrostack.errors import BackendError, EventError
from necrostack.log import event_facts, logger
from necrostack_redis.config import RedisSettings
from necrostack_redis.keys import RELEASED, Keys
from necrostack_redis.link import WAIT, Link, NoGroup
from necrostack_redis.scripts import PULL, RELEASE, STRAYS
from necrostack_redis.wire import StoredDelivery, letter_facts, read_delivery, read_event

EVENTS, INBOX = 1, 2
"""The two streams of a group, as scripts number them."""

MAX_READ = 1000
"""How many entries one call reads at the most, whatever the limit: the server does nothing else meanwhile."""

_INBOX_TURNS = 4
"""Of so many pulls of a single delivery, one looks at new events before what goes again: neither may starve."""

_LOOK_INTERVAL = 0.02
"""Seconds for which only new events are read, once a look at everything found nothing else."""

_LOOK_ALONE = 1.0
"""Seconds after which to see whether what must be handled alone is settled, if nobody says so."""

_END_OF_WAIT = 1.0
"""Seconds that a read which waits gets to hear that it shall not."""

_SUSPECTED = 3
"""An entry that is handed over so often took two workers down with it. See pull.lua."""


@dataclass(slots=True, eq=False)  # not frozen, which is twice as slow to make, once per delivery
class Receipt:
    """Where a delivery stands. Each handing-over has its own.

    Attributes:
        stream: `EVENTS` or `INBOX`.
        entry_id: Its id there.
        is_alone: Whether nothing else may be handed over before it is settled.
        covered_at: When, by the monotonic clock, the lease was renewed that covers it.
    """

    stream: int
    entry_id: bytes
    is_alone: bool
    covered_at: float

    def __str__(self) -> str:
        return self.entry_id.decode()


def receipts_of(deliveries: Iterable[Delivery]) -> list[Receipt]:
    """Return the receipts of deliveries, but for those that are somebody else's."""
    return [delivery.receipt for delivery in deliveries if isinstance(delivery.receipt, Receipt)]


_Entry = tuple[int, bytes, int, Sequence[bytes]]
"""What was read: the stream it stands in, its id there, how often it was handed over, its fields."""

Misfit = tuple[Receipt, Sequence[bytes], EventError]
"""An entry that cannot be read: where it stands, its fields, and what is wrong with it."""


@dataclass(slots=True)
class _News:
    """What the last look found that there is to wait for, when there was nothing to hand over.

    Attributes:
        ids: The last ids that are no news any more, of events, inbox and bell.
        due_at: When to look again, whatever comes, by the monotonic clock: it is past once something came.
    """

    ids: Sequence[bytes]
    due_at: float


class Reader:
    """Reads deliveries for one worker. What it takes over is held here until it is settled or released.

    Every read is made by a task of the Reader's own, which is never cancelled: what it brings after its pull was
    cancelled waits here for the next pull, and counts as pending.

    Whoever waits is told of news by an XREAD, which takes nothing: what comes when the pull has ended goes to others. A
    Spine, which pulls again and again, has what is new read on the same way; where its pull is cancelled, the bell ends
    that, and what it brought is handed back when the run ends.

    Attributes:
        held: The receipts of what this worker was handed and has not settled.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        settings: RedisSettings,
        consumer: str,
        held: set[Receipt],
        join: Callable[[], Awaitable[object]],
        bury: Callable[[Sequence[Misfit]], Awaitable[object]],
        revived: Callable[[], object],
    ) -> None:
        """Make one for an event loop.

        Args:
            link: What it reads through.
            keys: What it reads.
            settings: How.
            consumer: For whom.
            held: What this worker was handed before, in another event loop.
            join: Makes the group where it does not exist.
            bury: Makes dead letters of entries that cannot be read.
            revived: Told when a read found that the worker had been taken for dead.
        """
        self.held = held
        self._link = link
        self._keys = keys
        self._settings = settings
        self._consumer = consumer
        self._join = join
        self._bury = bury
        self._revived = revived
        # Deliveries whose pull was cancelled.
        self._surplus: deque[StoredDelivery] = deque()
        # The last that was to be handled alone.
        self._alone: Sequence[Receipt] = [receipt for receipt in held if receipt.is_alone]
        self._reading = asyncio.Lock()
        self._reads: set[asyncio.Task[list[StoredDelivery]]] = set()
        # Those of them whose pull was cancelled.
        self._unwanted: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.Task[Sequence[str]] | None = None
        # Whether a read waits for something new, and holds the turn of others; and who ends that.
        self._is_waiting = False
        self._interruptions = 0
        self._ringing: asyncio.Task[None] | None = None
        self._turn = 0
        # Misfits that were logged, and of which nobody knows yet whether they are buried.
        self._told: set[str] = set()
        # What was to be handed back, of which nobody knows whether it was.
        self._unreleased: set[Receipt] = set()
        # When to compare what the server says that we hold with what we know: now, and now and again.
        self._next_check = 0.0
        # When we looked at everything, and until when only new events are read.
        self._last_look = self._next_look = 0.0
        self._news = _News((b"0-0",) * 3, 0.0)
        self._woken = asyncio.Event()
        most = f"it was taken over from dead workers more than {settings.max_recoveries} times"
        poison = letter_facts(Failure(reason="max_recoveries", error=most))
        foreign = "it stood in a schedule and is nothing that a worker wrote"
        misfit = letter_facts(Failure(reason="undecodable", error_type="FormatError", error=foreign))
        self._pull_args = (settings.max_recoveries, poison, RELEASED, misfit)

    async def take(self, limit: int, *, sealed: bool) -> list[StoredDelivery]:
        """Take what there is, at most `limit` deliveries, without waiting for more.

        Args:
            limit: How many.
            sealed: Whether to leave their events unread. Else what cannot be read becomes dead letters.

        Raises:
            BackendError: The server is out of reach, or refuses.
        """
        self._interrupt_wait()
        return await self._finish(self._read_in_turn(limit, sealed=sealed))

    async def take_when_there(self, limit: int, seconds: float) -> list[StoredDelivery]:
        """Wait until there is something new, and take it, sealed, in the same breath. For when it is quiet.

        One way to the server does for both: it answers the wait, and reads on for us.

        Args:
            limit: How many.
            seconds: How long to wait.

        Returns:
            What is new; empty where the time is up, or there is something else to look at.

        Raises:
            BackendError: The server is out of reach, or refuses.
        """
        if self._surplus or self._is_alone():
            await self.wait(seconds)
            return []
        return await self._finish(self._read_when_there(limit, seconds, self._interruptions))

    async def _finish(self, reading: Coroutine[Any, Any, list[StoredDelivery]]) -> list[StoredDelivery]:
        """Let a read end, whatever becomes of the pull that wants it."""
        read = asyncio.create_task(reading)
        self._reads.add(read)
        read.add_done_callback(self._reads.discard)
        try:
            return await asyncio.shield(read)
        except asyncio.CancelledError:
            if read.done():
                self._keep(read)
            else:
                self._unwanted.add(read)
                read.add_done_callback(self._end_unwanted)
            self._interrupt_wait()
            raise

    def _end_unwanted(self, read: asyncio.Task[list[StoredDelivery]]) -> None:
        self._unwanted.discard(read)
        if not read.cancelled():
            read.exception()  # heard, so that asyncio need not complain: the next pull meets the same trouble

    def is_quiet(self) -> bool:
        """Whether a look found nothing, and there was no news since: whoever waits need not look before.

        The news of what comes in between is on its way: it is told from the ids on that the look found.
        """
        return not (self._surplus or self._woken.is_set()) and time.monotonic() < self._news.due_at

    async def wait(self, seconds: float) -> None:
        """Wait until there may be something, or the time is up.

        Raises:
            BackendError: The server is out of reach, or refuses.
        """
        if self._surplus:
            return
        seconds = min(seconds, max(self._news.due_at - time.monotonic(), 0.0))
        woken = asyncio.create_task(self._woken.wait())
        waiting: set[asyncio.Task[Any]] = {woken}
        if not self._is_alone():
            waiting.add(self._watch())
        try:
            done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        for task in done - {woken}:
            quiet_until, self._news.due_at = self._news.due_at, 0.0
            news = [] if task.cancelled() else task.result()
            if not news:
                self._news.due_at = quiet_until
            elif news == [self._keys.events]:
                self._next_look = time.monotonic() + _LOOK_INTERVAL  # there was nothing else, and this is all the news

    async def release(self, receipts: Sequence[Receipt]) -> None:
        """Hand back deliveries, for anybody to take. Where that fails and nobody asks again, the next read does it."""
        if not receipts:
            return
        entries = [part for receipt in receipts for part in (receipt.stream, receipt.entry_id)]
        self._unreleased.update(receipts)
        try:
            await self._release(entries)
        except BackendError:
            self._next_check = 0.0
            raise
        self._unreleased.difference_update(receipts)
        self.held.difference_update(receipts)
        self.wake()

    def look_next(self) -> None:
        """Look at everything with the next read: something goes again that may be older than what is new."""
        self._next_look = 0.0

    async def hand_back(self) -> None:
        """Hand back what came after its pull was cancelled. For when nobody may pull any more."""
        self._interrupt_wait()
        if self._reads:
            await asyncio.wait(self._reads)
        async with self._reading:
            if self._surplus:
                self.abandon()
                with suppress(NoGroup):
                    await self._release_strays()

    def abandon(self) -> None:
        """Forget what came after its pull was cancelled. It is found when we look what we hold, and handed back."""
        self.held.difference_update(receipts_of(self._surplus))
        self._surplus.clear()
        self._next_check = 0.0

    def wake(self) -> None:
        """Let pulls that wait look again."""
        self._woken.set()
        self.look_next()

    async def aclose(self) -> None:
        """Let what is being read arrive, and wait for nothing any more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        self.wake()
        self._interrupt_wait()
        if self._reads:
            _, waiting = await asyncio.wait(self._reads, timeout=_END_OF_WAIT if self._is_waiting else None)
            for read in waiting:
                read.cancel()  # what it is handed now is handed back with all that is ours

    # --- reading -----------------------------------------------------------------------------------------

    async def _read_in_turn(self, limit: int, *, sealed: bool) -> list[StoredDelivery]:
        async with self._reading:
            self._woken.clear()
            if self._surplus:
                taken = [self._surplus.popleft() for _ in range(min(limit, len(self._surplus)))]
            elif self._is_alone():
                self._news.due_at = time.monotonic() + _LOOK_ALONE
                return []
            else:
                taken = await self._read_or_join(min(limit, MAX_READ))
            return self._handed_over(taken if sealed else await self._opened(taken))

    def _handed_over(self, taken: list[StoredDelivery]) -> list[StoredDelivery]:
        """Keep what nobody wants any more for the next pull, before that has its turn: it may bring what is newer."""
        if asyncio.current_task() not in self._unwanted:
            return taken
        self._surplus.extendleft(reversed(taken))
        self.wake()
        return []

    async def _read_when_there(self, limit: int, seconds: float, interruptions: int) -> list[StoredDelivery]:
        async with self._reading:
            if self._interruptions != interruptions or not self.is_quiet():
                return []  # it was interrupted before it began, or there is something else to do
            news, keys = self._news, self._keys
            seconds = min(seconds, max(news.due_at - time.monotonic(), 0.0))
            command = ("XREADGROUP", "GROUP", keys.group, self._consumer, "COUNT", min(limit, MAX_READ))
            streams = (keys.events, keys.inbox, keys.bell)
            quiet_until, news.due_at = news.due_at, 0.0
            self._is_waiting = True
            try:
                found, reply = await self._link.wait_and_call(
                    streams, news.ids, seconds, *command, "STREAMS", keys.events, ">"
                )
            except NoGroup:
                return []  # the look that follows makes it
            except BaseException:
                self._next_check = 0.0  # it may have been done, and only its reply lost
                raise
            finally:
                self._is_waiting = False
            entries = reply[0][1] if reply else ()
            if not found or (found == [keys.events] and 0 < len(entries) < limit):
                # This was all that is new: it stays quiet, from the last of it on.
                last = entries[-1][0] if entries else news.ids[0]
                news.ids, news.due_at = (last, *news.ids[1:]), quiet_until
            elif found == [keys.events]:
                self._next_look = time.monotonic() + _LOOK_INTERVAL  # there is nothing else, and perhaps more of this
            return self._handed_over(self._held_from([(EVENTS, entry_id, 1, fields) for entry_id, fields in entries]))

    def _interrupt_wait(self) -> None:
        """End a read that waits, or is about to: it holds the turn of others. The bell is what it listens to."""
        self._interruptions += 1
        if self._is_waiting and (self._ringing is None or self._ringing.done()):
            self._ringing = asyncio.create_task(self._ring())

    async def _ring(self) -> None:
        with suppress(BackendError):  # then the read has the same trouble, and ends by it
            await self._link.call("XADD", self._keys.bell, "MAXLEN", 1, "*", "rung", "")

    async def _read_or_join(self, limit: int) -> list[StoredDelivery]:
        try:
            try:
                return await self._read(limit)
            except NoGroup:
                await self._join()
                return await self._read(limit)
        except BaseException:
            # The call may have been done, and only its reply lost.
            self._next_check = 0.0
            raise

    async def _read(self, limit: int) -> list[StoredDelivery]:
        if time.monotonic() >= self._next_check:
            await self._release_strays()
            # A call that was given up may be done even after the one that came next.
            self._next_check = time.monotonic() + self._settings.lease
        entries = await self._read_new(limit) if time.monotonic() < self._next_look else []
        if not entries:
            entries = await self._look(limit)
        if entries:
            self._news.due_at = 0.0
        return self._held_from(entries)

    def _held_from(self, entries: Sequence[_Entry]) -> list[StoredDelivery]:
        """Hold what was read."""
        size, looked = self._settings.max_event_size, self._last_look
        receipts = [Receipt(stream, entry_id, count >= _SUSPECTED, looked) for stream, entry_id, count, _ in entries]
        self.held.update(receipts)
        self._alone = [receipt for receipt in receipts if receipt.is_alone] or self._alone
        return [
            read_delivery(fields, size, receipt, recovered=count > 1)
            for receipt, (_, _, count, fields) in zip(receipts, entries, strict=True)
        ]

    async def _opened(self, deliveries: Sequence[StoredDelivery]) -> list[StoredDelivery]:
        """Read the events of deliveries; what cannot be read becomes dead letters."""
        opened: list[StoredDelivery] = []
        misfits: list[Misfit] = []
        for delivery in deliveries:
            try:
                _ = delivery.event
                opened.append(delivery)
            except EventError as error:
                misfits.append((cast("Receipt", delivery.receipt), delivery.entry, error))
        if misfits:
            try:
                await self._bury_misfits(misfits)
            except BaseException:
                # Nobody gets any of them: they are strays, and read again.
                self.held.difference_update(receipts_of(deliveries))
                self._next_check = 0.0
                raise
        return opened

    async def _look(self, limit: int) -> Sequence[_Entry]:
        """Read whatever is to be handled next."""
        keys = self._keys
        lease = int(self._settings.lease * 1000)
        names = (
            keys.events,
            keys.inbox,
            keys.schedule,
            keys.retries,
            keys.leases,
            keys.dead,
            keys.bell,
            keys.topologies,
        )
        self._last_look = time.monotonic()
        entries, buried, news, is_only_new, is_revived = await self._link.run(
            PULL,
            (*names, keys.groups, keys.nothing),
            (keys.group, self._consumer, limit, lease, self._inbox_share(limit), *self._pull_args),
        )
        if is_revived:
            self._revived()
        for facts, entry in buried:
            self._log_buried(facts, entry)
        if not entries:
            due, *ids = news
            # A worker that came after this look, and dies, is found by the next one in time.
            longest = self._settings.lease
            self._news = _News(ids, self._last_look + (longest if due < 0 else min(due / 1000, longest)))
        self._next_look = time.monotonic() + _LOOK_INTERVAL if is_only_new else 0.0
        return entries  # type: ignore[no-any-return]

    async def _read_new(self, limit: int) -> Sequence[_Entry]:
        """Read new events and look at nothing else: a third of the server's work. What they need is all there.

        Our lease was renewed a moment ago. If we were frozen since then, and the lease has ended, we come back without
        one, and the next heartbeat of any worker gives us one.
        """
        keys = self._keys
        command = ("XREADGROUP", "GROUP", keys.group, self._consumer, "COUNT", limit, "STREAMS", keys.events, ">")
        reply = await self._link.call(*command)
        return [(EVENTS, entry_id, 1, fields) for entry_id, fields in reply[0][1]] if reply else ()

    async def _bury_misfits(self, misfits: Sequence[Misfit]) -> None:
        """Make dead letters of what cannot be read. Where that fails, all that was read is read again."""
        for receipt, _, found in misfits:
            if (entry_id := receipt.entry_id.decode()) not in self._told:
                facts = {"receipt": entry_id, "organ": None, "reason": "undecodable"}
                told: dict[str, str | None] = {"error_type": type(found).__name__, "error": str(found)}
                logger.error("dead_lettered", extra=facts | told)
                self._told.add(entry_id)
        await self._bury(misfits)
        self._told.clear()

    def _inbox_share(self, limit: int) -> int:
        if limit > 1:
            return (limit + 1) // 2
        self._turn = (self._turn + 1) % _INBOX_TURNS
        return 1 if self._turn else 0

    def _log_buried(self, letter: bytes, entry: Sequence[bytes]) -> None:
        told = json.loads(letter)
        facts: dict[str, Any] = {name: told[name] or None for name in ("organ", "reason", "error_type", "error")}
        with suppress(EventError):
            facts |= event_facts(read_event(entry, self._settings.max_event_size))
        logger.error("dead_lettered", extra=facts)

    async def _release_strays(self) -> None:
        """Hand back what we hold without knowing: then it is read again, in its order."""
        self.look_next()
        self.held -= self._unreleased
        self._unreleased.clear()
        known = {(receipt.stream, receipt.entry_id) for receipt in self.held}
        keys, after = self._keys, ["-", "-"]
        while True:
            found = await self._link.run(
                STRAYS, (keys.events, keys.inbox), (keys.group, self._consumer, *after, MAX_READ)
            )
            ours = [(stream, entry_id) for stream, ids in zip((EVENTS, INBOX), found, strict=True) for entry_id in ids]
            strays = [entry for entry in ours if entry not in known]
            if strays:
                await self._release([part for entry in strays for part in entry])
                logger.info("strays_released", extra={"consumer": self._consumer, "entries": len(strays)})
            if all(len(ids) < MAX_READ for ids in found):
                break
            after = [f"({ids[-1].decode()}" if ids else "+" for ids in found]

    async def _release(self, entries: Sequence[int | bytes]) -> None:
        keys = self._keys
        with suppress(NoGroup):  # and with it all that was to be handed back
            await self._link.run(
                RELEASE, (keys.events, keys.inbox, keys.bell), (keys.group, self._consumer, RELEASED, *entries)
            )

    def _keep(self, read: asyncio.Task[list[StoredDelivery]]) -> None:
        """Take what a read brought after its pull was cancelled."""
        if not read.cancelled() and read.exception() is None:
            self._surplus.extendleft(reversed(read.result()))
            self.wake()

    # --- waiting -----------------------------------------------------------------------------------------

    def _is_alone(self) -> bool:
        """Whether something is held beside which nothing else may be."""
        return any(receipt in self.held for receipt in self._alone)

    def _watch(self) -> asyncio.Task[Sequence[str]]:
        """Wait for news in the background, once for all pulls that wait."""
        if self._watching is None or self._watching.done():
            keys = self._keys
            streams = (keys.events, keys.inbox, keys.bell)
            self._watching = asyncio.create_task(self._link.wait(streams, self._news.ids, WAIT))
            self._watching.add_done_callback(_look_at_error)
        return self._watching


def _look_at_error(task: asyncio.Task[Sequence[str]]) -> None:
    """Nobody may be waiting for it any more."""
    if not task.cancelled():
        task.exception()

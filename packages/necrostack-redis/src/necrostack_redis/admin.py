"""Looking at what Redis keeps, and repairing it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from necrostack.backend import Admin, BackendStats, Consumer, Group, KeptEvent, PendingDelivery, ScheduledDelivery
from necrostack.clock import SYSTEM_CLOCK, Pace
from necrostack.delivery import DeadLetter, redriven_event
from necrostack.errors import BackendError, ConfigurationError, EventError, check_count
from necrostack.event import Event, payload_json
from necrostack.finding import Finding
from necrostack.fleet import MOST_BYTES, read_topology
from necrostack.topology import Topology
from necrostack_redis.checkup import group_findings, server_findings, trust_findings
from necrostack_redis.config import RedisSettings, check_name
from necrostack_redis.groups import group_names, look_at, remove
from necrostack_redis.keys import RELEASED, Keys, name_of
from necrostack_redis.link import Link
from necrostack_redis.scripts import CONSUMERS, DISCARD, PENDING, REDRIVE
from necrostack_redis.trimming import trim
from necrostack_redis.wire import (
    delivery_record,
    event_part,
    event_record,
    milliseconds,
    moment,
    read_delivery,
    read_kept_event,
    read_letter,
    restored_record,
    scheduled_entry,
    size_to_look_at,
)
from necrostack_redis.word import read_word

_FIRST_PAGE, _PAGE, _PAGE_BYTES = 25, 100, 16 * 2**20
"""How many entries the first look brings, and one brings at the most; and how many bytes it should not exceed."""

_Entry = Sequence[bytes]


class RedisAdmin(Admin):
    """Looks into the app and group of a `RedisBackend` and repairs it. See `Admin`."""

    def __init__(self, link: Callable[[], Link], keys: Keys, settings: RedisSettings) -> None:
        self._link = link
        self._keys = keys
        self._settings = settings
        self._largest = size_to_look_at(settings.max_event_size)

    async def stats(self) -> BackendStats:
        """See `Admin.stats`."""
        return (await look_at(self._link(), self._keys, self._settings.start)).stats

    async def dead_letters(
        self,
        event_type: str | None = None,
        organ: str | None = None,
        error: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        redriven: bool = False,
    ) -> AsyncIterator[DeadLetter]:
        """See `Admin.dead_letters`."""
        # An id is made just after the time that its letter holds, or long after, when the letter was restored: a second
        # less than `since` finds all that may match, and `until` says nothing about ids.
        first = "-" if since is None else _first_of(milliseconds(since) - 1000)
        async for page in self._pages(self._keys.dead, first, "+"):
            async for letter in self._letters(page):
                is_redriven = letter.redriven_at is not None
                if is_redriven == redriven and letter.matches(event_type, organ, error, since, until):
                    yield letter

    async def dead_letter(self, name: str) -> DeadLetter | None:
        """See `Admin.dead_letter`."""
        return await anext(self._letters_of([name] if _is_entry_id(name) else []), None)

    async def redrive(self, *ids: str, payload: Mapping[str, Any] | None = None) -> int:
        """See `Admin.redrive`."""
        if payload is not None and len(ids) != 1:
            msg = f"a new payload is for one dead letter, not for {len(ids)}; redrive them one by one"
            raise ConfigurationError(msg)
        link, keys, count = self._link(), self._keys, 0
        for page in _pages_of(ids):
            args: list[Any] = []
            async for letter in self._letters_of(page):
                if letter.event is None or letter.redriven_at is not None:
                    continue
                event = redriven_event(letter, payload, self._settings.max_event_size)
                organs = None if letter.organ is None else [letter.organ]
                record = delivery_record(event_record(event, payload_json(event)), 1, "redrive", organs)
                args += [letter.id, len(record), *record]
            if args:
                count += await link.run(REDRIVE, (keys.dead, keys.redriven, keys.inbox), args)
        return count

    async def discard(self, *ids: str) -> int:
        """See `Admin.discard`."""
        link, names, count = self._link(), (self._keys.dead, self._keys.redriven), 0
        for page in _pages_of(ids):
            count += await link.run(DISCARD, names, page)
        return count

    async def restore(self, *letters: DeadLetter) -> None:
        """See `Admin.restore`. After an error some of them may be kept."""
        records = [restored_record(letter) for letter in letters]
        for start in range(0, len(records), _PAGE):
            await self._link().send(
                [("XADD", self._keys.dead, "*", *record) for record in records[start : start + _PAGE]]
            )

    async def kept(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        event_type: str | None = None,
        ids: Collection[UUID] | None = None,
        *,
        after: str | None = None,
        newest_first: bool = False,
    ) -> AsyncIterator[KeptEvent]:
        """See `Admin.kept`. Times are those of the server, in whole milliseconds."""
        first, last = _range(since, until)
        if after is not None and (since is None or _numbers(after) >= _numbers(first)):
            first = f"({after}"
        async for event, entry_id, _ in self._kept(first, last, event_type, ids, newest_first=newest_first):
            position = entry_id.decode()
            yield KeptEvent(event, moment(_numbers(position)[0] * 1000), position)

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
        """See `Admin.replay`."""
        pace = Pace(SYSTEM_CLOCK, rate)
        first, last = _range(since, until)
        # What is emitted while the replay goes on is not part of it.
        newest = await self._link().call("XREVRANGE", self._keys.events, last, first, "COUNT", 1)
        if not newest:
            return 0
        count = 0
        waiting: list[_Entry] = []
        async for _, _, entry in self._kept(first, newest[0][0].decode(), event_type, ids):
            count += 1
            if not dry_run:
                await pace.next()
                waiting.append(entry)
            if rate is not None or count % _PAGE == 0:
                await self._put_again(waiting, organs)
                waiting = []
                if on_progress is not None:
                    on_progress(count)
        await self._put_again(waiting, organs)
        return count

    async def pending(self) -> AsyncIterator[PendingDelivery]:
        """See `Admin.pending`."""
        keys, after, found = self._keys, [b"-", b"-"], []
        while any(after):
            args = (keys.group, RELEASED, *after, _PAGE)
            page, *after = await self._link().run(PENDING, (keys.events, keys.inbox), args)
            found += page
        for consumer, idle, entry in sorted(found, key=lambda pending: -pending[1]):
            try:
                delivery = read_delivery(entry, self._largest, None, recovered=False)
                event = delivery.event
            except EventError:
                continue  # on its way to become a dead letter
            yield PendingDelivery(
                event=event,
                attempt=delivery.attempt,
                organs=delivery.organs,
                consumer=name_of(consumer),
                idle=idle / 1000,
            )

    async def scheduled(self) -> AsyncIterator[ScheduledDelivery]:
        """See `Admin.scheduled`. Delayed events are those of all groups, retries are this group's."""
        delayed, retries = (self._due(key) for key in (self._keys.schedule, self._keys.retries))
        first, second = await anext(delayed, None), await anext(retries, None)
        while first is not None or second is not None:
            if second is None or (first is not None and first.due <= second.due):
                assert first is not None
                yield first
                first = await anext(delayed, None)
            else:
                yield second
                second = await anext(retries, None)

    async def _due(self, key: str) -> AsyncIterator[ScheduledDelivery]:
        """Go through a schedule, a page at a time, from where the last one ended."""
        begin, passed = "-inf", 0
        while True:
            page = await self._link().call(
                "ZRANGEBYSCORE", key, begin, "+inf", "WITHSCORES", "LIMIT", passed, _FIRST_PAGE
            )
            for member, score in zip(page[::2], page[1::2], strict=True):
                passed = passed + 1 if score.decode() == begin else 1
                begin = score.decode()
                try:
                    delivery = read_delivery(scheduled_entry(member), self._largest, None, recovered=False)
                    event, due = delivery.event, moment(int(float(score)) * 1000)
                except (ValueError, OverflowError, EventError):
                    continue  # on its way to become a dead letter
                yield ScheduledDelivery(event=event, attempt=delivery.attempt, organs=delivery.organs, due=due)
            if len(page) < 2 * _FIRST_PAGE:
                return

    async def consumers(self) -> Sequence[Consumer]:
        """See `Admin.consumers`."""
        keys = self._keys
        names = (keys.events, keys.inbox, keys.leases, keys.topologies)
        found, graphs = await self._link().run(CONSUMERS, names, (keys.group, MOST_BYTES))
        topologies = [None, *map(read_topology, graphs)]
        return [
            self._consumer(name, pending, left, word, topologies[graph]) for name, pending, left, word, graph in found
        ]

    def _consumer(self, name: bytes, pending: int, left: int, word: bytes, topology: Topology | None) -> Consumer:
        lease, about = read_word(word, topology)
        idle = (self._settings.lease if lease is None else lease) - left / 1000
        return Consumer(name=name_of(name), pending=pending, idle=max(idle, 0.0), about=about)

    async def groups(self) -> Sequence[Group]:
        """See `Admin.groups`. Each is counted at an instant of its own."""
        link, app = self._link(), self._keys.app
        names = await group_names(link, self._keys)
        return [await look_at(link, Keys(app, name), self._settings.start) for name in names]

    async def remove_group(self, name: str) -> bool:
        """See `Admin.remove_group`. A worker that freezes for longer than its lease does not count as alive."""
        check_name("name", name)
        answer = await remove(self._link(), Keys(self._keys.app, name))
        if answer < 0:
            msg = f"the group {name!r} has {-answer} workers that are alive; stop them first, or wait for their lease"
            raise BackendError(msg)
        return answer == 1

    async def trim(self, *, max_length: int | None = None, before: datetime | None = None) -> int:
        """See `Admin.trim`. What some group has not settled stays."""
        check_count("max_length", max_length, least=0, or_none=True)
        forgotten, has_more = 0, True
        while has_more:
            moment = None if before is None else milliseconds(before)
            trimmed = await trim(self._link(), self._keys, max_length=max_length, before=moment)
            forgotten += trimmed.count
            has_more = trimmed.has_more
        return forgotten

    async def check(self) -> Sequence[Finding]:
        """See `Admin.check`. It asks the server for INFO and TIME, and says so where that is forbidden."""
        link = self._link()
        findings = [*trust_findings(link), *await server_findings(link)]
        groups = await self.groups()
        for group in groups:
            findings += group_findings(group, self._settings)
        if not groups:
            what = f"the app {self._keys.app!r} has no group: no worker of it has ever pulled from this database"
            findings.append(
                Finding("note", what, "if there should be one, compare app and the database with the worker's")
            )
        return [*findings, *await super().check()]

    # --- entries -----------------------------------------------------------------------------------------

    async def _pages(
        self, stream: str, first: str, last: str, *, newest_first: bool = False
    ) -> AsyncIterator[Sequence[tuple[bytes, _Entry]]]:
        """Go through a stream from one id to another: the ids and fields of its entries, a page at a time."""
        count = _FIRST_PAGE
        while True:
            bounds = ("XREVRANGE", stream, last, first) if newest_first else ("XRANGE", stream, first, last)
            found = await self._link().call(*bounds, "COUNT", count)
            page = [(entry_id, _flat(fields)) for entry_id, fields in found]
            del found
            if page:
                yield page
            if len(page) < count:
                return
            end = f"({page[-1][0].decode()}"
            first, last = (first, end) if newest_first else (end, last)
            # As many as are likely to be no more than that, whoever wrote them.
            size = sum(len(part) for _, entry in page for part in entry) // count
            count = max(1, min(_PAGE, 4 * count, _PAGE_BYTES // max(size, 1)))

    async def _kept(
        self,
        first: str,
        last: str,
        event_type: str | None,
        ids: Collection[UUID] | None,
        *,
        newest_first: bool = False,
    ) -> AsyncIterator[tuple[Event, bytes, _Entry]]:
        """Go through the events that are kept, each with the id and the fields of its entry."""
        wanted = None if ids is None else frozenset(ids)
        async for page in self._pages(self._keys.events, first, last, newest_first=newest_first):
            for entry_id, entry in page:
                event = read_kept_event(entry, self._largest)
                if (
                    event is not None
                    and event_type in (None, event.event_type)
                    and (wanted is None or event.id in wanted)
                ):
                    yield event, entry_id, entry

    async def _put_again(self, entries: Sequence[_Entry], organs: Sequence[str] | None) -> None:
        if not entries:
            return
        records = [delivery_record(event_part(entry), 1, "replay", organs) for entry in entries]
        await self._link().send([("XADD", self._keys.inbox, "*", *record) for record in records])

    # --- dead letters ------------------------------------------------------------------------------------

    async def _letters(self, entries: Sequence[tuple[bytes, _Entry]]) -> AsyncIterator[DeadLetter]:
        """Read dead letters one after the other, each with the time at which it went again."""
        if not entries:
            return
        times = await self._link().call("ZMSCORE", self._keys.redriven, *(entry_id for entry_id, _ in entries))
        for (entry_id, entry), time in zip(entries, times, strict=True):
            yield read_letter(entry_id, entry, None if time is None else moment(int(time)), self._largest)

    async def _letters_of(self, ids: Sequence[str]) -> AsyncIterator[DeadLetter]:
        if not ids:
            return
        found = await self._link().send([("XRANGE", self._keys.dead, name, name) for name in ids])
        entries = [(entry_id, _flat(fields)) for entries in found for entry_id, fields in entries]
        del found
        async for letter in self._letters(entries):
            yield letter


def _flat(fields: Mapping[bytes, bytes]) -> _Entry:
    return [part for pair in fields.items() for part in pair]


def _pages_of(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Share the ids of letters out, each once, to calls that do not hold up the server for long."""
    known = [name for name in dict.fromkeys(ids) if _is_entry_id(name)]
    for start in range(0, len(known), _PAGE):
        yield known[start : start + _PAGE]


def _is_entry_id(name: str) -> bool:
    first, separator, second = name.partition("-")
    return bool(separator) and all(part.isdecimal() and part.isascii() and len(part) <= 20 for part in (first, second))


def _numbers(entry_id: str) -> tuple[int, int]:
    """The two numbers by which entries are ordered."""
    first, _, second = entry_id.partition("-")
    return int(first), int(second or 0)


def _range(since: datetime | None, until: datetime | None) -> tuple[str, str]:
    """The ids between which there is what was kept since one time and until before another."""
    first = "-" if since is None else _first_of(milliseconds(since))
    return first, "+" if until is None else _last_of(milliseconds(until) - 1)


def _first_of(millisecond: int) -> str:
    return f"{max(millisecond, 0)}-0"


def _last_of(millisecond: int) -> str:
    # An id without its second part stands for the last one of its millisecond where a range ends.
    return str(millisecond) if millisecond >= 0 else "0-0"

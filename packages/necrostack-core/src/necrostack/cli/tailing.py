"""What `tail` goes through: events that were kept, or dead letters; once, and then what is new again and again."""

from __future__ import annotations

import argparse
import heapq
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from necrostack.backend import Admin, KeptEvent
from necrostack.cli.conditions import EVENT_FILTERS, fits
from necrostack.cli.facts import event_facts, letter_facts
from necrostack.cli.letters import why
from necrostack.cli.meter import Meter
from necrostack.cli.printable import json_text
from necrostack.cli.terminal import Terminal
from necrostack.cli.times import shown
from necrostack.delivery import DeadLetter
from necrostack.event import Event

T = TypeVar("T")

FILTERS = (*EVENT_FILTERS, "id", "organ", "since", "until")
"""The options that choose some of what there is."""

_OVERLAP = timedelta(seconds=30)
"""How much later a letter may turn up than its time says: the clocks of workers differ, and a settlement takes time."""


class Followed(Protocol[T]):
    """What can be gone through, and followed."""

    header: Sequence[str]
    nothing: str
    nothing_chosen: str

    def history(self) -> AsyncIterator[T]:
        """Go through all that is as asked for, oldest first."""

    async def last(self, count: int) -> list[T]:
        """The last ones of these, oldest first."""

    def new(self) -> AsyncIterator[T]:
        """Go through those that came since this, `history` or `last` was called."""

    def row(self, found: T) -> Sequence[str]:
        """What to show of one."""

    def facts(self, found: T) -> dict[str, Any]:
        """One as JSON-compatible values."""


class Events:
    """The events that were kept.

    Attributes:
        header: The columns of `row`.
        nothing: What to say when there are none.
        nothing_chosen: What to say when the options choose none.
    """

    header: Sequence[str] = ("kept", "event type", "event", "payload")
    nothing = "no event is kept"
    nothing_chosen = "no event that is kept is as asked for"

    def __init__(
        self, admin: Admin, arguments: argparse.Namespace, terminal: Terminal, types: Collection[str] | None
    ) -> None:
        """Choose those that the arguments ask for.

        Args:
            admin: Where they are.
            arguments: What is asked for.
            terminal: Where to show how far it is.
            types: Only these event types; None for all.
        """
        self._admin = admin
        self._asked = arguments
        self._terminal = terminal
        self._types = types
        self._position: str | None = None

    async def history(self) -> AsyncIterator[KeptEvent]:
        """See `Followed.history`."""
        count, meter = 0, await self._meter()
        async for kept in self._kept():
            if not self._terminal.is_read:
                return
            self._position, count = kept.position, count + 1
            if self._fits(kept.event):
                yield kept
            else:
                meter.at(count)

    async def last(self, count: int) -> list[KeptEvent]:
        """See `Followed.last`."""
        found: list[KeptEvent] = []
        looked_at, meter = 0, await self._meter()
        async for kept in self._kept(newest_first=True):
            self._position, looked_at = self._position or kept.position, looked_at + 1
            meter.at(looked_at)
            if len(found) < count and self._fits(kept.event):
                found.append(kept)
            if len(found) == count:
                break
        return found[::-1]

    async def new(self) -> AsyncIterator[KeptEvent]:
        """See `Followed.new`."""
        async for kept in self._kept(after=self._position):
            self._position = kept.position
            if self._fits(kept.event):
                yield kept

    def row(self, found: KeptEvent) -> Sequence[str]:
        """See `Followed.row`."""
        payload = json_text(event_facts(found.event)["payload"])
        return shown(found.kept_at), found.event.event_type, str(found.event.id), payload

    def facts(self, found: KeptEvent) -> dict[str, Any]:
        """See `Followed.facts`."""
        return event_facts(found.event)

    async def _meter(self) -> Meter:
        is_bounded = self._asked.since is not None or self._asked.until is not None
        return Meter(self._terminal, "events looked at", None if is_bounded else (await self._admin.stats()).history)

    def _kept(self, *, after: str | None = None, newest_first: bool = False) -> AsyncIterator[KeptEvent]:
        return self._admin.kept(self._asked.since, self._asked.until, after=after, newest_first=newest_first)

    def _fits(self, event: Event) -> bool:
        ids: list[UUID] | None = self._asked.id
        return (
            (self._types is None or event.event_type in self._types)
            and (ids is None or event.id in ids)
            and fits(event, self._asked)
        )


class Letters:
    """The dead letters, those that wait and those that went again.

    Attributes:
        header: The columns of `row`.
        nothing: What to say when there are none.
        nothing_chosen: What to say when the options choose none.
    """

    header: Sequence[str] = ("given up", "letter", "event type", "organ", "why")
    nothing = "there are no dead letters"
    nothing_chosen = "no dead letter is as asked for"

    def __init__(self, admin: Admin, arguments: argparse.Namespace, terminal: Terminal) -> None:
        """Choose those that the arguments ask for."""
        self._admin = admin
        self._asked = arguments
        self._terminal = terminal
        self._newest: datetime | None = None
        # Those that were seen and that the next look finds again.
        self._recent: dict[str, datetime] = {}

    async def history(self) -> AsyncIterator[DeadLetter]:
        """See `Followed.history`."""
        count, meter = 0, Meter(self._terminal, "dead letters looked at")
        async for letter in self._unseen(self._asked.since):
            if not self._terminal.is_read:
                return
            count += 1
            if self._fits(letter):
                yield letter
            else:
                meter.at(count)

    async def last(self, count: int) -> list[DeadLetter]:
        """See `Followed.last`."""
        found: list[tuple[datetime, int, DeadLetter]] = []
        looked_at, meter = 0, Meter(self._terminal, "dead letters looked at")
        async for letter in self._unseen(self._asked.since):
            looked_at += 1
            meter.at(looked_at)
            if self._fits(letter):
                heapq.heappush(found, (letter.dead_at, looked_at, letter))
                if len(found) > count:
                    heapq.heappop(found)
        return [letter for *_, letter in sorted(found)]

    async def new(self) -> AsyncIterator[DeadLetter]:
        """See `Followed.new`."""
        since = self._asked.since
        if self._newest is not None:
            overlap = self._newest - _OVERLAP
            since = overlap if since is None else max(overlap, since)
        async for letter in self._unseen(since):
            if self._fits(letter):
                yield letter

    def row(self, found: DeadLetter) -> Sequence[str]:
        """See `Followed.row`."""
        event_type = "-" if found.event is None else found.event.event_type
        return shown(found.dead_at), found.id, event_type, found.organ or "-", why(found)

    def facts(self, found: DeadLetter) -> dict[str, Any]:
        """See `Followed.facts`."""
        return letter_facts(found)

    async def _unseen(self, since: datetime | None) -> AsyncIterator[DeadLetter]:
        """Go through the letters that were not seen before, oldest first."""
        waiting, redriven = (
            self._admin.dead_letters(since=since, until=self._asked.until, redriven=redriven)
            for redriven in (False, True)
        )
        async for letter in _merged(waiting, redriven):
            if letter.id in self._recent:
                continue
            self._recent[letter.id] = letter.dead_at
            self._newest = max(letter.dead_at, self._newest or letter.dead_at)
            if len(self._recent) > 1000:
                self._forget()
            yield letter
        self._forget()

    def _forget(self) -> None:
        if self._newest is not None:
            oldest = self._newest - _OVERLAP
            self._recent = {name: moment for name, moment in self._recent.items() if moment >= oldest}

    def _fits(self, letter: DeadLetter) -> bool:
        ids: list[UUID] | None = self._asked.id
        return (
            (ids is None or (letter.event is not None and letter.event.id in ids))
            and self._asked.organ in (None, letter.organ)
            and fits(letter.event, self._asked)
        )


async def _merged(one: AsyncIterator[DeadLetter], other: AsyncIterator[DeadLetter]) -> AsyncIterator[DeadLetter]:
    """Go through the letters of both, oldest first."""
    first, second = await anext(one, None), await anext(other, None)
    while first is not None or second is not None:
        if second is None or (first is not None and first.dead_at <= second.dead_at):
            assert first is not None
            yield first
            first = await anext(one, None)
        else:
            yield second
            second = await anext(other, None)

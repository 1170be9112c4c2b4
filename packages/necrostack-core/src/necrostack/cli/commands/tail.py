"""`necrostack tail`: write the events that were kept, and those to come."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from fnmatch import fnmatchcase
from uuid import UUID

from necrostack.backend import Admin, KeptEvent
from necrostack.cli.arguments import add_json, event_id, whole_number
from necrostack.cli.columns import Columns
from necrostack.cli.facts import event_facts
from necrostack.cli.failures import Exit
from necrostack.cli.meter import Meter
from necrostack.cli.printable import json_text
from necrostack.cli.target import Target, add_target, with_target
from necrostack.cli.terminal import Terminal
from necrostack.cli.times import moment, shown
from necrostack.errors import BackendUnavailable
from necrostack.event import Event

_INTERVAL = 0.5
"""Seconds between two looks for what is new."""

_LAST = 10
"""How many events are written unless somebody says since when, or how many. As tail(1) does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Write the events that were kept, one a line, oldest first: the last 10 unless --last or --since says more."
        " It only looks: nothing is handled, and no group is touched."
    )
    add_target(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those to come, until Ctrl-C")
    parser.add_argument("--last", metavar="N", type=_number, help="only the last N; 0 for none but those to come")
    parser.add_argument(
        "--since", metavar="TIME", type=moment, help="only what was kept then or later: 10m, 2026-03-01T12:00:00Z"
    )
    parser.add_argument("--until", metavar="TIME", type=moment, help="only what was kept before then")
    parser.add_argument("--type", metavar="GLOB", help="only events of this type; * and ? stand for anything")
    parser.add_argument("--id", metavar="ID", type=event_id, action="append", help="only this event; may be repeated")
    parser.add_argument("--correlation", metavar="ID", type=event_id, help="only the chain that began with this event")
    add_json(parser, "write each event as one JSON object, as emit --file and run --feed read it")


def _number(text: str) -> int:
    return whole_number(text, least=0)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Write them."""

    async def tail(target: Target) -> int:
        return await _Tail(target.admin, arguments, terminal).run()

    return with_target(arguments, terminal, tail)


class _Tail:
    """Goes through what is kept, and then through what is new again and again."""

    def __init__(self, admin: Admin, arguments: argparse.Namespace, terminal: Terminal) -> None:
        self._admin = admin
        self._arguments = arguments
        self._terminal = terminal
        self._write, self._flush = _writer(terminal, as_json=arguments.json)
        self._position: str | None = None

    async def run(self) -> int:
        last = self._arguments.last
        if last is None and self._arguments.since is None and self._arguments.until is None:
            last = _LAST
        count = await (self._write_all() if last is None else self._write_last(last))
        if self._arguments.follow:
            await self._follow()
        elif count == 0:
            self._terminal.note("no event that is kept is as asked for")
        return Exit.OK

    async def _write_all(self) -> int:
        count, meter = 0, Meter(self._terminal, "looked at")
        looked_at = 0
        async for kept in self._kept():
            if not self._terminal.is_read:
                break
            self._position, looked_at = kept.position, looked_at + 1
            if self._fits(kept.event):
                self._write(kept)
                count += 1
            else:
                meter.at(looked_at)
        self._flush()
        return count

    async def _write_last(self, last: int) -> int:
        found: list[KeptEvent] = []
        meter = Meter(self._terminal, "looked at")
        looked_at = 0
        async for kept in self._kept(newest_first=True):
            self._position, looked_at = self._position or kept.position, looked_at + 1
            meter.at(looked_at)
            if len(found) < last and self._fits(kept.event):
                found.append(kept)
            if len(found) == last:
                break
        for kept in reversed(found):
            self._write(kept)
        self._flush()
        return len(found)

    async def _follow(self) -> None:
        """Look for what is new, until nobody reads it any more. A backend that goes away is waited for."""
        is_away = False
        while self._terminal.is_read:
            try:
                await self._write_new()
                is_away = False
            except BackendUnavailable as error:
                if not is_away:
                    self._terminal.note(f"{error}; waiting for it")
                is_away = True
            await asyncio.sleep(_INTERVAL)

    async def _write_new(self) -> None:
        try:
            async for kept in self._kept(after=self._position):
                self._position = kept.position
                if self._fits(kept.event):
                    self._write(kept)
        finally:
            self._flush()

    def _kept(self, *, after: str | None = None, newest_first: bool = False) -> AsyncIterator[KeptEvent]:
        asked = self._arguments
        return self._admin.kept(asked.since, asked.until, after=after, newest_first=newest_first)

    def _fits(self, event: Event) -> bool:
        asked = self._arguments
        ids: list[UUID] | None = asked.id
        return (
            (asked.type is None or fnmatchcase(event.event_type, asked.type))
            and (ids is None or event.id in ids)
            and (asked.correlation is None or event.correlation_id == asked.correlation)
        )


def _writer(terminal: Terminal, *, as_json: bool) -> tuple[Callable[[KeptEvent], None], Callable[[], None]]:
    """What writes an event, and what writes those that were held back."""
    if as_json:
        return (lambda kept: terminal.data(event_facts(kept.event))), lambda: None
    columns = Columns(terminal, "kept", "event type", "event", "payload")

    def write(kept: KeptEvent) -> None:
        facts = event_facts(kept.event)
        payload = json_text(facts["payload"])
        columns.row(shown(kept.kept_at), kept.event.event_type, str(kept.event.id), payload)

    return write, columns.flush

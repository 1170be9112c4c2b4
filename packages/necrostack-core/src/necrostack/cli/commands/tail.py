"""`necrostack tail`: write the events that were kept, and those to come."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Generic, TypeVar

from necrostack.cli.arguments import add_examples, add_json, event_id, whole_number
from necrostack.cli.columns import Columns
from necrostack.cli.conditions import add_event_filters
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.tailing import FILTERS, Events, Followed, Letters
from necrostack.cli.target import Target, add_target, check_organs, with_target
from necrostack.cli.terminal import Terminal
from necrostack.cli.times import moment
from necrostack.errors import BackendUnavailable

T = TypeVar("T")

_INTERVAL = 0.5
"""Seconds between two looks for what is new."""

_LAST = 10
"""How many events are written unless somebody says since when, or how many. As tail(1) does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Write the events that were kept, one a line, oldest first: the last 10 unless --last or --since says more."
        " With --errors, write dead letters instead: what was given up, by whom, and why."
        " It only looks: nothing is handled, and no group is touched."
    )
    add_target(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those to come, until Ctrl-C")
    parser.add_argument("--last", metavar="N", type=_number, help="only the last N; 0 for none but those to come")
    parser.add_argument(
        "--since", metavar="TIME", type=moment, help="only what was kept then or later: 10m, 2026-03-01T12:00:00Z"
    )
    parser.add_argument("--until", metavar="TIME", type=moment, help="only what was kept before then")
    parser.add_argument("--id", metavar="ID", type=event_id, action="append", help="only this event; may be repeated")
    add_event_filters(parser)
    parser.add_argument(
        "--organ",
        metavar="NAME",
        help="only events that this Organ of APP listens to; with --errors, only what it gave up",
    )
    parser.add_argument(
        "--errors", action="store_true", help="only what went wrong: dead letters, also those that went again since"
    )
    add_json(parser, "write each event as one JSON object, as emit --file and run --feed read it, or each letter")
    add_examples(
        parser,
        ("necrostack tail shop.app --follow --type 'ORDER_*'", "what comes, of some types"),
        (
            "necrostack tail shop.app --since 1h --organ Billing --where 'total>=100'",
            "what an Organ got in the last hour, with a large total",
        ),
        ("necrostack tail shop.app --errors --follow", "what goes wrong, as it goes wrong"),
        (
            "necrostack tail --backend redis://localhost --last 1000 --json > events.ndjson",
            "the last thousand, as emit --file reads them",
        ),
    )


def _number(text: str) -> int:
    return whole_number(text, least=0)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Write them."""

    async def tail(target: Target) -> int:
        if arguments.errors:
            return await _Tail(Letters(target.admin, arguments, terminal), arguments, terminal).run()
        types = _heard(target, arguments.organ)
        return await _Tail(Events(target.admin, arguments, terminal, types), arguments, terminal).run()

    return with_target(arguments, terminal, tail)


def _heard(target: Target, organ: str | None) -> Sequence[str] | None:
    """The event types that an Organ listens to; None when none is named.

    Raises:
        CommandError: There is no APP that could say it (exit code 2), or it has no such Organ (5).
    """
    if organ is None:
        return None
    if target.spine is None:
        msg = "--organ needs an APP, which says what the Organ listens to; with --errors it needs none"
        raise CommandError(msg, Exit.USAGE)
    check_organs(target.spine, [organ])
    return next(node.listens_to for node in target.spine.topology.organs if node.name == organ)


class _Tail(Generic[T]):
    """Goes through what there is, and then through what is new again and again."""

    def __init__(self, found: Followed[T], arguments: argparse.Namespace, terminal: Terminal) -> None:
        self._found = found
        self._arguments = arguments
        self._terminal = terminal
        self._columns = Columns(terminal, *found.header)

    async def run(self) -> int:
        last = self._arguments.last
        if last is None and self._arguments.since is None and self._arguments.until is None:
            last = _LAST
        count = await (self._write_all() if last is None else self._write_last(last))
        if self._arguments.follow:
            await self._follow()
        elif count == 0 and last != 0:
            chooses = any(getattr(self._arguments, name) is not None for name in FILTERS)
            self._terminal.note(self._found.nothing_chosen if chooses else self._found.nothing)
        return Exit.OK

    async def _write_all(self) -> int:
        count = 0
        async for found in self._found.history():
            self._write(found)
            count += 1
        self._columns.flush()
        return count

    async def _write_last(self, last: int) -> int:
        found = await self._found.last(last)
        for one in found:
            self._write(one)
        self._columns.flush()
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
            async for found in self._found.new():
                self._write(found)
        finally:
            self._columns.flush()

    def _write(self, found: T) -> None:
        if self._arguments.json:
            self._terminal.data(self._found.facts(found))
        else:
            self._columns.row(*self._found.row(found))

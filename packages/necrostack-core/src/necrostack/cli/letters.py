"""Dead letters: choosing them, and showing them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from necrostack.backend import Admin
from necrostack.cli.columns import Columns, hanging
from necrostack.cli.conditions import EVENT_FILTERS, add_event_filters, fits
from necrostack.cli.facts import event_facts, letter_facts
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.meter import Meter
from necrostack.cli.printable import json_text, printable
from necrostack.cli.terminal import Terminal, counted
from necrostack.cli.times import moment, shown, span
from necrostack.delivery import DeadLetter

FILTERS = (*EVENT_FILTERS, "organ", "error", "since", "until")
"""The options that choose letters by what they hold."""


def add_filters(parser: argparse.ArgumentParser, *, redriven: bool = False) -> None:
    """Add the options that choose letters."""
    add_event_filters(parser)
    parser.add_argument("--organ", metavar="NAME", help="only what this Organ gave up")
    parser.add_argument("--error", metavar="TEXT", help="only this class of error, or errors that say this")
    parser.add_argument(
        "--since", metavar="TIME", type=moment, help="only what was given up then or later: 2h, 2026-03-01T12:00:00Z"
    )
    parser.add_argument("--until", metavar="TIME", type=moment, help="only what was given up before then")
    if redriven:
        parser.add_argument("--redriven", action="store_true", help="those that went again, not those that wait")


async def chosen(admin: Admin, arguments: argparse.Namespace) -> AsyncIterator[DeadLetter]:
    """Go through the letters that the options choose, oldest first."""
    glob = arguments.type
    letters = admin.dead_letters(
        event_type=None if glob is None or is_glob(glob) else glob,
        organ=arguments.organ,
        error=arguments.error,
        since=arguments.since,
        until=arguments.until,
        redriven=getattr(arguments, "redriven", False),
    )
    async for letter in letters:
        if fits(letter.event, arguments):
            yield letter


async def how_many(admin: Admin, arguments: argparse.Namespace) -> int | None:
    """Say how many letters will be gone through; None where that is known only in the end."""
    chooses = getattr(arguments, "redriven", False) or any(getattr(arguments, name) is not None for name in FILTERS)
    return None if chooses else (await admin.stats()).dead


def is_glob(text: str) -> bool:
    """Say whether a text stands for more than itself."""
    return any(char in text for char in "*?[")


async def letter_of(admin: Admin, name: str) -> DeadLetter:
    """Find a letter by its id, redriven or not.

    Raises:
        CommandError: There is none (exit code 5).
    """
    if (letter := await admin.dead_letter(name)) is None:
        msg = f"there is no dead letter {name!r}; dlq list shows those that wait"
        raise CommandError(msg, Exit.NOT_FOUND)
    return letter


# --- many -----------------------------------------------------------------------------------------------


async def write_letters(
    letters: AsyncIterator[DeadLetter], terminal: Terminal, *, as_json: bool, limit: int | None = None
) -> int:
    """Write letters, one a line, and return how many."""
    columns = Columns(terminal, "letter", "age", "event type", "organ", "why")
    now = datetime.now(UTC)
    count = 0
    async for letter in letters:
        if count == limit or not terminal.is_read:
            break
        count += 1
        if as_json:
            terminal.data(letter_facts(letter))
        else:
            age = span((now - letter.dead_at).total_seconds())
            columns.row(letter.id, age, _type(letter), letter.organ or "-", why(letter))
    columns.flush()
    return count


async def write_causes(
    letters: AsyncIterator[DeadLetter],
    terminal: Terminal,
    *,
    as_json: bool,
    limit: int | None = None,
    total: int | None = None,
) -> int:
    """Write how many letters each cause left, the largest number first, and return how many causes."""
    counts: Counter[tuple[str | None, str | None, str, str]] = Counter()
    newest: dict[tuple[str | None, str | None, str, str], DeadLetter] = {}
    meter = Meter(terminal, "looked at", total)
    async for letter in letters:
        event_type = None if letter.event is None else letter.event.event_type
        cause = (letter.organ, event_type, letter.reason, letter.error_type)
        counts[cause] += 1
        # Without what may be large: there may be as many causes as letters.
        newest[cause] = replace(letter, event=None, raw=None, traceback="", attempts=())
        meter.at(counts.total())
    terminal.clear_status()
    columns = Columns(terminal, "letters", "event type", "organ", "newest", "why, of the newest")
    for cause, count in counts.most_common(limit):
        letter, event_type = newest[cause], cause[1]
        if as_json:
            terminal.data(_cause_facts(letter, event_type, count))
        else:
            columns.row(str(count), event_type or "-", letter.organ or "-", letter.id, why(letter))
    columns.flush()
    return len(counts)


def _cause_facts(letter: DeadLetter, event_type: str | None, count: int) -> dict[str, Any]:
    return {
        "count": count,
        "event_type": event_type,
        "organ": letter.organ,
        "reason": letter.reason,
        "error_type": letter.error_type,
        "newest": {"id": letter.id, "dead_at": letter.dead_at.isoformat(), "error": letter.error},
    }


def none_chosen(arguments: argparse.Namespace) -> str:
    """Say that the options choose no letter."""
    kind = "redriven dead letter" if getattr(arguments, "redriven", False) else "dead letter"
    is_filtered = any(getattr(arguments, name) is not None for name in FILTERS)
    return f"no {kind} is as asked for" if is_filtered else f"there are no {kind}s"


# --- one ------------------------------------------------------------------------------------------------


def show_letter(letter: DeadLetter, terminal: Terminal) -> None:
    """Write all that a letter says."""
    lines = [f"dead letter {printable(letter.id)}", f"  given up     {shown(letter.dead_at)}"]
    if letter.redriven_at is not None:
        lines.append(f"  went again   {shown(letter.redriven_at)}")
    lines += [f"  organ        {printable(letter.organ or '-')}", hanging(printable(why(letter)), "  why          ")]
    if letter.event is not None:
        event = letter.event
        lines += [
            f"  event        {event.id}",
            f"  event type   {printable(event.event_type)}",
            f"  made         {shown(event.timestamp)}",
            f"  chain        {event.correlation_id}",
            f"  came of      {event.causation_id or '-'}",
        ]
    if letter.attempts:
        lines += ["", counted(len(letter.attempts), "attempt")]
    for attempt in letter.attempts:
        then = "" if attempt.delay is None else f", again after {attempt.delay:.1f}s"
        lines.append(hanging(f"{printable(attempt.error)}{then}", f"  {shown(attempt.time)}  "))
    if letter.traceback:
        lines += ["", "traceback", *(f"  {printable(line)}" for line in letter.traceback.splitlines())]
    terminal.text("\n".join([*lines, "", *_content(letter)]))


def _content(letter: DeadLetter) -> list[str]:
    """The payload, or the bytes of what cannot be read."""
    if letter.event is not None:
        text = json_text(event_facts(letter.event)["payload"], indent=2)
        return ["payload", *(f"  {line}" for line in text.splitlines())]
    fields = (letter.raw or {}).items()
    lines = [f"  {printable(repr(name)[2:-1])}  {printable(repr(value)[2:-1])}" for name, value in fields]
    return ["as it was kept", *lines]


def why(letter: DeadLetter) -> str:
    """Say why it was given up, on one line."""
    told = ": ".join(filter(None, [letter.error_type, " ".join(letter.error.split())]))
    return f"{letter.reason}: {told}" if told else letter.reason


def _type(letter: DeadLetter) -> str:
    return "-" if letter.event is None else letter.event.event_type

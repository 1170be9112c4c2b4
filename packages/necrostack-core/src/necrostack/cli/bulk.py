"""Doing something to many dead letters, oldest first, and telling how far that came."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from necrostack.backend import Admin
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.letters import FILTERS, chosen, letter_of
from necrostack.cli.meter import Meter
from necrostack.cli.terminal import Terminal, counted
from necrostack.cli.times import shown
from necrostack.clock import SYSTEM_CLOCK, Pace
from necrostack.delivery import DeadLetter
from necrostack.errors import NecroStackError

_AT_ONCE = 100
"""How many letters one call takes. Named ones go one by one: only then is it known what became of each."""

_SHOWN_PROBLEMS = 20
"""How many problems are told one by one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What must be known of a letter to work on it: there may be many.

    Attributes:
        id: Names it.
        organ: The Organ that failed.
        problem: Why it cannot be redriven; empty when it can.
    """

    id: str
    organ: str | None
    problem: str


@dataclass(slots=True)
class Outcome:
    """What became of the letters.

    Attributes:
        asked: How many were chosen.
        done: With how many it was done.
        problems: Why not with others, one sentence each.
    """

    asked: int
    done: int = 0
    problems: list[str] = field(default_factory=list)


Step = Callable[[Sequence[str]], Awaitable[tuple[int, list[str]]]]
"""Does it to some letters; returns with how many, and why not with others."""


def picked(admin: Admin, names: Sequence[str], arguments: argparse.Namespace) -> AsyncIterator[DeadLetter]:
    """Go through the letters that are named, or all that the options choose.

    Raises:
        CommandError: Nothing chooses any, or two things do (exit code 2).
    """
    options = [f"--{name}" for name in ("all", *FILTERS) if getattr(arguments, name) not in (None, False)]
    if names and options:
        msg = f"both ids and {options[0]} choose dead letters; give one of them"
        raise CommandError(msg, Exit.USAGE)
    if not names and not options:
        msg = "which dead letters? Name their ids, or say --all, or what they have in common, such as --organ NAME"
        raise CommandError(msg, Exit.USAGE)
    return _named(admin, names) if names else chosen(admin, arguments)


async def _named(admin: Admin, names: Sequence[str]) -> AsyncIterator[DeadLetter]:
    for letter in [await letter_of(admin, name) for name in dict.fromkeys(names)]:
        yield letter


async def choices(letters: AsyncIterator[DeadLetter], terminal: Terminal, total: int | None) -> list[Choice]:
    """Look which letters there are. One that fails again meanwhile is a new letter, and not among them."""
    found: list[Choice] = []
    meter = Meter(terminal, "found", total)
    async for letter in letters:
        found.append(Choice(letter.id, letter.organ, problem_of(letter)))
        meter.at(len(found))
    return found


def problem_of(letter: DeadLetter) -> str:
    if letter.redriven_at is not None:
        return f"{letter.id} went again before, at {shown(letter.redriven_at)}"
    if letter.event is None:
        return f"{letter.id} cannot be read, so nobody could handle it; export or discard it"
    return ""


def told(found: Sequence[Choice]) -> str:
    """Say how many there are, and of whom.

    >>> told([Choice("1", "Billing", ""), Choice("2", "Billing", ""), Choice("3", None, "")])
    '3 dead letters (2 Billing, 1 of no Organ)'
    """
    organs = Counter(choice.organ or "of no Organ" for choice in found).most_common(4)
    rest = len(found) - sum(count for _, count in organs)
    parts = [f"{count} {organ}" for organ, count in organs] + ([f"{rest} others"] if rest else [])
    return f"{counted(len(found), 'dead letter')} ({', '.join(parts)})"


async def redrive_all(
    admin: Admin, found: Sequence[Choice], terminal: Terminal, *, rate: float | None, is_named: bool
) -> Outcome:
    """Let letters go again."""

    async def redrive(names: Sequence[str]) -> tuple[int, list[str]]:
        count = await admin.redrive(*names)
        return count, [] if count == len(names) else await _why_not(admin, names, count)

    outcome = Outcome(len(found), problems=[choice.problem for choice in found if choice.problem])
    names = [choice.id for choice in found if not choice.problem]
    return await each(redrive, names, outcome, terminal, "redriven", 1 if is_named or rate else _AT_ONCE, rate)


async def _why_not(admin: Admin, names: Sequence[str], count: int) -> list[str]:
    """Say why only `count` of these went."""
    letters = {name: await admin.dead_letter(name) for name in names}
    problems = [f"{name} is gone: somebody discarded it" for name, letter in letters.items() if letter is None]
    others = len(names) - count - len(problems)
    if others and len(names) == 1:
        problems.append(f"{names[0]} was redriven by somebody else meanwhile")
    elif others > 0:
        which = f"{counted(others, 'letter')} of {names[0]} to {names[-1]}"
        problems.append(f"{which} were redriven by somebody else meanwhile")
    return problems


async def discard_all(admin: Admin, found: Sequence[Choice], terminal: Terminal, *, is_named: bool) -> Outcome:
    """Forget letters."""

    async def discard(names: Sequence[str]) -> tuple[int, list[str]]:
        count = await admin.discard(*names)
        gone = f"{counted(len(names) - count, 'letter')} of {names[0]} to {names[-1]}" if len(names) > 1 else names[0]
        return count, [] if count == len(names) else [f"{gone} gone already: somebody discarded that"]

    names = [choice.id for choice in found]
    return await each(discard, names, Outcome(len(found)), terminal, "discarded", 1 if is_named else _AT_ONCE, None)


async def each(
    do: Step, names: Sequence[str], outcome: Outcome, terminal: Terminal, done: str, at_once: int, rate: float | None
) -> Outcome:
    """Do it page by page; say how far it came when that ends early."""
    pace, meter = Pace(SYSTEM_CLOCK, rate), Meter(terminal, done, len(names))
    for start in range(0, len(names), at_once):
        try:
            await pace.next()
            count, problems = await do(names[start : start + at_once])
        except asyncio.CancelledError:
            terminal.note(f"stopped: {outcome.done} of {outcome.asked} {done}, or {counted(at_once, 'letter')} more")
            raise
        except NecroStackError as error:
            if outcome.done == 0:
                raise
            outcome.problems.append(f"stopped at {names[start]}: {error}")
            break
        outcome.done += count
        outcome.problems += problems
        meter.at(start + at_once)
    terminal.clear_status()
    return outcome


def show_outcome(outcome: Outcome, done: str, terminal: Terminal, *, as_json: bool) -> int:
    """Write what became of the letters; return the exit code."""
    if as_json:
        terminal.data({"asked": outcome.asked, done: outcome.done, "problems": outcome.problems})
    else:
        terminal.text(f"{outcome.done} of {counted(outcome.asked, 'dead letter')} {done}")
    show_problems(outcome.problems, terminal)
    if outcome.done == outcome.asked:
        return Exit.OK
    return Exit.IN_PART if outcome.done else Exit.FAILED


def show_problems(problems: Sequence[str], terminal: Terminal) -> None:
    """Tell problems, the first ones of many."""
    for problem in problems[:_SHOWN_PROBLEMS]:
        terminal.error(problem)
    if more := len(problems[_SHOWN_PROBLEMS:]):
        terminal.error(f"and {more} more")

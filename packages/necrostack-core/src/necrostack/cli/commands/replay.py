"""`necrostack replay`: deliver history again."""

from __future__ import annotations

import argparse
from array import array
from datetime import UTC, datetime
from typing import Any

from necrostack.backend import Admin
from necrostack.cli.arguments import add_examples, add_json, add_rate, event_id
from necrostack.cli.asking import add_yes, confirm
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.meter import Meter
from necrostack.cli.target import Target, add_target, check_organs, with_target
from necrostack.cli.terminal import Terminal, counted
from necrostack.cli.times import moment
from necrostack.errors import NecroStackError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Deliver events that were handled before again, with the same ids, to one group alone. What is emitted"
        " meanwhile is not part of it."
    )
    add_target(parser)
    parser.add_argument("--all", action="store_true", help="all that is kept")
    parser.add_argument(
        "--from", dest="since", metavar="TIME", type=moment, help="what was kept then or later: 2h, 2026-03-01T12:00Z"
    )
    parser.add_argument("--to", dest="until", metavar="TIME", type=moment, help="what was kept before then")
    parser.add_argument("--type", metavar="TYPE", help="only events of exactly this type")
    parser.add_argument("--id", metavar="ID", type=event_id, action="append", help="only this event; may be repeated")
    parser.add_argument("--organ", metavar="NAME", action="append", help="only to this Organ; may be repeated")
    add_rate(parser)
    add_yes(parser)
    add_json(parser, "write how many as one JSON object")
    add_examples(
        parser,
        (
            "necrostack replay shop.app --type ORDER_PLACED --organ Billing --dry-run",
            "how many events an Organ would get again",
        ),
        (
            "necrostack replay shop.app --from 2h --to 1h --rate 50",
            "what was kept within an hour, 50 a second",
        ),
        (
            "necrostack replay shop.app --id 6f1c2b52-0a53-4c5c-9d0e-2b8a1f0f7d11 --yes",
            "one event, without being asked",
        ),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Replay it."""
    if not arguments.all and not any((arguments.since, arguments.until, arguments.type, arguments.id)):
        msg = "what is to go again? Say --from TIME, --to TIME, --type TYPE or --id ID, or --all"
        raise CommandError(msg, Exit.USAGE)

    async def replay(target: Target) -> int:
        return await _replay(target, arguments, terminal)

    return with_target(arguments, terminal, replay)


async def _replay(target: Target, arguments: argparse.Namespace, terminal: Terminal) -> int:
    if target.spine is not None:
        check_organs(target.spine, arguments.organ or [])
    asked: dict[str, Any] = {
        "since": arguments.since,
        "until": arguments.until,
        "event_type": arguments.type,
        "ids": arguments.id,
    }
    times = await _times(target.admin, asked, terminal)
    count = len(times)
    if count == 0:
        msg = "no event that is kept is as asked for"
        if arguments.id:
            raise CommandError(msg, Exit.NOT_FOUND)
        terminal.note(msg)
    if arguments.dry_run or count == 0:
        return _tell(terminal, count, "would be replayed" if arguments.dry_run else "replayed", as_json=arguments.json)
    if not arguments.yes:
        to = f" to {', '.join(arguments.organ)} alone" if arguments.organ else ""
        confirm(terminal, f"{counted(count, 'event')} to be replayed{to}")
    return await _go(target, asked, times, arguments, terminal)


async def _times(admin: Admin, asked: dict[str, Any], terminal: Terminal) -> array[float]:
    """Look when each event was kept that will go: how many there are, and where to go on when it is cut short."""
    times, meter = array("d"), Meter(terminal, "found")
    async for kept in admin.kept(**asked):
        times.append(kept.kept_at.timestamp())
        meter.at(len(times))
    terminal.clear_status()
    return times


async def _go(
    target: Target, asked: dict[str, Any], times: array[float], arguments: argparse.Namespace, terminal: Terminal
) -> int:
    total, done = len(times), 0
    meter = Meter(terminal, "replayed", total)

    def progress(count: int) -> None:
        nonlocal done
        done = count
        meter.at(count)

    is_over = False
    try:
        done = await target.admin.replay(**asked, organs=arguments.organ, rate=arguments.rate, on_progress=progress)
        is_over = True
    except NecroStackError as error:
        if done == 0:
            raise
        terminal.error(f"stopped: {error}")
    finally:
        # Also when it was interrupted: who begins anew must know that some went.
        if not is_over:
            more = f"; --from {_moment(times[done])} goes on, and a few may go twice" if done < total else ""
            terminal.note(f"{done} of {counted(total, 'event')} went again, or some more whose answer was lost{more}")
    code = _tell(terminal, done, "replayed", as_json=arguments.json)
    return code if is_over else Exit.IN_PART


def _moment(seconds: float) -> str:
    """Write a time as `--from` reads it, no later than it was."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _tell(terminal: Terminal, count: int, what: str, *, as_json: bool) -> int:
    if as_json:
        terminal.data({what.rpartition(" ")[2]: count, "dry_run": what != "replayed"})
    else:
        terminal.text(f"{counted(count, 'event')} {what}")
    return Exit.OK

"""`necrostack inspect`: what is waiting, who works, and where an event is."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from uuid import UUID

from necrostack.backend import Group, PendingDelivery
from necrostack.cli.arguments import add_backend, add_examples, add_json, event_id, whole_number
from necrostack.cli.columns import Columns
from necrostack.cli.facts import group_facts, pending_facts, stats_facts
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.fitting import Table
from necrostack.cli.fleet import (
    organ_lines,
    organ_table,
    remarks,
    topology_facts,
    worker_facts,
    worker_table,
)
from necrostack.cli.target import Target, told_apart, with_target
from necrostack.cli.terminal import Terminal, counted
from necrostack.cli.times import span
from necrostack.cli.traces import show_chain, show_trace, trace_facts, traces


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.usage = "%(prog)s [options] [APP] [ID]\n       %(prog)s [options] [APP] --chain ID"
    parser.description = (
        "Show the groups with what waits for each, the workers with what they say of themselves, what their Organs did,"
        " what is odd about that, and what has been pending for longest; or, of one"
        " event, where it is; or, of a chain, what led to what. It only looks."
    )
    parser.add_argument("words", nargs="*", metavar="[APP] [ID]", help="a Spine, and the id of an event")
    parser.set_defaults(split=lambda arguments: told_apart(arguments.words))
    add_backend(parser)
    parser.add_argument("--chain", metavar="ID", type=event_id, help="the chain that began with this event, as a tree")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=whole_number,
        default=10,
        help="show N pending deliveries at the most; 10 unless given",
    )
    add_json(parser, "write one JSON object; of a chain one for each event, one a line")
    add_examples(
        parser,
        ("necrostack inspect shop.app", "what waits, who works, and what has been pending for longest"),
        ("necrostack inspect shop.app 6f1c2b52-0a53-4c5c-9d0e-2b8a1f0f7d11", "where one event is"),
        (
            "necrostack inspect shop.app --chain 6f1c2b52-0a53-4c5c-9d0e-2b8a1f0f7d11",
            "what came of one event, as a tree",
        ),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Show it."""
    ids = arguments.words
    if len(ids) + (arguments.chain is not None) > 1:
        msg = "name one event, or one chain with --chain; see inspect --help"
        raise CommandError(msg, Exit.USAGE)
    name = _event_id(ids[0]) if ids else None

    async def inspect(target: Target) -> int:
        if arguments.chain is not None:
            return await _show_chain(target, arguments.chain, arguments, terminal)
        if name is not None:
            return await _show_event(target, name, arguments, terminal)
        return await _show_all(target, arguments, terminal)

    return with_target(arguments, terminal, inspect)


def _event_id(word: str) -> UUID:
    try:
        return event_id(word)
    except argparse.ArgumentTypeError as error:
        raise CommandError(str(error), Exit.USAGE) from error


async def _show_event(target: Target, name: UUID, arguments: argparse.Namespace, terminal: Terminal) -> int:
    found = (await traces(target.admin, terminal, event=name)).get(name)
    if found is None:
        msg = f"nothing is kept of the event {name}: not in the history, not pending, not due later, no dead letter"
        raise CommandError(msg, Exit.NOT_FOUND)
    if arguments.json:
        terminal.data(trace_facts(found))
    else:
        show_trace(found, terminal)
    return Exit.OK


async def _show_chain(target: Target, root: UUID, arguments: argparse.Namespace, terminal: Terminal) -> int:
    found = await traces(target.admin, terminal, chain=root)
    if not found:
        msg = f"nothing is kept of the chain {root}: it is named by the id of its first event"
        raise CommandError(msg, Exit.NOT_FOUND)
    if arguments.json:
        for trace in found.values():
            terminal.data(trace_facts(trace))
    else:
        show_chain(found, terminal)
    return Exit.OK


# --- all ------------------------------------------------------------------------------------------------


async def _show_all(target: Target, arguments: argparse.Namespace, terminal: Terminal) -> int:
    admin = target.admin
    stats, groups, workers, now = await admin.stats(), await admin.groups(), await admin.consumers(), datetime.now(UTC)
    oldest: list[PendingDelivery] = []
    async for pending in admin.pending():
        if len(oldest) == arguments.limit:
            break
        oldest.append(pending)
    if arguments.json:
        terminal.data(
            {
                "stats": stats_facts(stats),
                "groups": [group_facts(group) for group in groups],
                "workers": [worker_facts(worker) for worker in workers],
                "topologies": topology_facts(workers),
                "remarks": remarks(workers, now),
                "pending": [pending_facts(pending) for pending in oldest],
            }
        )
        return Exit.OK
    if groups:
        header = ("group", "queued", "pending", "scheduled", "dead", "workers", "oldest pending", "behind")
        spare = ("oldest pending", "behind", "scheduled", "pending")
        _show_table(Table(header, [_row(group) for group in groups], spare), terminal)
    else:
        terminal.note("there is no group yet: no worker has pulled")
    terminal.text(f"{counted(stats.history, 'event')} in the history")
    if workers:
        terminal.text("")
        _show_table(worker_table(workers, now), terminal)
    if organs := organ_lines(workers):
        terminal.text("")
        _show_table(organ_table(organs), terminal)
    for remark in remarks(workers, now):
        terminal.note(remark)
    if oldest:
        _show_pending(oldest, stats.pending, terminal)
    return Exit.OK


def _show_table(table: Table, terminal: Terminal) -> None:
    fitted = table.fitted()
    terminal.table(fitted.header, fitted.rows)


def _row(group: Group) -> list[object]:
    stats = group.stats
    times = ["-" if since is None else span(since) for since in (stats.oldest_pending, group.behind)]
    return [group.name, stats.queued, stats.pending, stats.scheduled, stats.dead, stats.consumers, *times]


def _show_pending(oldest: list[PendingDelivery], count: int, terminal: Terminal) -> None:
    terminal.text("")
    columns = Columns(terminal, "pending for", "attempt", "event type", "event", "organs", "worker")
    for pending in oldest:
        organs = "all" if pending.organs is None else ", ".join(pending.organs)
        facts = (span(pending.idle), str(pending.attempt), pending.event.event_type, str(pending.event.id))
        columns.row(*facts, organs, pending.consumer)
    columns.flush()
    if count > len(oldest):
        terminal.text(f"and {count - len(oldest)} more")

"""`necrostack top`: what waits, who works and how fast, as it goes on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from necrostack.backend import Group
from necrostack.cli.arguments import add_examples, add_interval, add_json
from necrostack.cli.facts import group_facts
from necrostack.cli.fitting import Table
from necrostack.cli.fleet import (
    is_blocked,
    organ_facts,
    organ_lines,
    organ_table,
    per_second,
    remarks,
    topology_facts,
    worker_facts,
    worker_table,
)
from necrostack.cli.looks import Look, look
from necrostack.cli.screen import Line, wrapped
from necrostack.cli.target import Target, add_target, with_target
from necrostack.cli.terminal import Terminal
from necrostack.cli.times import shown, span
from necrostack.cli.watching import INTERVAL, view, watch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Show what waits for each group and how that changes, what the Organs do, and what the workers say of"
        " themselves, until q or Ctrl-C. In a terminal, with rich, it stays in one place; else there is a block of"
        " lines for each look. It only looks. A backend that goes away is waited for."
    )
    add_target(parser)
    add_interval(parser, INTERVAL)
    add_json(parser, "write each look as one JSON object, one a line")
    add_examples(
        parser,
        ("necrostack top shop.app", "watch it, until q"),
        ("necrostack top shop.app --once", "one look, for a log"),
        ("necrostack top --backend redis://localhost:6379 --interval 10 --json", "for a program"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Show it."""

    async def top(target: Target) -> int:
        def draw(seen: Look, width: int | None) -> Sequence[Line]:
            return [*_lines(seen, _title(target), width)]

        with view(terminal, draw, _facts, as_json=arguments.json, redraws=arguments.count != 1) as chosen:
            return await watch(
                lambda before: look(target.admin, before),
                *(chosen, terminal, arguments.interval or INTERVAL, arguments.count),
            )

    return with_target(arguments, terminal, top)


def _title(target: Target) -> str:
    told = repr(target.backend)
    return type(target.backend).__name__ if " object at " in told else told.strip("<>")


# --- lines ----------------------------------------------------------------------------------------------


def _lines(seen: Look, title: str, width: int | None) -> Iterator[Line]:
    organs, told = organ_lines(seen.workers), [*remarks(seen.workers, seen.time)]
    yield Line(f"{shown(seen.time)}  {title}" if width is None else f"{seen.time:%H:%M:%S}Z  {title}", "quiet")
    yield from (Line(part, "bad") for remark in told for part in wrapped(remark, width))
    yield Line("")
    if seen.groups:
        yield from _table_lines(_group_table(seen), width)
    else:
        yield Line("there is no group yet: no worker has pulled")
    if organs:
        failing = {organ.name for organ in organs if organ.failed > 0}
        yield Line("")
        yield from _table_lines(organ_table(organs), width, bad=failing)
    yield Line("")
    yield from _worker_lines(seen, width)


def _worker_lines(seen: Look, width: int | None) -> Iterator[Line]:
    if not seen.workers:
        yield Line("no worker is alive")
        return
    blocked = {worker.name for worker in seen.workers if is_blocked(worker, seen.time)}
    yield from _table_lines(worker_table(seen.workers, seen.time), width, bad=blocked)


def _table_lines(table: Table, width: int | None, bad: set[str] | None = None) -> Iterator[Line]:
    header, *rows = (table if width is None else table.fitted(width)).lines()
    yield Line(header, "heading")
    for row, line in zip(table.rows, rows, strict=True):
        yield Line(line, "bad" if row[0] in (bad or ()) else "plain")


def _group_table(seen: Look) -> Table:
    header = (
        *("group", "queued", "queued/s", "pending", "scheduled", "dead", "dead/s"),
        *("workers", "oldest pending", "behind"),
    )
    return Table(header, [_group_row(seen, group) for group in seen.groups], ("oldest pending", "workers", "dead/s"))


def _group_row(seen: Look, group: Group) -> Sequence[object]:
    stats = group.stats
    queued, dead = _changes(seen, group)
    return (
        *(group.name, stats.queued, _change(queued), stats.pending, stats.scheduled, stats.dead, _change(dead)),
        *(stats.consumers, _time(stats.oldest_pending), _time(group.behind)),
    )


def _changes(seen: Look, group: Group) -> tuple[float | None, float | None]:
    return seen.change(group, lambda stats: stats.queued), seen.change(group, lambda stats: stats.dead)


def _change(rate: float | None) -> str:
    return "-" if rate is None else f"{'+' if rate > 0 else ''}{per_second(rate)}"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)


# --- JSON -----------------------------------------------------------------------------------------------


def _facts(seen: Look) -> dict[str, Any]:
    return {
        "groups": [_facts_of(seen, group) for group in seen.groups],
        "organs": [organ_facts(organ) for organ in organ_lines(seen.workers)],
        "workers": [worker_facts(worker) for worker in seen.workers],
        "topologies": topology_facts(seen.workers),
        "remarks": remarks(seen.workers, seen.time),
    }


def _facts_of(seen: Look, group: Group) -> dict[str, Any]:
    queued, dead = _changes(seen, group)
    return group_facts(group) | {"queued_per_second": queued, "dead_per_second": dead}

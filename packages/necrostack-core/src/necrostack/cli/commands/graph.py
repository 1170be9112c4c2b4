"""`necrostack graph`: who listens to what, and what goes on there."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from necrostack.cli.apps import load_app
from necrostack.cli.arguments import add_app, add_backend, add_examples, add_interval, add_json
from necrostack.cli.charts import NO_FIGURES, Figures, dot, mermaid, text
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.fleet import remarks
from necrostack.cli.flow import Flow, FlowLook, FlowLooker, running_topology
from necrostack.cli.picture import png, svg
from necrostack.cli.printable import json_text
from necrostack.cli.screen import Line, can_redraw, wrapped
from necrostack.cli.target import Target, with_target
from necrostack.cli.terminal import Terminal, counted
from necrostack.cli.times import shown
from necrostack.cli.watching import INTERVAL, view, watch
from necrostack.cli.writing import whole_file
from necrostack.topology import Topology

_FORMATS = ("mermaid", "dot", "text", "json", "svg", "png")

_NOBODY_SPEAKS = "no worker is alive that says what it runs; name an APP, whose topology is known"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Draw the Organs of a Spine and the event types between them, as their annotations say. An Organ "
        "without a return annotation may emit anything; nothing is drawn for that. With --live, say beside it what "
        "goes on: in a terminal as text that is drawn again and again until q or Ctrl-C, else once."
    )
    add_app(parser)
    parser.add_argument(
        "--format", choices=_FORMATS, help="how to draw it; as the name after --output ends, or else Mermaid"
    )
    parser.add_argument("--output", metavar="FILE", help="where to write it; to stdout unless given")
    parser.add_argument(
        "--check", action="store_true", help="end with 6 if emitted events go nowhere, or lead back in a loop"
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="with what the workers do: how much goes where, what is pending, and dead letters; without APP, what the "
        "workers run that --backend leads to",
    )
    add_backend(parser)
    add_interval(parser, INTERVAL)
    add_json(parser, "the same as --format json; with --interval or --count one object a line for each look")
    add_examples(
        parser,
        ("necrostack graph shop.app", "a Mermaid diagram, for a Markdown file"),
        ("necrostack graph shop.app --output shop.svg", "a picture"),
        ("necrostack graph shop.app --check --json", "in a build: it ends with 6 at dead ends and loops"),
        ("necrostack graph --live --backend redis://localhost:6379", "what goes on in the workers there"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Draw it."""
    if arguments.live:
        return with_target(arguments, terminal, lambda target: _live(target, arguments, terminal))
    if arguments.interval is not None or arguments.count is not None:
        msg = "--interval, --count and --once are for --live: nothing else changes from one look to the next"
        raise CommandError(msg, Exit.USAGE)
    topology = load_app(arguments.app).topology
    return _end(topology, _drawn(topology, _format(arguments)), arguments, terminal)


def _end(topology: Topology, drawn: str | bytes, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Write what was drawn, and check it if that was asked for."""
    if arguments.output is not None:
        with whole_file(arguments.output, is_private=False) as file:
            file.write(drawn if isinstance(drawn, bytes) else f"{drawn}\n".encode())
        terminal.note(f"drawn to {arguments.output}")
    elif isinstance(drawn, bytes):
        terminal.binary(drawn)
    else:
        terminal.text(drawn)
    if arguments.check:
        _check(topology, terminal)
    return Exit.OK


def _format(arguments: argparse.Namespace) -> str:
    """In what form to draw it: as it is said, or as the name of the file ends."""
    if arguments.json:
        return "json"
    ending = Path(arguments.output or "").suffix.removeprefix(".")
    by_ending = ending if ending in _FORMATS else _ENDINGS.get(ending, "mermaid")
    return str(arguments.format or by_ending)


_ENDINGS = {"gv": "dot", "mmd": "mermaid"}


def _drawn(
    topology: Topology, form: str, figures: Figures = NO_FIGURES, facts: Mapping[str, Any] | None = None
) -> str | bytes:
    match form:
        case "json":
            return json_text(facts or topology.to_dict(), 2)
        case "dot":
            return "\n".join(dot(topology, figures))
        case "text":
            return "\n".join(line.text for line in text(topology, figures))
        case "svg":
            return "\n".join(svg(topology, figures))
        case "png":
            return png("\n".join(svg(topology, figures)))
    return "\n".join(mermaid(topology, figures))


# --- live -----------------------------------------------------------------------------------------------


async def _live(target: Target, arguments: argparse.Namespace, terminal: Terminal) -> int:
    look, is_repeated = FlowLooker(target.admin), arguments.interval is not None or arguments.count is not None
    is_plain = not (arguments.format or arguments.output or arguments.json or arguments.check)
    is_text = arguments.json or (arguments.format in (None, "text") and arguments.output is None)
    if (is_plain and can_redraw()) or (is_repeated and is_text):

        def draw(seen: FlowLook, width: int | None) -> Sequence[Line]:
            return [*_lines(_topology(target, seen), seen, width)]

        def facts(seen: FlowLook) -> Mapping[str, Any]:
            return _facts(_topology(target, seen), seen)

        redraws = arguments.count != 1
        with view(terminal, draw, facts, as_json=arguments.json, redraws=redraws) as chosen:
            return await watch(look, chosen, terminal, arguments.interval or INTERVAL, arguments.count)
    seen = await look(None)
    topology = _topology(target, seen)
    if not topology.organs:
        raise CommandError(_NOBODY_SPEAKS, Exit.NOT_FOUND)
    drawn = _drawn(topology, _format(arguments), Flow(topology, seen), _facts(topology, seen))
    for remark in remarks(seen.workers, seen.time):
        terminal.note(remark)
    return _end(topology, drawn, arguments, terminal)


def _topology(target: Target, seen: FlowLook) -> Topology:
    return running_topology(seen) if target.spine is None else target.spine.topology


def _facts(topology: Topology, seen: FlowLook) -> dict[str, Any]:
    return topology.to_dict() | {"time": shown(seen.time), "live": Flow(topology, seen).facts()}


def _lines(topology: Topology, seen: FlowLook, width: int | None) -> Iterator[Line]:
    stats = seen.stats
    waiting = f"{stats.queued} queued, {stats.pending} pending, {stats.scheduled} scheduled, {stats.dead} dead"
    time = shown(seen.time) if width is None else f"{seen.time:%H:%M:%S}Z"
    yield Line(f"{time}  {waiting}, {counted(stats.consumers, 'worker')}", "quiet")
    for remark in remarks(seen.workers, seen.time):
        yield from (Line(part, "bad") for part in wrapped(remark, width))
    yield Line("")
    yield from text(topology, Flow(topology, seen)) if topology.organs else [Line(_NOBODY_SPEAKS)]


# --- the check ------------------------------------------------------------------------------------------


def _check(topology: Topology, terminal: Terminal) -> None:
    """Name what is odd.

    Raises:
        CommandError: There is something (exit code 6).
    """
    problems = [
        f"{' and '.join(organ.name for organ in topology.organs if event_type in (organ.emits or ()))} "
        f"may emit {event_type!r}, but nobody listens to it"
        for event_type in topology.dead_ends
    ]
    problems += [f"a loop: events of {' and '.join(names)} lead back to them" for names in topology.cycles]
    for problem in problems:
        terminal.error(problem)
    if problems:
        msg = f"{counted(len(problems), 'problem')} found"
        raise CommandError(msg, Exit.CHECK_FAILED)

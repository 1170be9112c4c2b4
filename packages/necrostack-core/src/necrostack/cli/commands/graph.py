"""`necrostack graph`: who listens to what."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from necrostack.cli.apps import load_app
from necrostack.cli.arguments import add_app, add_examples, add_json
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.picture import png, svg
from necrostack.cli.printable import json_text
from necrostack.cli.terminal import Terminal, counted
from necrostack.cli.writing import whole_file
from necrostack.topology import Topology

_OUTSIDE, _NOBODY = "outside", "nobody"
"""The nodes where events come from that no Organ emits, and where those go that nobody listens to."""


_FORMATS = ("mermaid", "dot", "json", "svg", "png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Draw the Organs of a Spine and the event types between them, as their annotations say. An Organ "
        "without a return annotation may emit anything; nothing is drawn for that."
    )
    add_app(parser)
    parser.add_argument(
        "--format", choices=_FORMATS, help="how to draw it; as the name after --output ends, or else Mermaid"
    )
    parser.add_argument("--output", metavar="FILE", help="where to write it; to stdout unless given")
    parser.add_argument(
        "--check", action="store_true", help="end with 6 if emitted events go nowhere, or lead back in a loop"
    )
    add_json(parser, "the same as --format json")
    add_examples(
        parser,
        ("necrostack graph shop.app", "a Mermaid diagram, for a Markdown file"),
        ("necrostack graph shop.app --output shop.svg", "a picture"),
        ("necrostack graph shop.app --check --json", "in a build: it ends with 6 at dead ends and loops"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Draw it."""
    topology = load_app(arguments.app).topology
    drawn = _drawn(topology, _format(arguments))
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


def _drawn(topology: Topology, form: str) -> str | bytes:
    match form:
        case "json":
            return json_text(topology.to_dict(), 2)
        case "dot":
            return "\n".join(dot(topology))
        case "svg":
            return "\n".join(svg(topology))
        case "png":
            return png("\n".join(svg(topology)))
    return "\n".join(mermaid(topology))


def mermaid(topology: Topology) -> Iterator[str]:
    """Draw a flow chart for Mermaid, https://mermaid.js.org/syntax/flowchart.html, line by line."""
    yield "flowchart LR"
    for node, label in _nodes(topology):
        begin, end = ("([", "])") if node in (_OUTSIDE, _NOBODY) else ("[", "]")
        yield f'    {node}{begin}"{_mermaid_text(label)}"{end}'
    for source, event_types, target in _arrows(topology):
        yield f'    {source} -- "{"<br/>".join(map(_mermaid_text, event_types))}" --> {target}'


def dot(topology: Topology) -> Iterator[str]:
    """Draw a graph for Graphviz, https://graphviz.org/doc/info/lang.html, line by line."""
    yield "digraph {"
    yield "    rankdir=LR"
    yield "    node [shape=box]"
    for node, label in _nodes(topology):
        shape = ", shape=ellipse" if node in (_OUTSIDE, _NOBODY) else ""
        yield f"    {node} [label={_dot_text(label)}{shape}]"
    for source, event_types, target in _arrows(topology):
        yield f"    {source} -> {target} [label={_dot_text(*event_types)}]"
    yield "}"


def _nodes(topology: Topology) -> Iterator[tuple[str, str]]:
    """The nodes: id and label."""
    if topology.orphans:
        yield _OUTSIDE, "outside"
    for name, node in _organ_nodes(topology).items():
        yield node, name
    if topology.dead_ends:
        yield _NOBODY, "nobody"


def _organ_nodes(topology: Topology) -> dict[str, str]:
    return {organ.name: f"organ{number}" for number, organ in enumerate(topology.organs)}


def _arrows(topology: Topology) -> Iterator[tuple[str, list[str], str]]:
    """The arrows: one between two nodes, with all the event types that go that way."""
    ways: dict[tuple[str, str], list[str]] = {}
    for source, event_type, target in _ways(topology):
        ways.setdefault((source, target), []).append(event_type)
    for (source, target), event_types in ways.items():
        yield source, event_types, target


def _ways(topology: Topology) -> Iterator[tuple[str, str, str]]:
    nodes = _organ_nodes(topology)
    for organ in topology.organs:
        node = nodes[organ.name]
        yield from ((_OUTSIDE, name, node) for name in organ.listens_to if name in topology.orphans)
    for source, event_type, target in topology.edges:
        yield nodes[source], event_type, nodes[target]
    for organ in topology.organs:
        node = nodes[organ.name]
        yield from ((node, name, _NOBODY) for name in organ.emits or () if name in topology.dead_ends)


def _mermaid_text(text: str) -> str:
    """Write what would end or change a quoted text as an entity: `#` and its code."""
    return "".join(char if char.isalnum() or char in " _-.,:/" else f"#{ord(char)};" for char in text)


def _dot_text(*lines: str) -> str:
    escaped = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return f'"{escaped}"'


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

"""`necrostack graph`: every Organ and every way of an event is drawn, whatever they are called."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack.cli.commands.graph import dot, mermaid
from necrostack.topology import OrganNode, Topology

if TYPE_CHECKING:
    from cli.conftest import Run

MERMAID = """\
flowchart LR
    outside(["outside"])
    organ0["Doubler"]
    organ1["Printer"]
    outside -- "CLI_COUNTED" --> organ0
    organ0 -- "CLI_DOUBLED" --> organ1
"""

DOT = """\
digraph {
    rankdir=LR
    node [shape=box]
    outside [label="outside", shape=ellipse]
    organ0 [label="Doubler"]
    organ1 [label="Printer"]
    outside -> organ0 [label="CLI_COUNTED"]
    organ0 -> organ1 [label="CLI_DOUBLED"]
}
"""

LOOP = """\
from typing import Literal
from necrostack import Event, Organ, Spine


class Tick(Event):
    event_type: Literal["CLI_TICK"] = "CLI_TICK"


class Tock(Event):
    event_type: Literal["CLI_TOCK"] = "CLI_TOCK"


class Lost(Event):
    event_type: Literal["CLI_LOST"] = "CLI_LOST"


class Left(Organ[Tick]):
    listens_to = [Tick]

    def handle(self, event: Tick) -> Tock: ...


class Right(Organ[Tock]):
    listens_to = [Tock]

    def handle(self, event: Tock) -> Tick | Lost: ...


spine = Spine([Left(), Right()])
"""


@pytest.mark.parametrize(("arguments", "drawn"), [((), MERMAID), (("--format", "dot"), DOT)])
def test_the_graph_is_drawn(necrostack: Run, app: str, arguments: tuple[str, ...], drawn: str) -> None:
    ended = necrostack("graph", app, *arguments)

    assert (ended.code, ended.out, ended.err) == (0, drawn, "")


@pytest.mark.parametrize("arguments", [("--format", "json"), ("--json",)])
def test_the_graph_as_json_is_the_topology(necrostack: Run, app: str, arguments: tuple[str, ...]) -> None:
    graph = json.loads(necrostack("graph", app, *arguments).out)

    assert graph["edges"] == [{"from": "Doubler", "event_type": "CLI_DOUBLED", "to": "Printer"}]
    assert [organ["name"] for organ in graph["organs"]] == ["Doubler", "Printer"]


def test_a_graph_without_problems_passes_the_check(necrostack: Run, app: str) -> None:
    ended = necrostack("graph", app, "--check")

    assert (ended.code, ended.out, ended.err) == (0, MERMAID, "")


def test_the_check_names_dead_ends_and_loops_and_the_graph_is_drawn_nevertheless(necrostack: Run, folder: Path) -> None:
    (folder / "cli_loop.py").write_text(LOOP)

    ended = necrostack("graph", "cli_loop", "--check")

    assert ended.code == 6
    assert '    organ1 -- "CLI_LOST" --> nobody\n' in ended.out
    assert ended.told == [
        "necrostack: error: Right may emit 'CLI_LOST', but nobody listens to it",
        "necrostack: error: a loop: events of Left and Right lead back to them",
        "necrostack: error: 2 problems found",
    ]


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=10)


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True), NAMES)
def test_no_name_breaks_a_line(organs: list[str], event_type: str) -> None:
    first, second = organs
    topology = Topology(
        (
            OrganNode(name=first, listens_to=("CLI_START",), emits=(event_type,), is_async=True),
            OrganNode(name=second, listens_to=(event_type,), emits=None, is_async=False),
        )
    )

    mermaid_text, dot_text = "\n".join(mermaid(topology)), "\n".join(dot(topology))

    # Between the quotes there is nothing that would end them, and the name can be read back.
    labels = [unescaped(label) for label in re.findall(r'"((?:[^"])*)"', mermaid_text)]
    assert labels.count(first) >= 1
    assert labels.count(second) >= 1
    assert event_type in labels
    quoted = [re.sub(r"\\(.)", r"\1", label) for label in re.findall(r'"((?:[^"\\]|\\.)*)"', dot_text)]
    assert {first, second, event_type} <= {*quoted}


def unescaped(label: str) -> str:
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), label)

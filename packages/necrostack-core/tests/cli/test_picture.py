"""Pictures of the topology: everything is in them, nothing lies on anything else, and they are read by others."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from necrostack.cli.layers import Layout, Line, Size, lay_out
from necrostack.cli.picture import svg
from necrostack.cli.writing import whole_file
from necrostack.topology import OrganNode, Topology

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run

SVG = "{http://www.w3.org/2000/svg}"


def organ(name: str, listens_to: Sequence[str], emits: Sequence[str] | None) -> OrganNode:
    return OrganNode(
        name=name, listens_to=tuple(listens_to), emits=None if emits is None else tuple(emits), is_async=True
    )


SHOP = Topology(
    (
        organ("Payment", ["PLACED", "RETRIED"], ["PAID", "FAILED"]),
        organ("Dunning", ["FAILED"], ["RETRIED", "GIVEN_UP"]),
        organ("Audit", ["PAID"], None),
        organ("Poller", ["TICK"], ["TICK"]),
    )
)


def drawn(topology: Topology) -> ElementTree.Element:
    return ElementTree.fromstring("\n".join(svg(topology)))  # noqa: S314 -- our own


def texts(picture: ElementTree.Element, of: str) -> list[str]:
    """What is written in the nodes of a kind."""
    found = [group for group in picture.iter(f"{SVG}g") if group.get("class") == of]
    return ["|".join(text.text or "" for text in group.iter(f"{SVG}text")) for group in found]


def test_every_organ_and_event_type_is_drawn_as_what_it_is() -> None:
    picture = drawn(SHOP)

    assert texts(picture, "organ") == ["Payment", "Dunning", "Audit|may emit anything", "Poller"]
    assert texts(picture, "outside") == ["PLACED|from outside"]
    assert texts(picture, "nobody") == ["GIVEN_UP|nobody listens"]
    assert texts(picture, "event") == ["RETRIED", "PAID", "FAILED", "TICK"]


def test_what_is_in_a_loop_is_drawn_so_and_what_leads_back_too() -> None:
    paths = [path.get("class") for path in drawn(SHOP).iter(f"{SVG}path") if path.get("marker-end")]

    # Payment, FAILED, Dunning, RETRIED, and back; TICK, Poller, and back.
    assert paths.count("loop back") == 2
    assert paths.count("loop") == 4
    assert paths.count("") == 4


def test_event_types_that_go_the_same_ways_are_one_node_that_names_them_all() -> None:
    names = [f"TYPE_{number}" for number in range(10)]
    picture = drawn(Topology((organ("Census", names, []),)))

    (node,) = texts(picture, "outside")
    assert node == "TYPE_0|TYPE_1|TYPE_2|TYPE_3|TYPE_4|TYPE_5|and 4 more|from outside"
    assert ", ".join(names) in [title.text for title in picture.iter(f"{SVG}title")]


NAMES = st.text(min_size=1, max_size=8)


@settings(max_examples=30)
@given(NAMES, NAMES)
def test_no_name_breaks_a_picture(name: str, event_type: str) -> None:
    assert len([*drawn(Topology((organ(name, [event_type], None),))).iter(f"{SVG}rect")]) == 3


def test_without_organs_it_is_an_empty_picture() -> None:
    assert texts(drawn(Topology(())), "organ") == []


# --- the layout -----------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, Size], dict[str, int], list[tuple[str, str]]]:
    events = [f"e{number}" for number in range(draw(st.integers(1, 6)))]
    organs = [f"o{number}" for number in range(draw(st.integers(1, 6)))]
    sizes = {name: Size(draw(st.sampled_from([40.0, 90.0])), draw(st.sampled_from([30.0, 50.0]))) for name in events}
    sizes |= dict.fromkeys(organs, Size(60.0, 30.0))
    ways = st.lists(st.tuples(st.sampled_from(events), st.sampled_from(organs), st.booleans()), max_size=20)
    lines = dict.fromkeys((e, o) if to_organ else (o, e) for e, o, to_organ in draw(ways))
    return sizes, {name: int(name.startswith("o")) for name in sizes}, [*lines]


@settings(max_examples=50)
@given(graphs())
def test_nothing_lies_on_anything_else_and_lines_go_to_the_right_but_in_loops(
    graph: tuple[dict[str, Size], dict[str, int], list[tuple[str, str]]],
) -> None:
    sizes, firsts, lines = graph

    layout = lay_out(sizes, firsts, lines)

    assert [(line.source, line.target) for line in layout.lines] == lines
    for one, other in itertools.combinations(sizes, 2):
        assert are_apart(layout, sizes, one, other)
    for line in layout.lines:
        along = [x for x, _ in line.points]
        assert along == sorted(along, reverse=line.leads_back)
        assert passes_through(line, layout, sizes) == []
    for x, y in [*layout.centers.values(), *(point for line in layout.lines for point in line.points)]:
        assert -1e-6 <= x <= layout.size.width + 1e-6
        assert -1e-6 <= y <= layout.size.height + 1e-6


def are_apart(layout: Layout, sizes: dict[str, Size], one: str, other: str) -> bool:
    (x, y), (u, v) = layout.centers[one], layout.centers[other]
    return (
        abs(x - u) >= (sizes[one].width + sizes[other].width) / 2
        or abs(y - v) >= (sizes[one].height + sizes[other].height) / 2
    )


def passes_through(line: Line, layout: Layout, sizes: dict[str, Size]) -> list[str]:
    """The nodes that a line goes through where it goes straight; it begins and ends at its own."""
    return [
        node
        for (x, y), (u, v) in itertools.pairwise(line.points)
        if y == v
        for node, (a, b) in layout.centers.items()
        if node not in (line.source, line.target)
        if min(x, u) < a + sizes[node].width / 2 and max(x, u) > a - sizes[node].width / 2
        if abs(y - b) < sizes[node].height / 2
    ]


# --- the command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (["--output", "graph.svg"], b"<svg "),
        (["--output", "graph.png"], b"\x89PNG"),
        (["--output", "graph.dot"], b"digraph"),
        (["--output", "graph.txt"], b"flowchart"),
        (["--output", "graph.txt", "--format", "json"], b"{"),
    ],
)
def test_a_picture_is_written_to_a_file_as_its_name_or_the_format_says(
    necrostack: Run, app: str, folder: Path, arguments: list[str], begin: bytes
) -> None:
    ended = necrostack("graph", app, *arguments)

    if "this machine has no font" in ended.err:
        pytest.skip("there is no font to draw with")
    assert (ended.code, ended.out, ended.told) == (0, "", [f"necrostack: drawn to {arguments[1]}"])
    assert (folder / arguments[1]).read_bytes().startswith(begin)


def test_a_picture_of_what_goes_on_is_written_to_its_file_also_when_it_is_asked_for_once(
    necrostack: Run, app: str, folder: Path, lasting: Lasting
) -> None:
    ended = necrostack("graph", app, "--backend", "lasting://", "--live", "--once", "--output", "live.svg")

    assert (ended.code, ended.out) == (0, "")
    assert "0/s" in (folder / "live.svg").read_text()


def test_a_picture_may_go_to_stdout(necrostack: Run, app: str) -> None:
    assert necrostack("graph", app, "--format", "svg").out.startswith("<svg ")


def test_a_png_is_not_written_to_a_terminal(necrostack: Run, app: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout.__class__, "isatty", lambda _: True)

    ended = necrostack("graph", app, "--format", "png")

    assert (ended.code, ended.out) == (2, "")
    assert ended.told == ["necrostack: error: this is no text for a terminal; write it to a file with --output FILE"]


def test_what_png_needs_is_named_where_it_is_not_installed(
    necrostack: Run, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    ended = necrostack("graph", app, "--format", "png")

    assert ended.code == 2
    assert "pip install 'necrostack[pictures]'" in ended.told[0]


def test_where_there_is_no_font_png_is_not_drawn_without_names(
    necrostack: Run, app: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resvg_py.svg_to_bytes", lambda *_, **__: b"")

    ended = necrostack("graph", app, "--output", "graph.png")

    assert ended.code == 1
    assert ended.told[0].startswith("necrostack: error: this machine has no font to draw names with; install one of ")
    assert not (folder / "graph.png").exists()


@pytest.mark.parametrize("path", ["absent/graph.svg", "."])
def test_a_file_that_cannot_be_written_is_told(necrostack: Run, app: str, path: str) -> None:
    ended = necrostack("graph", app, "--format", "svg", "--output", path)

    assert (ended.code, ended.out, len(ended.told)) == (1, "", 1)
    assert ended.told[0].startswith(f"necrostack: error: --output {path}: ")


def test_a_file_is_there_only_when_it_is_whole(folder: Path) -> None:
    (folder / "graph.svg").write_text("as it was")

    with pytest.raises(KeyboardInterrupt), whole_file("graph.svg", is_private=False) as file:  # noqa: PT012 -- in it
        file.write(b"half of it")
        raise KeyboardInterrupt

    assert [path.name for path in folder.iterdir()] == ["graph.svg"]
    assert (folder / "graph.svg").read_text() == "as it was"

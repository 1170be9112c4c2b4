"""`necrostack graph`: every Organ and every way of an event is drawn, whatever they are called."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack import Event, InMemoryBackend
from necrostack.backend import Consumer
from necrostack.cli.charts import dot, mermaid
from necrostack.cli.flow import Flow, FlowLooker, running_topology
from necrostack.cli.looks import Look
from necrostack.delivery import Failure, Retry, Settlement
from necrostack.fleet import Announcement
from necrostack.report import OrganReport, RunReport
from necrostack.topology import OrganNode, Topology

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run

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


# --- what goes on -------------------------------------------------------------------------------------------

BACKEND = ("--backend", "lasting://")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def said(topology: Topology | None, **organs: OrganReport) -> Announcement:
    return Announcement(
        host="alpha",
        pid=7,
        version="1.0",
        python="3.11.9",
        started_at=NOW,
        at=datetime.now(UTC),
        report=RunReport(organs=organs),
        recent=RunReport(duration=2.0, organs=organs),
        topology=topology,
    )


def node(name: str, listens_to: str, emits: str = "") -> OrganNode:
    return OrganNode(name=name, listens_to=tuple(listens_to.split()), emits=tuple(emits.split()), is_async=True)


SHOP = Topology(
    (
        node("Billing", "ORDERED", "INVOICED"),
        node("Shipping", "INVOICED", "SHIPPED RETURNED"),
        node("Audit", "ORDERED INVOICED SHIPPED"),
        node("Mail", "RETURNED"),
    )
)

WORK = {
    "Billing": OrganReport(handled=20, emitted=18, failed=2),
    "Shipping": OrganReport(handled=18, emitted=17),
    "Audit": OrganReport(handled=50),
    "Mail": OrganReport(handled=5),
}

LIVE = """\
Billing                   10/s, 1.0 failed/s, 2 pending, 1 dead
  ← ORDERED from outside  10/s
  → INVOICED to Shipping  9.0/s
  → INVOICED to Audit     9.0/s
Shipping                  9.0/s, 1 pending
  → SHIPPED to Audit
  → RETURNED to Mail      2.5/s
Audit                     25/s, 2 pending
  ← ORDERED from outside
Mail                      2.5/s
"""


def working(lasting: Lasting, about: Announcement) -> None:
    """Let a worker hold an order, one that is for Billing alone now, and two other events; and leave a dead letter."""

    async def work() -> None:
        names = ("ORDERED", "ORDERED", "INVOICED", "CLI_OTHER")
        await lasting.enqueue(*[Event(event_type=name, payload={}) for name in names])
        await lasting.settle(
            Settlement((await lasting.pull())[0], retries=[Retry(organ="Billing", delay=0.0)], dead=[GIVEN_UP])
        )
        await lasting.pull(limit=4)
        await lasting.inner.announce(about)

    asyncio.run(work())


GIVEN_UP = Failure(reason="give_up", organ="Billing")


def test_what_goes_on_is_told_where_it_is_known(necrostack: Run, lasting: Lasting) -> None:
    working(lasting, said(SHOP, **WORK))

    ended = necrostack("graph", "--live", *BACKEND, "--format", "text")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out == LIVE


def test_figures_are_drawn_in_each_form(necrostack: Run, lasting: Lasting) -> None:
    working(lasting, said(SHOP, **WORK))

    drawn = {form: necrostack("graph", "--live", *BACKEND, "--format", form).out for form in ("mermaid", "dot", "svg")}
    found = json.loads(necrostack("graph", "--live", *BACKEND, "--json").out)

    assert '    organ3["Mail<br/>2.5/s"]\n' in drawn["mermaid"]
    assert '    organ1 -- "RETURNED<br/>2.5/s" --> organ3\n' in drawn["mermaid"]
    assert '    organ1 -> organ3 [label="RETURNED\\n2.5/s"]\n' in drawn["dot"]
    assert "10/s, 1.0 failed/s, 2 pending, 1 dead" in drawn["svg"]
    assert found["edges"] == SHOP.to_dict()["edges"]
    billing = found["live"]["organs"][0]
    assert (billing["name"], billing["pending"], billing["dead"], billing["dead_is_counted"]) == ("Billing", 2, 1, True)
    rates = {(way["from"], way["to"]): way["per_second"] for way in found["live"]["ways"]}
    assert (rates["Shipping", "Audit"], rates["Shipping", "Mail"], rates[None, "Billing"]) == (None, 2.5, 10.0)
    assert found["live"]["stats"]["pending"] == 4


def test_the_organs_of_an_app_are_drawn_also_when_nobody_works(necrostack: Run, app: str, lasting: Lasting) -> None:
    ended = necrostack("graph", app, "--live", *BACKEND, "--format", "text")

    assert ended.out.splitlines()[0].split() == ["Doubler", "0/s"]


def test_without_app_and_workers_there_is_nothing_to_draw(necrostack: Run, lasting: Lasting) -> None:
    ended = necrostack("graph", "--live", *BACKEND)

    assert (ended.code, ended.out) == (5, "")
    assert ended.told == [
        "necrostack: error: no worker is alive that says what it runs; name an APP, whose topology is known"
    ]


def test_workers_that_run_different_organs_are_drawn_together(necrostack: Run, lasting: Lasting) -> None:
    abouts = [said(Topology(SHOP.organs[:2])), said(Topology(SHOP.organs[2:])), said(None)]
    workers = [Consumer(name=f"alpha-{n}", pending=0, idle=0.0, about=about) for n, about in enumerate(abouts)]

    assert running_topology(Look((), workers)) == SHOP


def test_looks_again_and_again_are_objects_a_line_or_blocks(necrostack: Run, lasting: Lasting) -> None:
    working(lasting, said(SHOP, **WORK))
    again = ("--count", "2", "--interval", "0.1")

    as_json = necrostack("graph", "--live", *BACKEND, "--json", *again).out
    blocks = necrostack("graph", "--live", *BACKEND, *again).out

    assert [json.loads(line)["live"]["stats"]["dead"] for line in as_json.splitlines()] == [1, 1]
    assert blocks.count("0 queued, 4 pending, 0 scheduled, 1 dead, 1 worker\n") == 2
    assert blocks.count("  → RETURNED to Mail") == 2


async def test_dead_letters_are_counted_again_only_when_that_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = InMemoryBackend()
    looker, counted = FlowLooker(backend.admin), 0

    async def count() -> None:
        nonlocal counted
        counted += 1

    monkeypatch.setattr(looker, "_count_letters", count)
    for _ in range(2):
        await backend.enqueue(Event(event_type="ORDERED", payload={}))
        await backend.settle(Settlement((await backend.pull())[0], dead=[GIVEN_UP]))
        await looker(None)
        await looker(None)

    assert counted == 1


async def test_more_dead_letters_than_are_counted_are_said_to_be_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("necrostack.cli.flow._MOST_LETTERS", 2)
    backend = InMemoryBackend()
    await backend.enqueue(*[Event(event_type="ORDERED", payload={}) for _ in range(3)])
    await backend.settle(*[Settlement(delivery, dead=[GIVEN_UP]) for delivery in await backend.pull(limit=3)])

    seen = await FlowLooker(backend.admin)(None)

    assert Flow(SHOP, seen).of_organ("Billing") == ["0/s", "2 or more dead"]


def test_what_is_for_live_alone_is_refused_without_it(necrostack: Run, app: str) -> None:
    for option in (["--once"], ["--interval", "1"]):
        ended = necrostack("graph", app, *option)

        assert (ended.code, ended.out) == (2, "")
        assert "are for --live" in ended.told[0]


def test_the_text_without_figures_is_what_leads_where(necrostack: Run, app: str) -> None:
    ended = necrostack("graph", app, "--format", "text")

    assert ended.out == ("Doubler\n  ← CLI_COUNTED from outside\n  → CLI_DOUBLED to Printer\nPrinter\n")

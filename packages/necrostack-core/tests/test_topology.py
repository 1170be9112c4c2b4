"""The graph: what is known before anything runs."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack.event import Event
from necrostack.organ import Organ
from necrostack.routing import Routes, topology_of
from necrostack.topology import OrganNode, Topology


class Opened(Event):
    event_type: Literal["TOPOLOGY_OPENED"] = "TOPOLOGY_OPENED"


class Closed(Event):
    event_type: Literal["TOPOLOGY_CLOSED"] = "TOPOLOGY_CLOSED"


class Either(Event):
    event_type: Literal["TOPOLOGY_LEFT", "TOPOLOGY_RIGHT"]


class Door(Organ):
    listens_to = [Opened, "KNOCKED"]

    async def handle(self, event: Event) -> Closed | list[Opened] | None: ...


class Guard(Organ):
    listens_to = [Closed]

    def handle(self, event: Event) -> Either:
        return Either(event_type="TOPOLOGY_LEFT", payload={})


class Bell(Organ):
    listens_to = ["KNOCKED"]

    def handle(self, event: Event) -> None: ...


def node(name: str, listens_to: str, emits: str | None = "") -> OrganNode:
    return OrganNode(
        name=name,
        listens_to=tuple(listens_to.split()),
        emits=None if emits is None else tuple(emits.split()),
        is_async=False,
    )


SHOP = Topology(
    (
        node("Billing", "ORDERED", "INVOICED REFUSED"),
        node("Shipping", "INVOICED", "SHIPPED"),
        node("Audit", "ORDERED INVOICED", None),
        node("Mail", "SHIPPED RETURNED"),
    )
)


def test_the_graph_of_organs_is_read_from_what_they_declare() -> None:
    graph = topology_of(Routes([Door(), Guard(name="Night guard"), Bell()]).specs)

    assert graph.organs == (
        OrganNode(
            name="Door",
            listens_to=("TOPOLOGY_OPENED", "KNOCKED"),
            emits=("TOPOLOGY_CLOSED", "TOPOLOGY_OPENED"),
            is_async=True,
        ),
        # A class that leaves its event type open may be of any.
        OrganNode(name="Night guard", listens_to=("TOPOLOGY_CLOSED",), emits=None, is_async=False),
        OrganNode(name="Bell", listens_to=("KNOCKED",), emits=(), is_async=False),
    )


def test_event_types_are_listed_as_they_appear() -> None:
    assert SHOP.event_types == ("ORDERED", "INVOICED", "REFUSED", "SHIPPED", "RETURNED")


def test_edges_say_who_leads_to_whom_by_which_event() -> None:
    assert SHOP.edges == (
        ("Billing", "INVOICED", "Shipping"),
        ("Billing", "INVOICED", "Audit"),
        ("Shipping", "SHIPPED", "Mail"),
    )


def test_what_is_emitted_and_nobody_hears_is_a_dead_end() -> None:
    assert SHOP.dead_ends == ("REFUSED",)


def test_what_is_heard_and_nobody_emits_is_an_orphan() -> None:
    assert SHOP.orphans == ("ORDERED", "RETURNED")


def test_an_organ_that_may_emit_anything_leads_to_nothing_that_is_known() -> None:
    assert not [edge for edge in SHOP.edges if edge[0] == "Audit"]


@pytest.mark.parametrize(
    ("nodes", "cycles"),
    [
        ([], ()),
        ([node("A", "x", "y"), node("B", "y", "z")], ()),
        ([node("A", "x", "x")], (("A",),)),
        ([node("A", "x", "y"), node("B", "y", "x")], (("A", "B"),)),
        ([node("C", "z", "x"), node("B", "y", "z"), node("A", "x", "y")], (("C", "B", "A"),)),
        ([node("A", "x", "y"), node("B", "y", "x z"), node("C", "z", "z")], (("A", "B"), ("C",))),
        ([node("In", "a", "x"), node("A", "x", "x out"), node("Out", "out", "")], (("A",),)),
        ([node("A", "x", "x"), node("B", "x", "")], (("A",),)),
    ],
    ids=["none", "chain", "itself", "pair", "ring", "two", "on_the_way", "beside"],
)
def test_organs_whose_events_come_back_to_them_are_a_cycle(
    nodes: list[OrganNode], cycles: tuple[tuple[str, ...], ...]
) -> None:
    assert Topology(tuple(nodes)).cycles == cycles


event_types = st.lists(st.sampled_from("abcdef"), max_size=3).map(tuple)
graphs = st.lists(st.tuples(event_types, event_types), max_size=6).map(
    lambda found: Topology(
        tuple(
            OrganNode(name=str(number), listens_to=listens_to, emits=emits, is_async=False)
            for number, (listens_to, emits) in enumerate(found)
        )
    )
)


@given(graphs)
def test_an_organ_is_in_a_cycle_exactly_when_a_way_leads_from_it_to_itself(graph: Topology) -> None:
    steps = {(source, target) for source, _, target in graph.edges}
    ways = set(steps)
    for _ in graph.organs:
        ways |= {(a, d) for a, b in ways for c, d in steps if b == c}

    in_cycles = [name for cycle in graph.cycles for name in cycle]

    assert sorted(in_cycles) == sorted({a for a, b in ways if a == b})


@given(graphs)
def test_every_event_type_is_heard_or_a_dead_end(graph: Topology) -> None:
    heard = {name for organ in graph.organs for name in organ.listens_to}

    assert heard | {*graph.dead_ends} == {*graph.event_types}
    assert not heard & {*graph.dead_ends}
    assert {*graph.orphans} <= heard


def test_the_fingerprint_depends_on_names_and_on_what_is_heard_and_on_nothing_else() -> None:
    same = Topology((node("Mail", "B A", "X"), node("Audit", "A")))

    assert same.fingerprint == Topology((node("Audit", "A", None), node("Mail", "A B"))).fingerprint
    assert same.fingerprint != Topology((node("Mail", "A B"), node("Log", "A"))).fingerprint
    assert same.fingerprint != Topology((node("Mail", "A"), node("Audit", "A"))).fingerprint


def test_the_graph_is_written_as_json() -> None:
    written = json.loads(json.dumps(SHOP.to_dict()))

    assert written["organs"][0] == {
        "name": "Billing",
        "listens_to": ["ORDERED"],
        "emits": ["INVOICED", "REFUSED"],
        "async": False,
    }
    assert written["organs"][2]["emits"] is None
    assert written["edges"][0] == {"from": "Billing", "event_type": "INVOICED", "to": "Shipping"}
    assert (written["dead_ends"], written["orphans"]) == (["REFUSED"], ["ORDERED", "RETURNED"])
    assert written["cycles"] == []

"""The protocol keeps its promises in every state that can be reached, and the model sees each classic mistake."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from protocol_model import STANDS_FOR, Protocol
from protocol_mutants import MUTANTS, Mutant
from protocol_search import search
from protocol_state import Scenario

from necrostack_redis.scripts import ALL

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "proof.md"

SCENARIOS: dict[str, tuple[Scenario, int]] = {
    "the step": (Scenario(events=("a", "b"), leads_to={"a": ("c",)}, faults=1, ends=1), 52971),
    "what goes again, after a death": (Scenario(leads_to={"a": ("b",)}, failures=2, redrives=2, ends=1), 4172),
    "what is forgotten": (Scenario(events=("a", "b"), faults=1, has_retention=True), 22491),
    "three workers": (Scenario(events=("a", "b"), leads_to={"a": ("c",)}, workers=3, ends=2), 20326),
    "an event that kills": (Scenario(leads_to={"a": ("b",)}, faults=1, ends=1, poison=1, redrives=1), 19223),
    "producers whose calls go together": (Scenario(events=("a", "b"), faults=1, together=2), 6702),
    "a pull that is cancelled": (Scenario(leads_to={"a": ("b",)}, faults=1, ends=1, cancels=2), 18596),
}
"""What is explored, and how many states that has: fewer would mean that the model lost something."""

THOROUGH: dict[str, tuple[Scenario, int]] = {
    "the step, with two faults": (Scenario(leads_to={"a": ("b",)}, faults=2, ends=1), 46538),
    "what goes again, with a fault": (Scenario(leads_to={"a": ("b",)}, failures=2, redrives=2, faults=1), 48140),
    "what goes again, with a fault and a death": (
        Scenario(leads_to={"a": ("b",)}, failures=2, redrives=2, faults=1, ends=1),
        105923,
    ),
    "what is forgotten, after a death": (Scenario(events=("a", "b"), faults=1, ends=1, has_retention=True), 47773),
    "three workers and a fault": (Scenario(leads_to={"a": ("b",)}, workers=3, ends=2, faults=1, poison=1), 60344),
    "producers whose calls go together, with two faults and a death": (
        Scenario(events=("a", "b"), faults=2, together=2, ends=1),
        138171,
    ),
}
"""The same for the session that takes its time."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [*SCENARIOS, *(pytest.param(name, marks=pytest.mark.thorough) for name in THOROUGH)])
def test_every_state_keeps_every_promise(name: str) -> None:
    scenario, states = {**SCENARIOS, **THOROUGH}[name]
    began = time.process_time()

    found = search(Protocol(scenario))

    print(f"\n{name}: {found}, in {time.process_time() - began:.1f} s of processor time")
    assert not found.broken, str(found)
    assert found.states == states


def test_there_are_a_hundred_thousand_states_and_the_page_says_how_many() -> None:
    total = sum(states for _, states in SCENARIOS.values())
    page = PAGE.read_text(encoding="utf-8")

    assert total >= 100_000
    assert f"{total:,} states" in page


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mistake_breaks_the_promise_that_it_must(mutant: type[Mutant]) -> None:
    found = search(mutant(), mutant.breaks)

    print(f"\n{mutant.__doc__} {found}")
    assert found.broken == mutant.breaks


def test_each_mistake_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for mutant in MUTANTS:
        assert mutant.__doc__
        assert f"| {mutant.__doc__.removesuffix('.')} | {mutant.breaks} |" in page


@pytest.mark.parametrize("method", STANDS_FOR)
def test_the_lines_that_a_method_stands_for_are_there(method: str) -> None:
    script, first, last = STANDS_FOR[method]
    (text,) = [known.text for known in ALL if known.name == script]

    assert text.count(first) == 1, f"{method}: {first!r} is not once in {script}.lua; is the model still right?"
    assert last in text[text.index(first) :], f"{method}: {last!r} does not follow in {script}.lua"

"""Whatever is done in whatever order, each backend holds exactly what a model in plain Python holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from backend_machine import BackendMachine, MemoryMachine, RedisMachine
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis_checks import Stand
from redis_mutants import MUTANTS, Mutant

from necrostack.memory_admin import InMemoryAdmin
from necrostack.store import Admitted, Store

SEEN = (
    "emits first, and acknowledges by another call",
    "emits whatever XACK answers",
    "keeps events again when asked again",
    "takes nothing over",
    "takes over without looking at the lease",
    "removes the dead with what they hold",
    "leaves with what it holds",
    "hands back what another holds now",
    "retries too early",
    "hands over what kills for ever",
)
"""Mistakes of `redis_mutants` that show without a lost reply, or a death in the middle of a step."""


@pytest.fixture
def redis_machine(redis_url: str, app: str) -> type[RedisMachine]:
    return type("Machine", (RedisMachine,), {"stand": Stand(redis_url, app)})


def run(machine: type[BackendMachine], examples: int, steps: int, *, shrinks: bool = True) -> None:
    """Let a machine do so many sequences of at most so many steps."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if shrinks else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    machine.drained = machine.steps = 0
    run_state_machine_as_test(machine, settings=chosen)
    print(f"\n{machine.drained} sequences, {machine.steps} steps, 0 differences")
    assert machine.drained >= examples


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("examples", "steps"), [(50, 40), pytest.param(2000, 100, marks=pytest.mark.thorough)])
def test_the_backend_in_memory_holds_what_the_model_holds(examples: int, steps: int) -> None:
    run(MemoryMachine, examples, steps)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("examples", "steps"), [(10, 30), pytest.param(500, 60, marks=pytest.mark.thorough)])
def test_redis_holds_what_the_model_holds(examples: int, steps: int, redis_machine: type[RedisMachine]) -> None:
    run(redis_machine, examples, steps)


# --- the machine sees ----------------------------------------------------------------------------------------


def settles_what_is_not_pending(self: Store, settlements: Sequence[Any], emissions: Sequence[Any]) -> list[bool]:
    for emitted in emissions:
        self.keep(emitted)
    return SETTLE(self, settlements, [Admitted()] * len(emissions))


def forgets_what_is_pending(self: Store, max_length: int | None, before: object) -> int:
    count = max(len(self.history or ()) - (max_length or 0), 0)
    for _ in range(count):
        assert self.history is not None
        self.history.popleft()
    return count


async def redrives_what_went(self: InMemoryAdmin, *ids: str, payload: object = None) -> int:
    for name in ids:
        if (letter := self._store.redriven.pop(name, None)) is not None:
            self._store.dead[name] = letter
    return await REDRIVE(self, *ids)


SETTLE, REDRIVE = Store.settle, InMemoryAdmin.redrive

MISTAKES: tuple[tuple[type, str, Any], ...] = (
    (Store, "settle", settles_what_is_not_pending),
    (Store, "trim", forgets_what_is_pending),
    (Store, "release", lambda self, deliveries: [self.pending.pop(found.receipt, None) for found in deliveries]),
    (InMemoryAdmin, "redrive", redrives_what_went),
)


@pytest.mark.parametrize(
    ("owner", "name", "mistake"),
    [*MISTAKES[:2], *(pytest.param(*mistake, marks=pytest.mark.thorough) for mistake in MISTAKES[2:])],
)
def test_a_mistake_in_memory_is_seen(owner: type, name: str, mistake: Any) -> None:
    with patch.object(owner, name, mistake), pytest.raises(AssertionError):
        run(MemoryMachine, 200, 40, shrinks=False)


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant.mistake in SEEN], ids=str)
def test_a_mistake_on_redis_is_seen(
    mutant: Mutant, redis_machine: type[RedisMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant.seed(monkeypatch)

    with pytest.raises(AssertionError):
        run(redis_machine, 200, 50, shrinks=False)


def test_each_mistake_that_is_to_be_seen_is_seeded() -> None:
    assert set(SEEN) <= {mutant.mistake for mutant in MUTANTS}

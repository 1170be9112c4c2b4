"""The health of a crew: real small processes that say how they are."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from functools import partial

import pytest
from prometheus_client import generate_latest

from necrostack import InMemoryBackend
from necrostack.cli import crew as crew_module
from necrostack.cli.child import Child
from necrostack.cli.crew import Crew
from necrostack.cli.crew_health import CrewHealth

pytestmark = pytest.mark.skipif(os.name == "nt", reason="workers need a POSIX system")

WORKER = """
import json, os, signal, socket, sys
line = socket.socket(fileno=int(os.environ["NECROSTACK_SUPERVISOR"]))
for word in json.loads(sys.argv[1]).get(os.environ["NECROSTACK_WORKER"], []):
    line.sendall(json.dumps(word).encode() + b"\\n")
for order in line.makefile():
    break
line.sendall(b'{"ended": {"handled": 0, "duration": 0.5, "organs": {}}}\\n')
"""
READY = {"ready": True}


def vitals(count: int = 0, ailment: str | None = None, hindrance: str | None = None) -> Mapping[str, object]:
    """How a worker is, and how much it has counted."""
    parcels = ["parcels", "Parcels.", "counter", [["parcels_total", {}, count]]]
    memory = ["memory", "Bytes.", "gauge", [["memory", {}, count]]]
    return {"vitals": [0.0, ailment, hindrance, [parcels, memory]]}


@pytest.fixture
async def say(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., tuple[Crew, CrewHealth]]]:
    """Makes a crew of two workers, of which each says what it is told to, and its health."""
    monkeypatch.setattr(crew_module, "GRACE", 0.01)
    tasks: list[asyncio.Task[None]] = []
    with ExitStack() as stack:

        def start(words: Mapping[str, object], max_stall: float = 60.0) -> tuple[Crew, CrewHealth]:
            command = [sys.executable, "-I", "-S", "-c", WORKER, json.dumps(words)]
            crew = Crew(2, command, {}, drain_timeout=0.01, tell_error=lambda _: None)
            health = CrewHealth(crew, InMemoryBackend(), max_stall)
            stack.enter_context(health.beating())
            tasks.append(asyncio.create_task(crew.work()))
            return crew, health

        yield start
        for task in tasks:
            task.cancel()
            await asyncio.wait({task})


Start = Callable[..., tuple[Crew, CrewHealth]]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 -- what is waited for is done by other processes
            await asyncio.sleep(0.001)


async def has_told(crew: Crew, *numbers: int) -> None:
    """Wait until workers have said how they are."""
    await until(lambda: all((child := crew.places[number - 1].child) and child.vitals for number in numbers))


async def test_a_crew_is_ready_when_everybody_has_pulled_and_not_before(say: Start) -> None:
    crew, health = say({"1": [READY, vitals()], "2": [vitals(hindrance="starting")]})
    await has_told(crew, 1, 2)

    assert await health.hindrance() == "worker 2: starting"
    assert health.ailment() is None
    assert health.details() == {"workers": {"1": "ready", "2": "starting"}}


async def test_a_crew_of_which_one_pulls_goes_on_being_ready(say: Start) -> None:
    lost = "redis://localhost:6379/0 is out of reach"
    crew, health = say({"1": [READY, vitals()], "2": [READY, vitals(hindrance=lost)]})
    await has_told(crew, 1, 2)

    assert await health.hindrance() is None
    assert health.details() == {"workers": {"1": "ready", "2": lost}}


async def test_a_crew_of_which_nobody_pulls_says_why_of_each(say: Start) -> None:
    crew, health = say({number: [READY, vitals(hindrance="gone")] for number in ("1", "2")})
    await has_told(crew, 1, 2)

    assert await health.hindrance() == "worker 1: gone; worker 2: gone"


async def test_one_who_is_hung_is_named(say: Start) -> None:
    crew, health = say({"1": [READY, vitals()], "2": [READY, vitals(ailment="the event loop has not turned for 9 s")]})
    await has_told(crew, 1, 2)

    ailment = health.ailment()

    assert ailment is not None
    assert ailment.startswith("worker 2 (process ")
    assert ailment.endswith("): the event loop has not turned for 9 s")


async def test_one_who_is_silent_is_hung_and_one_who_never_spoke_is_starting(say: Start) -> None:
    crew, health = say({"1": [READY, vitals()], "2": []}, max_stall=0.2)
    await has_told(crew, 1)

    await until(health.ailment)

    ailment = health.ailment()
    assert ailment is not None
    assert ailment.startswith("worker 1 (process ")
    assert ailment.endswith(") has not been heard of for 0 s")
    assert health.details() == {"workers": {"1": "ready", "2": "starting"}}


async def test_a_crew_that_stops_is_draining_at_once(say: Start) -> None:
    crew, health = say({number: [READY, vitals()] for number in ("1", "2")})
    await has_told(crew, 1, 2)

    crew.stop()

    assert await health.hindrance() == "draining"
    assert health.ailment() is None


async def test_what_is_counted_never_goes_down_when_workers_are_killed_and_replaced(say: Start) -> None:
    crew, health = say({"1": [READY, vitals(3)], "2": [READY, vitals(4)]})
    await has_told(crew, 1, 2)
    seen = [sample(await page(health), "parcels_total")]

    for _ in range(3):
        child = crew.places[0].child
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        await until(partial(is_replaced, crew, child))
        seen.append(sample(await page(health), "parcels_total"))
        await has_told(crew, 1)
        seen.append(sample(await page(health), "parcels_total"))

    text = await page(health)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (3 + 4, 4 * 3 + 4)
    assert sample(text, "necrostack_worker_starts_total") == 5
    assert 'memory{worker="2"} 4.0' in text
    assert "necrostack_backend_up 1.0" in text


def is_replaced(crew: Crew, child: Child) -> bool:
    return crew.places[0].child is not child


async def page(health: CrewHealth) -> str:
    assert health.collector is not None
    return (await asyncio.to_thread(generate_latest, health.collector)).decode()


def sample(text: str, name: str) -> float:
    (value,) = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(value)

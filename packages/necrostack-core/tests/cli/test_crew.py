"""The crew of a supervisor, with small real processes as its workers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

import pytest

from necrostack.cli import crew as crew_module
from necrostack.cli import place as place_module
from necrostack.cli.child import command_of, told
from necrostack.cli.crew import Crew
from necrostack.cli.place import Phase
from necrostack.retry import RetryPolicy

pytestmark = pytest.mark.skipif(os.name == "nt", reason="workers need a POSIX system")

READY = """
import os, signal, socket, sys
line = socket.socket(fileno=int(os.environ["NECROSTACK_SUPERVISOR"]))
line.sendall(b'{"ready": true}\\n')
orders = line.makefile()
"""
OBEYS = f"""{READY}
print(next(orders).strip(), "of", os.environ["NECROSTACK_WORKER"], flush=True)
line.sendall(b'{{"progress": [7, 2]}}\\n{{"ended": {{"handled": 7, "duration": 0.5, "organs": {{}}}}}}\\n')
"""
IGNORES = f"{READY}\nwhile True: signal.pause()"
DIES = f"{READY}\nos.kill(os.getpid(), signal.SIGKILL)"

MakeCrew = Callable[..., Crew]


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def make_crew(errors: list[str], monkeypatch: pytest.MonkeyPatch) -> MakeCrew:
    """Makes a crew of workers that run a script, with short delays."""
    restarts = RetryPolicy(max_attempts=3, base_delay=0.001, jitter=False)
    monkeypatch.setattr(place_module, "RESTARTS", restarts)
    monkeypatch.setattr(crew_module, "GRACE", 0.01)

    def make(script: str, *, size: int = 2, command: list[str] | None = None) -> Crew:
        words = command or [sys.executable, "-I", "-S", "-c", script]
        return Crew(size, words, {}, drain_timeout=0.01, tell_error=errors.append)

    return make


async def test_workers_that_finish_are_added_up(make_crew: MakeCrew, capfd: pytest.CaptureFixture[str]) -> None:
    crew = make_crew(OBEYS)
    working = asyncio.create_task(crew.work())
    await crew.all_ready()

    crew.finish()
    await working

    assert sorted(capfd.readouterr().out.splitlines()) == ["finish of 1", "finish of 2"]
    assert (crew.report.handled, crew.report.duration) == (14, 0.5)
    assert crew.progress == (14, 4)
    assert (crew.code, crew.deaths) == (None, 0)


async def test_a_worker_that_dies_again_and_again_ends_the_crew(make_crew: MakeCrew, errors: list[str]) -> None:
    crew = make_crew(DIES, size=1)

    await crew.work()

    assert errors == ["worker 1 died 3 times in a row; it was ended by SIGKILL"]
    assert (crew.code, crew.deaths) == (1, 3)


async def test_a_worker_that_cannot_start_ends_the_crew_with_its_exit_code(
    make_crew: MakeCrew, errors: list[str]
) -> None:
    crew = make_crew("raise SystemExit(5)", size=1)

    await crew.work()

    assert errors == ["worker 1 cannot start: it ended with exit code 5"]
    assert crew.code == 5


async def test_a_command_that_is_not_there_ends_the_crew(make_crew: MakeCrew, errors: list[str]) -> None:
    crew = make_crew("", size=1, command=["/nowhere/python"])

    await crew.work()

    assert crew.code == 1
    assert errors[0].startswith("worker 1 cannot be started: ")


async def test_who_does_not_drain_by_the_deadline_is_killed_and_told(make_crew: MakeCrew, errors: list[str]) -> None:
    crew = make_crew(IGNORES)
    working = asyncio.create_task(crew.work())
    await crew.all_ready()

    crew.stop()
    await working

    assert sorted(errors) == [f"worker {number} did not end in time and was killed" for number in (1, 2)]
    assert crew.code == 1


async def test_who_is_cancelled_and_does_not_end_is_killed(make_crew: MakeCrew, errors: list[str]) -> None:
    crew = make_crew(IGNORES)
    working = asyncio.create_task(crew.work())
    await crew.all_ready()

    crew.cancel()
    await working

    assert (errors, crew.code, crew.phase) == ([], None, Phase.CANCELLED)


async def test_nobody_outlives_a_crew_that_is_cancelled(make_crew: MakeCrew) -> None:
    crew = make_crew(IGNORES)
    working = asyncio.create_task(crew.work())
    await crew.all_ready()
    pids = [place.child.pid for place in crew.places if place.child is not None]

    working.cancel()
    await asyncio.wait({working})

    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_crew_that_stops_is_not_rolled(make_crew: MakeCrew) -> None:
    crew = make_crew(OBEYS)
    working = asyncio.create_task(crew.work())
    await crew.all_ready()

    crew.stop()
    crew.roll()
    await working

    assert all(len(place.children) == 1 for place in crew.places)


def test_the_command_of_a_worker_says_what_was_said() -> None:
    options = {"backend": "redis://-h", "concurrency": 2, "verbose": True, "json": False, "max_steps": None}

    assert command_of("app:spine", options)[1:] == [
        *("-P", "-m", "necrostack", "run"),
        *("--backend=redis://-h", "--concurrency=2", "--verbose", "app:spine"),
    ]


def test_the_end_of_a_process_is_told_by_its_code_or_signal() -> None:
    assert (told(3), told(-15)) == ("ended with exit code 3", "was ended by SIGTERM")

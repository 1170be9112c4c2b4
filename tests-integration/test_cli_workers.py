"""`necrostack run --workers` and `--reload`, in real processes, on a real Redis: signals, deaths, rolls, saves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cli_progress import is_progress

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")

PATIENCE = 50.0

APP = '''\
import asyncio
import os
import threading
import time
from pathlib import Path

from necrostack import Event, Organ, Spine

ME = os.environ.get("NECROSTACK_WORKER", "0")
VERSION = "first"


def write(name: str) -> None:
    Path(name).write_text(VERSION)


class Hooks(Organ):
    """Leaves a file as it begins, and another one as it ends."""

    listens_to = ["NOTHING"]

    def handle(self, event: Event) -> None: ...

    async def startup(self) -> None:
        write(f"started-{os.getpid()}")

    async def shutdown(self) -> None:
        write(f"ended-{os.getpid()}")


class Meets(Organ):
    """Handles a number when both workers have begun one, so that both are at work, and nothing holds them."""

    listens_to = ["NUMBER"]

    async def handle(self, event: Event) -> Event:
        write(f"met-{ME}")
        while Path("hold").exists() or not (Path("met-1").exists() and Path("met-2").exists()):
            await asyncio.sleep(0.01)
        print(event.payload["n"])
        return Event(event_type="PRINTED", payload={"worker": ME})


class Counter(Organ):
    listens_to = ["PRINTED"]

    def handle(self, event: Event) -> None: ...


class Waits(Organ):
    listens_to = ["NUMBER"]

    async def handle(self, event: Event) -> None:
        write(f"begun-{os.getpid()}")
        await asyncio.Event().wait()


class Holds(Organ):
    listens_to = ["NUMBER"]

    def handle(self, event: Event) -> None:
        write(f"begun-{os.getpid()}")
        threading.Event().wait()


class Exits(Organ):
    listens_to = ["NUMBER"]

    def handle(self, event: Event) -> None:
        raise SystemExit(9)


def breaks_in_workers() -> Spine:
    if ME != "0":
        raise RuntimeError("not here")
    return hooks


hooks = Spine([Hooks()])
meets = Spine([Hooks(), Meets(), Counter()])
waits = Spine([Hooks(), Waits()])
holds = Spine([Holds()])
exits = Spine([Hooks(), Exits()])
'''


IN_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes stdin the terminal that a command is controlled by."""


class Started:
    """A command, and what it has written until now."""

    def __init__(self, folder: Path, argv: tuple[str, ...], terminal: int | None) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "necrostack", *argv]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                command if terminal is None else [sys.executable, "-c", IN_TERMINAL, *command],
                cwd=folder,
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=out,
                stderr=err,
                start_new_session=terminal is not None,
            )

    @property
    def out(self) -> list[str]:
        return (self.folder / "out").read_text().splitlines()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def told(self) -> list[str]:
        """The lines on stderr that are neither log nor progress, which a slow machine gets to see."""
        return [line for line in self.err.splitlines() if not (line.startswith("{") or is_progress(line))]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The whole lines of the log with this event."""
        lines = [line for line in self.err.splitlines(keepends=True) if f'"event": "{event}"' in line]
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def pids(self) -> list[int]:
        """The workers that were started, oldest first."""
        return [line["pid"] for line in self.logged("worker_started")]

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"it never came:\n{self.err}"
            time.sleep(0.02)

    def wait_for_files(self, name: str, count: int) -> None:
        """Wait until the application has left so many files of a kind."""
        self.wait_for(lambda: len(self.files(name)) >= count)

    def files(self, name: str) -> list[str]:
        return sorted(path.name for path in self.folder.glob(f"{name}-*"))

    def end(self) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(PATIENCE)


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the command line in the test's folder, where `app` is."""
    (tmp_path / "app.py").write_text(APP)
    started: list[Started] = []

    def run(*argv: str, terminal: int | None = None) -> Started:
        started.append(Started(tmp_path, argv, terminal))
        return started[-1]

    yield run
    for each in started:
        each.process.kill()
        each.process.wait()
        for pid in each.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def backend(redis_url: str, app: str) -> str:
    return f"{redis_url}?app={app}&lease=1"


def feed(folder: Path, count: int) -> str:
    lines = [json.dumps({"event_type": "NUMBER", "payload": {"n": n}}) + "\n" for n in range(count)]
    (folder / "numbers.ndjson").write_text("".join(lines))
    return "numbers.ndjson"


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # Without a parent that asks for it, an ended process stays as a zombie in some containers.
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    return False


# --- work -------------------------------------------------------------------------------------------------


def test_two_workers_share_a_feed_and_their_reports_become_one(start: Start, tmp_path: Path, backend: str) -> None:
    name = feed(tmp_path, 40)

    run = start(
        *("run", "app:meets", "--backend", backend, "--workers", "2"), *("--feed", name, "--until-idle", "--json")
    )

    assert run.end() == 0, run.err
    *printed, last = run.out
    report = json.loads(last)
    assert sorted(map(int, printed)) == [*range(40)]
    assert (report["handled"], report["emitted"]) == (80, 40)
    assert report["organs"]["Meets"]["handled"] == 40
    assert (report["feed"]["kept"], report["feed"]["complete"]) == (40, True)
    alone = [line["handled"] for line in run.logged("run_stopped")]
    assert sum(alone) == 80
    assert min(alone) > 0
    assert {line["worker"] for line in run.logged("run_stopped")} == {1, 2}
    assert run.told == []


def test_without_a_feed_they_end_when_nothing_is_left(start: Start, backend: str) -> None:
    run = start("run", "app:hooks", "--backend", backend, "--workers", "3", "--until-idle")

    assert run.end() == 0, run.err
    assert len(run.files("ended")) == 3
    assert run.out[-1].startswith("0 deliveries handled in ")


def test_a_bad_line_ends_the_run_as_it_ends_a_single_one(start: Start, tmp_path: Path, backend: str) -> None:
    (tmp_path / "bad.ndjson").write_text('{"event_type": "NOTHING", "payload": {}}\nnope\n')

    run = start("run", "app:hooks", "--backend", backend, "--workers", "2", "--feed", "bad.ndjson")

    assert run.end() == 1
    assert run.told[0].startswith("necrostack: error: bad.ndjson, line 2: ")
    assert "--from-line 2 goes on when it is mended" in run.told[0]
    assert len(run.files("ended")) == 2


def test_workers_have_the_settings_of_their_supervisor_and_nobody_reads_a_password_off_their_command(
    start: Start, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = '[tool.necrostack]\napp = "app:hooks"\nworkers = 2\nlog-level = "info"\n'
    (tmp_path / "pyproject.toml").write_text(settings)
    monkeypatch.setenv("NECROSTACK_BACKEND", backend)
    run = start("run", "--json")
    run.wait_for_files("started", 2)
    commands = [Path(f"/proc/{pid}/cmdline") for pid in run.pids()]
    read = [command.read_text() for command in commands if command.exists()]

    # Whoever takes the place of one that died does not mind what the file has become.
    (tmp_path / "pyproject.toml").write_text("nonsense")
    os.kill(run.pids()[0], signal.SIGKILL)
    run.wait_for_files("started", 3)
    run.process.send_signal(signal.SIGTERM)

    assert run.end() == 0, run.err
    assert [line["backend"] for line in run.logged("run_started")] == ["RedisBackend"] * 3
    assert [command for command in read if "redis" in command] == []
    assert run.told == ["necrostack: 1 worker died; its part is missing from these numbers"]


# --- the end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_one_signal_drains_all_workers(start: Start, backend: str, number: int, code: int) -> None:
    run = start("run", "app:hooks", "--backend", backend, "--workers", "2", "--json")
    run.wait_for_files("started", 2)

    run.process.send_signal(number)

    assert run.end() == code, run.err
    assert len(run.files("ended")) == 2
    assert [line["exit_code"] for line in run.logged("worker_ended")] == [0, 0]
    (report,) = run.out
    assert json.loads(report)["handled"] == 0
    assert run.told == []


def test_a_signal_to_the_whole_group_of_processes_drains_them_too(start: Start, backend: str) -> None:
    run = start("run", "app:hooks", "--backend", backend, "--workers", "2")
    run.wait_for_files("started", 2)

    # As systemd does: the supervisor and its workers at the same time.
    for pid in [*run.pids(), run.process.pid]:
        os.kill(pid, signal.SIGTERM)

    assert run.end() == 0, run.err
    assert len(run.files("ended")) == len(run.pids())


def test_a_second_signal_cancels_handlers_that_do_not_end(start: Start, tmp_path: Path, backend: str) -> None:
    run = start("run", "app:waits", "--backend", backend, "--workers", "2", "--feed", feed(tmp_path, 5))
    run.wait_for_files("begun", 2)

    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGINT)

    assert run.end() == 130, run.err
    assert len(run.files("ended")) == 2
    assert "Traceback" not in run.err


def test_a_third_signal_kills_what_cannot_be_cancelled(start: Start, tmp_path: Path, backend: str) -> None:
    run = start("run", "app:holds", "--backend", backend, "--workers", "2", "--feed", feed(tmp_path, 5))
    run.wait_for_files("begun", 2)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        run.process.send_signal(number)
        time.sleep(0.05)  # signals of one kind that come at once are one

    assert run.end() == 130, run.err
    assert all(is_gone(pid) for pid in run.pids())


def test_ctrl_c_in_a_terminal_reaches_the_supervisor_alone(start: Start, backend: str) -> None:
    keyboard, terminal = os.openpty()
    run = start("run", "app:hooks", "--backend", backend, "--workers", "2", terminal=terminal)
    run.wait_for_files("started", 2)

    os.write(keyboard, b"\x03")

    assert run.end() == 130, run.err
    os.close(keyboard)
    os.close(terminal)
    assert len(run.files("ended")) == 2
    assert run.told == []


def test_workers_drain_when_their_terminal_is_closed(start: Start, backend: str) -> None:
    keyboard, terminal = os.openpty()
    run = start("run", "app:hooks", "--backend", backend, "--workers", "2", terminal=terminal)
    os.close(terminal)
    run.wait_for_files("started", 2)

    os.close(keyboard)

    assert run.end() == 0, run.err
    assert len(run.files("ended")) == 2
    assert run.told == []


def test_workers_do_not_outlive_a_supervisor_that_is_killed(start: Start, backend: str) -> None:
    run = start("run", "app:hooks", "--backend", backend, "--workers", "2")
    run.wait_for_files("started", 2)

    run.process.kill()
    run.end()

    run.wait_for_files("ended", 2)
    run.wait_for(lambda: all(is_gone(pid) for pid in run.pids()))


# --- deaths -----------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(start: Start, tmp_path: Path, backend: str) -> None:
    name = feed(tmp_path, 200)
    (tmp_path / "hold").touch()
    run = start("run", "app:meets", "--backend", backend, "--workers", "2", "--feed", name, "--until-idle", "--json")
    run.wait_for_files("met", 2)

    os.kill(run.pids()[0], signal.SIGKILL)
    (tmp_path / "hold").unlink()

    assert run.end() == 0, run.err
    (death,) = run.logged("worker_died")
    assert (death["worker"], death["exit_code"]) == (1, -signal.SIGKILL)
    assert [line["worker"] for line in run.logged("worker_started")] == [1, 2, 1]
    # A worker that is killed leaves no lines half written, but may have printed what it had not settled.
    assert {*map(int, run.out[:-1])} == {*range(200)}
    assert run.told == ["necrostack: 1 worker died; its part is missing from these numbers"]


def test_what_ends_a_single_run_ends_them_all_with_its_exit_code(start: Start, tmp_path: Path, backend: str) -> None:
    run = start("run", "app:exits", "--backend", backend, "--workers", "2", "--feed", feed(tmp_path, 1))

    assert run.end() == 9, run.err
    assert any("ended with exit code 9; so the others are stopped" in line for line in run.told)
    assert all(is_gone(pid) for pid in run.pids())


def test_a_worker_that_cannot_start_is_told_with_its_exit_code(start: Start, backend: str) -> None:
    run = start("run", "app:breaks_in_workers", "--backend", backend, "--workers", "2")

    assert run.end() == 3, run.err
    assert any("RuntimeError: not here" in line for line in run.told)
    assert any("cannot start: it ended with exit code 3" in line for line in run.told)


# --- rolling ----------------------------------------------------------------------------------------------


def test_hup_rolls_the_workers_one_after_the_other(start: Start, tmp_path: Path, backend: str) -> None:
    run = start("run", "app:hooks", "--backend", backend, "--workers", "2")
    run.wait_for_files("started", 2)
    run.wait_for(lambda: len(run.logged("run_started")) == 2)
    (tmp_path / "app.py").write_text(APP.replace('"first"', '"second"'))

    run.process.send_signal(signal.SIGHUP)
    run.wait_for_files("started", 4)
    run.wait_for(lambda: len(run.logged("run_started")) == 4)
    run.process.send_signal(signal.SIGTERM)

    assert run.end() == 0, run.err
    order = [
        (line["event"], line["worker"])
        for line in map(json.loads, run.err.splitlines())
        if line["event"] in ("worker_started", "worker_ended")
    ]
    assert order[:6] == [
        *(("worker_started", 1), ("worker_started", 2)),
        *(("worker_ended", 1), ("worker_started", 1)),
        *(("worker_ended", 2), ("worker_started", 2)),
    ]
    versions = [(tmp_path / f"started-{pid}").read_text() for pid in run.pids()]
    assert versions == ["first", "first", "second", "second"]


def test_a_roll_stops_at_the_first_worker_that_cannot_start(start: Start, tmp_path: Path, backend: str) -> None:
    run = start("run", "app:hooks", "--backend", backend, "--workers", "2")
    run.wait_for_files("started", 2)
    run.wait_for(lambda: len(run.logged("run_started")) == 2)
    (tmp_path / "app.py").write_text("not python")

    run.process.send_signal(signal.SIGHUP)
    run.wait_for(lambda: run.logged("roll_stopped"))
    (tmp_path / "app.py").write_text(APP)
    run.wait_for_files("started", 3)
    run.process.send_signal(signal.SIGTERM)

    assert run.end() == 0, run.err
    assert [line["worker"] for line in run.logged("worker_started") if line["pid"] == run.pids()[1]] == [2]
    assert {line["worker"] for line in run.logged("worker_died")} == {1}
    assert is_gone(run.pids()[1])


# --- reload -----------------------------------------------------------------------------------------------


def save(file: Path, text: str) -> None:
    """Write a file, for a watcher that may look at any time, and with a time of its own."""
    other = file.with_suffix(".new")
    other.write_text(text)
    other.replace(file)


def test_a_save_begins_again_and_a_syntax_error_is_shown_once(start: Start, tmp_path: Path) -> None:
    run = start("run", "app:hooks", "--reload")
    run.wait_for_files("started", 1)

    save(tmp_path / "app.py", "def not python")
    run.wait_for(lambda: "it begins again when a file is saved" in run.err)
    save(tmp_path / "app.py", APP.replace('"first"', '"second"'))
    run.wait_for_files("started", 2)
    run.process.send_signal(signal.SIGINT)

    assert run.end() == 130, run.err
    assert len(run.files("ended")) == 2
    assert sorted(path.read_text() for path in tmp_path.glob("started-*")) == ["first", "second"]
    assert run.told[0] == "necrostack: app.py was saved; the run begins again"
    assert run.told[1].startswith("necrostack: error: importing 'app' failed: SyntaxError: ")
    assert run.told[2:] == [
        "necrostack: the run ended with exit code 3; it begins again when a file is saved",
        "necrostack: app.py was saved; the run begins again",
    ]


def test_what_is_watched_does_not_outlive_a_watcher_that_is_killed(start: Start, backend: str) -> None:
    run = start("run", "app:hooks", "--reload", "--backend", backend, "--workers", "2")
    run.wait_for_files("started", 2)

    run.process.kill()
    run.end()

    run.wait_for_files("ended", 2)
    run.wait_for(lambda: all(is_gone(pid) for pid in run.pids()))

"""`necrostack run --health` on a real Redis: a server that freezes or fills up, workers that hang or are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from redis_server import Server
from redis_server import command as redis_command

from necrostack.cli import main

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")

PATIENCE = 50.0

APP = """\
import asyncio
import os
import time
from pathlib import Path

from necrostack import Event, Organ, Spine


class Counts(Organ):
    listens_to = ["NUMBER"]

    async def handle(self, event: Event) -> Event | None:
        if event.payload["n"] < 0:
            raise ValueError("negative")
        return Event(event_type="COUNTED", payload={})


class Hears(Organ):
    listens_to = ["COUNTED"]

    def handle(self, event: Event) -> None: ...


class Holds(Organ):
    listens_to = ["HOLD"]

    def handle(self, event: Event) -> None:
        Path("held").write_text(str(os.getpid()))
        while not Path("release").exists():
            time.sleep(0.01)


class Lasts(Organ):
    listens_to = ["LAST"]

    async def handle(self, event: Event) -> None:
        Path("lasting").touch()
        while not Path("release").exists():
            await asyncio.sleep(0.01)


spine = Spine([Counts(), Hears(), Holds(), Lasts()])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "healthy.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.1)


class Asked:
    """Somebody who tells how it is, at an address."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, path: str, accept: str = "*/*") -> tuple[int, str]:
        request = Request(f"{self._url}/{path}", headers={"Accept": accept})  # noqa: S310 -- it is ours
        try:
            with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 -- it is ours
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def wait_for(self, path: str, status: int) -> Any:
        """Ask until the answer has a status; what it says."""
        found: list[str] = []

        def has_come() -> bool:
            told, body = self.ask(path)
            found.append(body)
            return told == status

        until(has_come, f"{status} of /{path}")
        return json.loads(found[-1])

    def counted(self, name: str, **labels: str) -> float:
        """The sum of all samples of a metric with these labels."""
        return sum(
            sample.value
            for family in read_text(self.ask("metrics")[1])
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


# --- one process ----------------------------------------------------------------------------------------------


OWN_TROUBLE = """\
import asyncio
import json
import sys

from healthy import *  # what is below goes beside it
from test_cli_health import Asked, cause, url_in


class Troubles(Organ):
    '''Makes its own server unusable and usable again, and asks its own run what that looks like.'''

    listens_to = ["TROUBLE"]

    async def handle(self, event: Event) -> None:
        await asyncio.to_thread(cause, Asked(url_in(sys.stderr.getvalue())), event.payload["port"])


troubling = Spine([Troubles()])
"""


def url_in(text: str) -> str:
    return str(re.findall(r"health is told at (http://\S+)/live", text)[-1])


def cause(run: Asked, port: int) -> None:
    """Fill the memory of a server, then freeze it; look at what a run that works on it says of itself."""
    print(json.dumps(["at first", run.wait_for("ready", 200), run.counted("necrostack_backend_up")]))
    redis_command(port, "CONFIG", "SET", "maxmemory", 1)
    print(json.dumps(["full", run.wait_for("ready", 503)["reason"], run.ask("live")[0]]))
    redis_command(port, "CONFIG", "SET", "maxmemory", 0)
    run.wait_for("ready", 200)
    pid = int(re.findall(rb"process_id:(\d+)", redis_command(port, "INFO", "server"))[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        print(json.dumps(["frozen", run.wait_for("ready", 503)["reason"], run.ask("live")[0]]))
    finally:
        os.kill(pid, signal.SIGCONT)
    print(json.dumps(["thawed", run.wait_for("ready", 200), run.ask("live")[0]]))


def test_a_server_that_is_full_or_frozen_makes_a_run_unready_until_it_is_mended(
    make_server: Callable[..., Server],
    folder: Path,
    app: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("necrostack.cli.health.PROBE_TIMEOUT", 0.3)
    monkeypatch.setattr("necrostack.cli.health.PROBE_LASTS", 0.02)
    server = make_server("--maxmemory-policy", "noeviction")
    (folder / "troubled.py").write_text(OWN_TROUBLE)
    event = {"event_type": "TROUBLE", "payload": {"port": server.port}}
    (folder / "trouble.ndjson").write_text(json.dumps(event))
    backend = f"{server.url}?app={app}"

    words = ("run", "troubled:troubling", "--backend", backend, "--feed", "trouble.ndjson", "--until-idle")

    code = main([*words, "--health", "127.0.0.1:0"])

    out, _ = capsys.readouterr()
    first, full, frozen, thawed = [json.loads(line) for line in out.splitlines() if line.startswith("[")]
    assert code == 0
    assert first == ["at first", {"ready": True}, 1]
    assert re.fullmatch(rf"the memory of redis://127\.0\.0\.1:{server.port}/0 is full, .*", full[1])
    assert "within 0.3 s" in frozen[1] or "is out of reach" in frozen[1]
    assert (full[2], frozen[2], thawed) == (200, 200, ["thawed", {"ready": True}, 200])


# --- real processes -------------------------------------------------------------------------------------------


class Started(Asked):
    """`run --health` in a process of its own."""

    def __init__(self, *argv: str) -> None:
        command = [sys.executable, "-m", "necrostack", "run", "healthy:spine", "--health", "127.0.0.1:0", *argv]
        with Path("err").open("wb") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)
        until(lambda: "health is told" in self.err, "the address")
        super().__init__(url_in(self.err))

    @property
    def err(self) -> str:
        return Path("err").read_text()

    def pids(self) -> list[int]:
        """The workers that were started, oldest first."""
        lines = [line for line in self.err.splitlines(keepends=True) if '"worker_started"' in line]
        return [json.loads(line)["pid"] for line in lines if line.endswith("\n")]


Start = Callable[..., Started]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Started] = []

    def run(*argv: str) -> Started:
        started.append(Started(*argv))
        return started[-1]

    yield run
    for each in started:
        each.process.kill()
        each.process.wait()
        for pid in each.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def manager(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service manager that is told how a run is, as systemd is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("notify")  # in the folder: a whole path may be too long for a socket
        listening.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", "notify")
        yield listening


def emit(backend: str, event_type: str, *payloads: dict[str, int]) -> None:
    lines = [json.dumps({"event_type": event_type, "payload": payload}) for payload in payloads]
    Path("events.ndjson").write_text("\n".join(lines))
    assert main(["emit", "--backend", backend, "--file", "events.ndjson"]) == 0


def test_two_workers_answer_as_one_also_when_one_is_killed_hangs_or_drains(
    start: Start, redis_url: str, app: str, folder: Path, manager: socket.socket
) -> None:
    backend = f"{redis_url}?app={app}&lease=1"
    run = start("--backend", backend, "--workers", "2", "--max-stall", "3")
    done = {"event_type": "NUMBER", "outcome": "done"}

    # They work, and what they do is added up.
    run.wait_for("live", 200)
    run.wait_for("ready", 200)
    assert manager.recv(100) == b"READY=1"
    emit(backend, "NUMBER", *({"n": n} for n in range(-2, 20)))
    until(lambda: run.counted("necrostack_deliveries_total") == 22 + 20, "what was counted")
    assert run.counted("necrostack_deliveries_total", **done) == 20
    assert run.counted("necrostack_dead_letters_total", reason="attempts_exhausted") == 2
    assert run.counted("necrostack_handler_seconds_count", organ="Hears") == 20
    assert run.counted("necrostack_backend_up") == 1
    for accept, read in (("text/plain", read_text), ("application/openmetrics-text;version=1.0.0", read_openmetrics)):
        names = {family.name for family in read(run.ask("metrics", accept)[1])}
        assert {"necrostack_handler_seconds", "process_resident_memory_bytes", "necrostack_workers_ready"} <= names

    # One is killed: nothing that was counted goes, the other one goes on, and another takes its place.
    first = run.pids()[0]
    os.kill(first, signal.SIGKILL)
    seen = []

    def is_replaced() -> bool:
        seen.append(run.counted("necrostack_deliveries_total"))
        return run.counted("necrostack_worker_starts_total") == 3 and run.counted("necrostack_workers_ready") == 2

    until(is_replaced, "another worker")
    assert seen == [seen[0]] * len(seen)
    run.wait_for("ready", 200)
    emit(backend, "NUMBER", {"n": 1})
    until(lambda: run.counted("necrostack_deliveries_total", **done) == 21, "what was counted after that")

    # One is held up: the run does not live, and says who it is.
    emit(backend, "HOLD", {})
    problem = run.wait_for("live", 503)["reason"]
    assert re.fullmatch(
        r"worker \d \(process \d+\): the event loop has not turned for \d+ s; what runs is Holds", problem
    )
    assert (folder / "held").read_text() in problem
    (folder / "release").touch()
    run.wait_for("live", 200)
    (folder / "release").unlink()

    # It drains: not ready at once, and alive until the end.
    emit(backend, "LAST", {})
    until((folder / "lasting").exists, "a handler that lasts")
    run.process.send_signal(signal.SIGTERM)
    assert run.wait_for("ready", 503)["reason"] == "draining"
    run.wait_for("live", 200)
    assert manager.recv(100) == b"STOPPING=1"
    (folder / "release").touch()
    assert run.process.wait(PATIENCE) == 0, run.err

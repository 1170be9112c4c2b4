"""`run --health`: whether it lives and can work, asked by handlers of the very run that they hold up or drain."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY, Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from necrostack.cli.address import Address, listen

if TYPE_CHECKING:
    from cli.conftest import Ended, Run, Write

APP = '''\
import asyncio
import json
import re
import signal
import sys
import time
from urllib.error import HTTPError
from urllib.request import urlopen

from necrostack import Event, Organ, Spine


def ask(path):
    """Ask the run that this is part of; its address is on stderr."""
    url = re.findall("http://[^/]+", sys.stderr.getvalue())[-1]
    try:
        with urlopen(f"{url}/{path}") as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def tell(path):
    status, body = ask(path)
    print(json.dumps([path, status, json.loads(body) if body.startswith("{") else body]))


def until(path, status):
    while ask(path)[0] != status:
        time.sleep(0.01)
    tell(path)


class Looks(Organ):
    listens_to = ["LOOK"]

    async def handle(self, event: Event) -> None:
        for path in ("live", "ready", "metrics"):
            await asyncio.to_thread(tell, path)


class Holds(Organ):
    """Holds the event loop until that is seen, and then no more."""

    listens_to = ["HOLD"]

    def handle(self, event: Event) -> None:
        until("live", 503)
        tell("ready")


class Recovers(Organ):
    listens_to = ["HOLD"]

    async def handle(self, event: Event) -> None:
        await asyncio.to_thread(until, "live", 200)


class Drains(Organ):
    listens_to = ["DRAIN"]

    async def handle(self, event: Event) -> None:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.to_thread(until, "ready", 503)
        await asyncio.to_thread(tell, "live")


class Starts(Organ):
    """Is asked before anything is pulled."""

    listens_to = ["START"]

    async def startup(self) -> None:
        await asyncio.to_thread(tell, "ready")
        await asyncio.to_thread(tell, "live")

    async def handle(self, event: Event) -> None: ...


class Tires(Organ):
    """Breaks the backend."""

    listens_to = ["TIRE"]

    async def handle(self, event: Event) -> None:
        async def probe():
            raise OSError("no route to redis://me:secret@host")

        tiring.backend.probe = probe
        await asyncio.to_thread(until, "ready", 503)


class Waits(Tires):
    listens_to = ["WAIT"]

    async def handle(self, event: Event) -> None:
        waiting.backend.probe = asyncio.Event().wait
        await asyncio.to_thread(until, "ready", 503)


looking = Spine([Looks()])
holding = Spine([Holds(), Recovers()])
draining = Spine([Drains()])
starting = Spine([Starts()])
tiring = Spine([Tires()])
waiting = Spine([Waits()])
'''

Answers = list[tuple[str, int, Any]]


@pytest.fixture
def asked(necrostack: Run, folder: Path, write: Write) -> Callable[..., tuple[Ended, Answers]]:
    """Runs an application on one event, and returns what its handlers were answered."""
    (folder / "cli_healthy.py").write_text(APP)

    def run(spine: str, event_type: str, *argv: str) -> tuple[Ended, Answers]:
        feed = write(json.dumps({"event_type": event_type, "payload": {}}))
        words = ("run", f"cli_healthy:{spine}", "--feed", feed, "--until-idle", "--health", "127.0.0.1:0", *argv)
        ended = necrostack(*words)
        lines = [line for line in ended.out.splitlines() if line.startswith("[")]
        return ended, [(path, status, body) for path, status, body in map(json.loads, lines)]

    return run


def value(page: str, name: str, **labels: str) -> float:
    """The value of one sample."""
    (found,) = [
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found


def test_a_run_that_works_lives_and_is_ready_and_has_metrics(asked: Callable[..., tuple[Ended, Answers]]) -> None:
    ended, (live, ready, (_, status, page)) = asked("looking", "LOOK")

    assert (ended.code, live, ready) == (0, ("live", 200, {"live": True}), ("ready", 200, {"ready": True}))
    assert status == 200
    assert value(page, "necrostack_handlers_running", organ="Looks") == 1
    assert value(page, "necrostack_backend_up") == 1
    assert value(page, "necrostack_backend_pending") == 1
    assert value(page, "python_info", **python_info()) == 1
    (told,) = [line for line in ended.told if "health" in line]
    assert told.startswith("necrostack: health is told at http://127.0.0.1:")
    assert told.endswith("/live, /ready and /metrics")


def python_info() -> dict[str, str]:
    (family,) = [family for family in REGISTRY.collect() if family.name == "python_info"]
    return dict(family.samples[0].labels)


def test_a_handler_that_holds_the_event_loop_is_seen_and_named(asked: Callable[..., tuple[Ended, Answers]]) -> None:
    ended, (held, unready, recovered) = asked("holding", "HOLD", "--max-stall", "0.1")

    assert ended.code == 0
    assert held[:2] == ("live", 503)
    assert held[2]["reason"].startswith("the event loop has not turned for ")
    assert held[2]["reason"].endswith("; what runs is Holds")
    assert (unready[1], unready[2]["reason"]) == (503, held[2]["reason"])
    assert recovered == ("live", 200, {"live": True})


def test_a_run_that_drains_is_not_ready_and_lives_on(asked: Callable[..., tuple[Ended, Answers]]) -> None:
    ended, (ready, live) = asked("draining", "DRAIN")

    assert ready == ("ready", 503, {"ready": False, "reason": "draining"})
    assert live == ("live", 200, {"live": True})
    assert ended.code == 0


def test_a_run_that_does_not_pull_yet_is_not_ready_and_lives(asked: Callable[..., tuple[Ended, Answers]]) -> None:
    _, (ready, live) = asked("starting", "START")

    assert ready == ("ready", 503, {"ready": False, "reason": "starting"})
    assert live == ("live", 200, {"live": True})


def test_a_backend_that_keeps_nothing_is_told_without_passwords(asked: Callable[..., tuple[Ended, Answers]]) -> None:
    _, (ready,) = asked("tiring", "TIRE")

    assert ready == ("ready", 503, {"ready": False, "reason": "OSError: no route to redis://…@host"})


def test_a_backend_that_does_not_answer_is_told_in_time(
    asked: Callable[..., tuple[Ended, Answers]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("necrostack.cli.health.PROBE_TIMEOUT", 0.05)
    monkeypatch.setattr("necrostack.cli.health.PROBE_LASTS", 0.0)

    _, (ready,) = asked("waiting", "WAIT")

    assert ready[2]["reason"] == "the backend did not keep what was written to it within 0.05 s"


def test_without_the_library_there_are_no_metrics_and_it_says_so(
    asked: Callable[..., tuple[Ended, Answers]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    ended, (live, ready, metrics) = asked("looking", "LOOK")

    assert (ended.code, live[1], ready[1], metrics[1]) == (0, 200, 200, 501)
    assert "pip install 'necrostack-core[metrics]'" in metrics[2]
    assert any("/metrics needs prometheus-client: pip install" in line for line in ended.told)


def test_metrics_that_an_application_has_are_not_counted_twice(
    asked: Callable[..., tuple[Ended, Answers]], folder: Path
) -> None:
    own = """
from prometheus_client import CollectorRegistry
from necrostack.instrumentation import Instrumentation, together
from necrostack.metrics import Metrics
own = Metrics(looking.topology, CollectorRegistry())
counting = looking.with_settings(instrumentation=together(Instrumentation(), own))
"""
    (folder / "cli_healthy.py").write_text(APP + own)

    _, answers = asked("counting", "LOOK")

    page = answers[2][2]
    assert value(page, "necrostack_handlers_running", organ="Looks") == 1
    assert page.count("# TYPE necrostack_handlers_running ") == 1


def test_what_an_application_counts_itself_is_shown_too(asked: Callable[..., tuple[Ended, Answers]]) -> None:
    parcels = Counter("parcels", "Parcels.")
    parcels.inc(3)

    _, answers = asked("looking", "LOOK")
    REGISTRY.unregister(parcels)

    assert value(answers[2][2], "parcels_total") == 3


def test_what_an_application_cannot_say_is_an_error_of_that_page_alone(
    asked: Callable[..., tuple[Ended, Answers]],
) -> None:
    class Broken(Collector):
        def describe(self) -> Iterable[Metric]:
            return ()

        def collect(self) -> Iterable[Metric]:
            raise LookupError

    broken = Broken()
    REGISTRY.register(broken)
    try:
        _, answers = asked("looking", "LOOK")
    finally:
        REGISTRY.unregister(broken)

    assert [status for _, status, _ in answers] == [200, 200, 500]


# --- the address ----------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_ends_the_run_before_it_begins(necrostack: Run, app: str) -> None:
    with ExitStack() as stack:
        (taken,) = [stack.enter_context(each) for each in listen(Address("127.0.0.1", 0), "--health")]
        port = taken.getsockname()[1]

        ended = necrostack("run", app, "--health", f"127.0.0.1:{port}")

    assert ended.code == 1
    (told,) = ended.told
    assert told == (
        f"necrostack: error: --health 127.0.0.1:{port}: Address already in use;"
        " name an address of this machine, and a port that is free, or 0 for any"
    )
    assert "run_started" not in ended.err


@pytest.mark.parametrize("text", ["8080", ":8080", "localhost:99999", "::1:80"])
def test_what_is_no_address_is_wrong_usage(necrostack: Run, app: str, text: str) -> None:
    ended = necrostack("run", app, "--health", text)

    assert ended.code == 2
    assert f"argument --health: {text!r} is no HOST:PORT, such as 127.0.0.1:8080" in ended.err


def test_too_short_a_stall_is_wrong_usage(necrostack: Run, app: str) -> None:
    ended = necrostack("run", app, "--health", "127.0.0.1:0", "--max-stall", "0.01")

    assert ended.code == 2
    assert "'0.01' is less than 0.1 seconds" in ended.err


@pytest.mark.skipif(os.name == "nt", reason="workers need a POSIX system")
def test_a_taken_port_ends_a_supervisor_before_it_starts_anybody(necrostack: Run, app: str, lasting: Any) -> None:
    lasting.is_shared = True
    with ExitStack() as stack:
        (taken,) = [stack.enter_context(each) for each in listen(Address("127.0.0.1", 0), "--health")]
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        ended = necrostack("run", app, "--backend", "lasting://", "--workers", "2", "--health", address)

    assert ended.code == 1
    assert "worker_started" not in ended.err


def test_nobody_listens_when_the_run_is_over(asked: Callable[..., tuple[Ended, Answers]]) -> None:
    ended, _ = asked("looking", "LOOK")

    (told,) = [line for line in ended.told if "health" in line]
    host, _, port = told.split("http://")[1].split("/")[0].partition(":")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=30)

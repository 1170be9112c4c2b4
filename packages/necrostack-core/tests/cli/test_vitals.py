"""What a worker tells its supervisor of how it is."""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from collections.abc import Iterable

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from necrostack import Event, Organ, Spine
from necrostack.cli import vitals as vitals_module
from necrostack.cli.health import Health
from necrostack.cli.lifeline import SUPERVISOR, Lifeline
from necrostack.cli.messages import Ready, Vitals, read, write
from necrostack.cli.vitals import Reporter

pytestmark = pytest.mark.skipif(os.name == "nt", reason="workers need a POSIX system")


class Ear(Organ):
    listens_to = ["vitals.said"]

    def handle(self, event: Event) -> None: ...


class Own(Collector):
    """What an application registered."""

    def __init__(self, *, samples: int = 0, error: Exception | None = None) -> None:
        self._samples = samples
        self._error = error

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        if self._error is not None:
            raise self._error
        family = GaugeMetricFamily("own", "Own.", labels=["n"])
        for number in range(self._samples):
            family.add_metric([str(number)], number)
        yield family


@pytest.fixture
def told() -> queue.SimpleQueue[bytes]:
    return queue.SimpleQueue()


@pytest.fixture
def reporter(told: queue.SimpleQueue[bytes]) -> Reporter:
    return Reporter(Health(Spine([Ear()]), lambda: False, 60.0), told.put)


def heard(told: queue.SimpleQueue[bytes]) -> Vitals:
    message = read(told.get(timeout=30))
    assert isinstance(message, Vitals)
    return message


def test_it_is_told_again_and_again_by_a_thread(
    reporter: Reporter, told: queue.SimpleQueue[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals_module, "INTERVAL", 0.001)

    with reporter:
        first, second = heard(told), heard(told)

    assert (first.ailment, first.hindrance, second.hindrance) == (None, "starting", "starting")
    assert {"necrostack_deliveries", "python_info"} <= {name for name, *_ in first.metrics}


@pytest.mark.parametrize("own", [Own(samples=11), Own(error=LookupError("no"))], ids=["too many", "broken"])
def test_metrics_of_an_application_that_cannot_be_told_are_left_out_and_said_once(
    own: Own,
    reporter: Reporter,
    told: queue.SimpleQueue[bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(vitals_module, "MOST_SAMPLES", 10 if own._samples else 10_000)
    REGISTRY.register(own)
    try:
        reporter.tell()
        reporter.tell()
    finally:
        REGISTRY.unregister(own)

    names = {name for name, *_ in [*heard(told).metrics, *heard(told).metrics]}
    assert "necrostack_deliveries" in names
    assert "own" not in names
    assert [record.getMessage() for record in caplog.records].count("metrics_left_out") == 1


def test_without_the_library_the_rest_is_told(told: queue.SimpleQueue[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    Reporter(Health(Spine([Ear()]), lambda: True, 60.0), told.put).tell()

    found = heard(told)
    assert (found.hindrance, found.metrics) == ("draining", [])


def test_lines_of_two_threads_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: None)
    ours, theirs = socket.socketpair()
    monkeypatch.setenv(SUPERVISOR, str(theirs.detach()))
    line = Lifeline.to(SUPERVISOR)
    assert line is not None
    line.patience = 3600.0
    long = write(Vitals(pause=0.0, ailment="x" * 300_000, hindrance=None, metrics=()))

    def tell(message: bytes) -> None:
        for _ in range(20):
            line.tell(message)

    threads = [threading.Thread(target=tell, args=(message,)) for message in (long, long, write(Ready()))]
    for thread in threads:
        thread.start()
    with ours, ours.makefile("rb") as lines:
        heard = [next(lines).strip() for _ in range(60)]
        for thread in threads:
            thread.join()

    assert (heard.count(long), heard.count(write(Ready()))) == (40, 20)

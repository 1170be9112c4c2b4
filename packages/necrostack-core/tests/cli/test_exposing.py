"""Metrics of several registries and processes as one page: what is counted never goes down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from necrostack.cli.exposing import Family, Together, Totals, families, written

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class Process:
    """What one worker has counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.done = Counter("done", "Done.", ["kind"], registry=self.registry)
        self.seconds = Histogram("seconds", "Took.", registry=self.registry, buckets=(1.0,))
        self.memory = Gauge("memory", "Bytes.", registry=self.registry)
        Info("built", "What.", registry=self.registry).info({"version": "1"})

    def told(self) -> list[Family]:
        """What another process is told, as it comes down the line."""
        found: list[Family] = json.loads(json.dumps(families(self.registry)))
        return found


def page(collector: Any) -> Mapping[str, float]:
    lines = [line for line in generate_latest(collector).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def totals() -> Totals:
    return Totals()


def test_what_is_counted_is_summed_and_what_is_measured_says_who(totals: Totals) -> None:
    one, two = Process(), Process()
    for process, count in ((one, 3), (two, 4)):
        process.done.labels("a").inc(count)
        process.seconds.observe(count / 4)
        process.memory.set(count)
    two.done.labels("b").inc()
    totals.told("1", one.told())
    totals.told("2", two.told())

    assert page(totals) == {
        'done_total{kind="a"}': 7,
        'done_total{kind="b"}': 1,
        'seconds_bucket{le="1.0"}': 2,
        'seconds_bucket{le="+Inf"}': 2,
        "seconds_count": 2,
        "seconds_sum": 1.75,
        'memory{worker="1"}': 3,
        'memory{worker="2"}': 4,
        'built_info{version="1",worker="1"}': 1,
        'built_info{version="1",worker="2"}': 1,
    }


def test_what_a_worker_counted_stays_when_it_is_gone_and_is_counted_once(totals: Totals) -> None:
    one, heir = Process(), Process()
    one.done.labels("a").inc(5)
    totals.told("1", one.told())
    before = page(totals)

    totals.ended("1")
    totals.ended("1")
    gone = page(totals)
    totals.told("1", heir.told())
    replaced = page(totals)
    heir.done.labels("a").inc(2)
    totals.told("1", heir.told())

    counted = 'done_total{kind="a"}'
    assert (before[counted], gone[counted], replaced[counted], page(totals)[counted]) == (5, 5, 5, 7)
    assert 'memory{worker="1"}' not in gone
    assert 'memory{worker="1"}' in replaced


def test_a_page_can_be_read_in_both_formats_and_has_no_dates(totals: Totals) -> None:
    one = Process()
    one.done.labels("a").inc()
    totals.told("1", one.told())

    for accepts, read in (("", read_text), (OPENMETRICS, read_openmetrics)):
        answer = written(totals, accepts)
        names = [family.name for family in read(answer.body.decode())]
        assert sorted(names) == sorted(["done", "seconds", "memory", "built" if accepts else "built_info"])
    assert "openmetrics" in answer.content_type
    assert b"_created" not in answer.body
    assert b"_created" not in written(one.registry, "").body


def test_of_two_metrics_with_one_name_the_first_counts() -> None:
    one, two = Process(), Process()
    one.memory.set(1)
    two.memory.set(2)
    Counter("else", "Else.", registry=two.registry)

    found = page(Together((one.registry, two.registry)))

    assert (found["memory"], found["else_total"]) == (1, 0)


def test_a_label_of_the_applications_own_does_not_hide_who_says_it(totals: Totals) -> None:
    for number in ("1", "2"):
        registry = CollectorRegistry()
        Gauge("slots", "Own.", ["worker"], registry=registry).labels("mine").set(1)
        totals.told(number, families(registry))

    assert set(page(totals)) == {'slots{worker="1"}', 'slots{worker="2"}'}


def test_nothing_is_a_page_too(totals: Totals) -> None:
    empty: Iterable[object] = totals.collect()

    assert list(empty) == []
    assert written(totals, "").body == b""

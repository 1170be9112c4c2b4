"""What a worker says of itself is read back as it was, and whatever else stands there is no announcement."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from necrostack.fleet import MOST_BYTES, Announcement, read_topology
from necrostack.report import OrganReport, RunReport
from necrostack.topology import OrganNode, Topology

TOPOLOGY = Topology((OrganNode(name="Billing", listens_to=("ORDERED",), emits=None, is_async=True),))

SAID = Announcement(
    host="alpha",
    pid=7,
    version="1.0",
    python="3.11.9",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    at=datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
    concurrency=2,
    in_work=1,
    report=RunReport(handled=10, failed=3, duration=60.0, organs={"Billing": OrganReport(handled=10, failed=3)}),
    recent=RunReport(handled=6, failed=1, duration=2.0, organs={"Billing": OrganReport(handled=6, failed=1)}),
    topology=TOPOLOGY,
)


def written(topology: Topology) -> str:
    return json.dumps(topology.to_dict())


def told(**changes: Any) -> str:
    return json.dumps(json.loads(SAID.to_json()) | changes)


counts = st.integers(0, 2**53)
names = st.text(max_size=20)
organs = st.dictionaries(names, st.builds(OrganReport, handled=counts, failed=counts), max_size=3)
reports = st.builds(RunReport, handled=counts, lost=counts, duration=st.floats(0, 1e9), organs=organs)
moments = st.datetimes(timezones=st.just(UTC))


@settings(max_examples=25)
@given(host=names, pid=counts, at=moments, report=reports, recent=reports)
def test_an_announcement_is_read_as_it_was_written(
    host: str, pid: int, at: datetime, report: RunReport, recent: RunReport
) -> None:
    said = replace(SAID, host=host, pid=pid, at=at, report=report, recent=recent)

    assert Announcement.from_json(said.to_json(), read_topology(written(TOPOLOGY))) == said


def test_rates_are_those_of_the_last_period() -> None:
    assert (SAID.rate, SAID.failure_rate) == (3.0, 0.5)


def test_there_is_no_rate_of_no_time() -> None:
    assert replace(SAID, recent=RunReport(handled=3)).rate == 0.0


def test_a_time_elsewhere_is_read_as_utc() -> None:
    here = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))

    said = Announcement.from_json(told(at=here.isoformat()))

    assert said is not None
    assert said.at == here
    assert said.at.tzinfo is UTC


def test_numbers_that_a_later_version_may_add_are_passed_over() -> None:
    said = Announcement.from_json(told(colour="red", report={"handled": 1, "paused": 2, "organs": {}}))

    assert said is not None
    assert said.report == RunReport(handled=1)


NONE_AT_ALL = [b"", b"\xff", b"[]", b"{}", b"null", b"[" * 100_000]

WRONG: list[dict[str, Any]] = [
    {"host": None},
    {"host": "x" * 256},
    {"pid": -1},
    {"pid": True},
    {"pid": 2**60},
    {"pid": "7"},
    {"at": "yesterday"},
    {"at": "2026-01-01T00:00:00"},
    {"at": "0001-01-01T00:00:00+01:00"},
    {"report": None},
    {"report": {"handled": 1}},
    {"report": {"organs": []}},
    {"report": {"organs": {"Billing": 3}}},
    {"report": {"organs": {"Billing": {"handled": -3}}}},
    {"recent": {"organs": {}, "duration": float("nan")}},
    {"recent": {"organs": {}, "duration": float("inf")}},
    {"recent": {"organs": {}, "duration": "1"}},
    {"padding": "x" * MOST_BYTES},
]


@pytest.mark.parametrize(
    "text",
    [*NONE_AT_ALL, *[told(**changes).encode() for changes in WRONG]],
    ids=[repr(each)[:60] for each in (*NONE_AT_ALL, *WRONG)],
)
def test_what_is_no_announcement_is_none(text: bytes) -> None:
    assert Announcement.from_json(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        json.dumps({"organs": [{}]}),
        json.dumps({"organs": [{"name": "A", "listens_to": [1], "emits": None, "async": True}]}),
        json.dumps({"organs": [{"name": "A", "listens_to": ["x" * 256], "emits": None, "async": True}]}),
        json.dumps({"organs": [{"name": "A", "listens_to": 5, "emits": None, "async": True}]}),
        json.dumps({"organs": [{"name": "A", "listens_to": [], "emits": None, "async": "yes"}]}),
    ],
)
def test_what_is_no_topology_is_none(text: str) -> None:
    assert read_topology(text) is None


@settings(max_examples=25)
@given(st.recursive(st.none() | st.floats() | names, lambda inner: st.lists(inner) | st.dictionaries(names, inner)))
def test_nothing_that_stands_there_is_an_error(value: object) -> None:
    assert Announcement.from_json(json.dumps(value)) is None
    assert read_topology(json.dumps({"organs": value})) in (None, Topology(()))
    for name in ("host", "pid", "at", "report", "recent"):
        Announcement.from_json(told(**{name: value}))

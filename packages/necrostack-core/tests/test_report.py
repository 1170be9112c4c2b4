"""Reports: frozen numbers that can be written as JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields

import pytest

from necrostack.report import OrganReport, RunReport


def test_a_run_that_did_nothing_reports_zeros() -> None:
    empty = RunReport().to_dict()

    assert empty.pop("organs") == {}
    assert set(empty.values()) == {0}


def test_a_report_cannot_change() -> None:
    with pytest.raises(FrozenInstanceError):
        RunReport().handled = 1  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        OrganReport().handled = 1  # type: ignore[misc]


def test_a_report_has_every_number_that_is_promised() -> None:
    promised = "handled unrouted emitted failed retried dead_lettered deduplicated duration"

    assert {field.name for field in fields(RunReport)} >= {*promised.split()}


def test_a_report_and_those_of_its_organs_are_written_as_json() -> None:
    report = RunReport(handled=3, failed=1, duration=0.5, organs={"Billing": OrganReport(handled=3, failed=1)})

    written = json.loads(json.dumps(report.to_dict()))

    assert {field.name for field in fields(RunReport)} == written.keys()
    assert (written["handled"], written["failed"], written["duration"]) == (3, 1, 0.5)
    assert written["organs"] == {"Billing": {"handled": 3, "emitted": 0, "failed": 1, "retried": 0, "dead_lettered": 0}}


def test_reports_of_workers_that_ran_side_by_side_add_up() -> None:
    first = RunReport(handled=3, failed=1, duration=2.0, organs={"A": OrganReport(handled=3, failed=1)})
    second = RunReport(
        handled=4, duration=1.0, organs={"A": OrganReport(handled=1), "B": OrganReport(handled=3, emitted=2)}
    )

    both = RunReport.summed([first, second])

    assert (both.handled, both.failed, both.duration) == (7, 1, 2.0)
    assert both.organs == {"A": OrganReport(handled=4, failed=1), "B": OrganReport(handled=3, emitted=2)}


def test_no_reports_add_up_to_one_that_did_nothing() -> None:
    assert RunReport.summed([]) == RunReport()


def test_a_report_can_be_read_back() -> None:
    report = RunReport(handled=3, lost=1, duration=0.25, organs={"A": OrganReport(handled=3, retried=2)})

    assert RunReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report

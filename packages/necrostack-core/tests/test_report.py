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

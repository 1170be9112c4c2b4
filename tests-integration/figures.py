"""What a fault did, in figures: printed where it was measured, and gathered into one table by `--figures FOLDER`.

A test that takes the fixture `figures` is a fault test: it bears the mark `fault`, by which `nox -s faults` finds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROPERTY = "figures"
"""The name under which a test's report carries its figures, also from one process to another."""

Value = int | float | str


@dataclass(frozen=True)
class Figures:
    """What one fault did.

    Attributes:
        fault: What happened, in a few words that begin a sentence.
        times: How often it happened.
        events: How many events there were to handle, or to keep.
        lost: How many of them are nowhere.
        doubled: How many are somewhere once too often.
        more: What else was counted, by its name.
    """

    fault: str
    times: int
    events: int
    lost: int
    doubled: int
    more: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        told = [f"{self.events:,} events", f"{self.lost:,} lost", f"{self.doubled:,} doubled", *self.others()]
        return f"{self.fault}: {self.times:,} ×; {', '.join(told)}"

    def others(self) -> list[str]:
        """What else was counted, in words."""
        return [f"{_shown(value)} {name.replace('_', ' ')}" for name, value in self.more.items()]


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


class Recorder:
    """Prints the figures of one test, and adds them to its report."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties

    def __call__(self, fault: str, *, times: int, events: int, lost: int, doubled: int, **more: Value) -> None:
        """Record what a fault did; the keywords beyond those of `Figures` become its `more`."""
        found = Figures(fault, times, events, lost, doubled, more)
        print(f"\n{found}")
        # Plain values: pytest-xdist sends them from the worker that ran the test.
        self._properties.append((PROPERTY, {**vars(found), "more": dict(more)}))


@dataclass(frozen=True)
class Row:
    """One fault in the table: its figures, the test that shows it, what became of the test, and how long it took."""

    figures: Figures
    test: str
    outcome: str
    seconds: float


def rows(reports: Sequence[pytest.TestReport]) -> list[Row]:
    """Take the figures out of the reports of the tests' calls, by fault."""
    found = [
        Row(Figures(**data), report.nodeid, report.outcome, report.duration)
        for report in reports
        for name, data in report.user_properties
        if name == PROPERTY and isinstance(data, dict)
    ]
    return sorted(found, key=lambda row: (row.test.partition("[")[0], row.figures.fault))


def as_data(found: Sequence[Row], surroundings: Mapping[str, str]) -> dict[str, Any]:
    """Give all of it, ready for JSON."""
    faults = [{**vars(row), "figures": vars(row.figures)} for row in found]
    return {**surroundings, "faults": [{**fault.pop("figures"), **fault} for fault in faults]}


def markdown(found: Sequence[Row], surroundings: Mapping[str, str]) -> str:
    """Write one line per fault, under a line that says where it happened."""
    lines = [
        "| fault | times | events | lost | doubled | also | test |",
        "|---|---:|---:|---:|---:|---|---|",
    ]
    for row in found:
        its = row.figures
        name = row.test.rpartition("/")[2].replace("|", "\\|")
        also = "; ".join([*its.others(), *([] if row.outcome == "passed" else [f"the test {row.outcome}"])])
        cells = [its.fault, f"{its.times:,}", f"{its.events:,}", f"{its.lost:,}", f"{its.doubled:,}", also, f"`{name}`"]
        lines.append(f"| {' | '.join(cells)} |")
    where = "; ".join(f"{name}: {value}" for name, value in surroundings.items())
    return f"{where}\n\n" + "\n".join(lines) + "\n"


def write(folder: Path, found: Sequence[Row], surroundings: Mapping[str, str]) -> None:
    """Write `faults.json` and `faults.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(as_data(found, surroundings), indent=2, ensure_ascii=False)
    (folder / "faults.json").write_text(data + "\n", encoding="utf-8")
    (folder / "faults.md").write_text(markdown(found, surroundings), encoding="utf-8")

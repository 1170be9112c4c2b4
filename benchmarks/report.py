"""Writes what was measured: a Markdown table for people, plain data for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.case import Figure, Result, Workload
from benchmarks.summary import Line


def markdown(workload: Workload, lines: Sequence[Line]) -> str:
    """Write one table, a line per case."""
    headings = ["shape", "system", "how", "N"]
    for figure in workload.figures:
        headings += [figure.heading, *_extra_headings(workload, figure)]
    rows = [[*headings, "exact"], ["---"] * 3 + ["---:"] * (len(headings) - 2)]
    rows += [_cells(workload, line, len(headings)) for line in lines]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## {workload.title}\n\n{table}\n"


def _extra_headings(workload: Workload, figure: Figure) -> list[str]:
    if figure is workload.figures[0]:
        return ["min–max", "× limit"]
    return ["× limit"] if figure.compared else []


def _cells(workload: Workload, line: Line, columns: int) -> list[str]:
    case = line.case
    cells = [case.shape, case.system, case.note, f"{case.n:,}" if case.n else ""]
    for figure, found, ratio in zip(workload.figures, line.figures, line.ratios, strict=False):
        shown = {
            "min–max": f"{found.low:,.{figure.digits}f}–{found.high:,.{figure.digits}f}",
            "× limit": "" if ratio is None else f"{ratio:.2f}",
        }
        cells += [f"{found.median:,.{figure.digits}f}", *(shown[extra] for extra in _extra_headings(workload, figure))]
    return [*cells, *[""] * (columns - len(cells)), f"{line.exact}/{line.rounds}"]


def document(machine: str, versions: Mapping[str, str], tables: Sequence[str]) -> str:
    """Put the tables under a line that says where and with what they were measured."""
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join([f"{machine}; {packages}\n", *tables])


def as_data(workload: Workload, lines: Sequence[Line], results: Sequence[Result]) -> dict[str, Any]:
    """Give a workload's summary and every single round, ready for JSON."""
    keys = [figure.key for figure in workload.figures]
    return {
        "workload": workload.name,
        "title": workload.title,
        "lines": [
            {
                "system": line.case.system,
                "shape": line.case.shape,
                "n": line.case.n,
                "note": line.case.note,
                "figures": {key: asdict(found) for key, found in zip(keys, line.figures, strict=False)},
                "ratios": dict(zip(keys, line.ratios, strict=False)),
                "exact": line.exact,
                "rounds": line.rounds,
                "measured": [asdict(measurement) for measurement in result.measured],
                "failures": result.failures,
            }
            for line, result in zip(lines, results, strict=True)
        ],
    }

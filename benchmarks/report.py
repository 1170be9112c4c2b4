"""Writes what was measured: a Markdown table for people, plain data for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.case import Result, Workload
from benchmarks.summary import Line


def markdown(workload: Workload, lines: Sequence[Line]) -> str:
    """Write one table, a line per case."""
    main, *others = workload.figures
    headings = ["shape", "system", "how", "N", main.heading, "min–max", "× limit"]
    headings += [figure.heading for figure in others]
    rows = [[*headings, "exact"], ["---"] * 3 + ["---:"] * (len(headings) - 2)]
    rows += [_cells(workload, line) for line in lines]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## {workload.title}\n\n{table}\n"


def _cells(workload: Workload, line: Line) -> list[str]:
    case = line.case
    cells = [case.shape, case.system, case.note, f"{case.n:,}" if case.n else ""]
    if line.figures:
        (main, first), *others = zip(workload.figures, line.figures, strict=True)
        cells += [
            f"{first.median:,.{main.digits}f}",
            f"{first.low:,.{main.digits}f}–{first.high:,.{main.digits}f}",
            "" if line.ratio is None else f"{line.ratio:.2f}",
        ]
        cells += [f"{found.median:,.{figure.digits}f}" for figure, found in others]
    else:
        cells += [""] * (2 + len(workload.figures))
    return [*cells, f"{line.exact}/{line.rounds}"]


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
                "ratio": line.ratio,
                "exact": line.exact,
                "rounds": line.rounds,
                "measured": [asdict(measurement) for measurement in result.measured],
                "failures": result.failures,
            }
            for line, result in zip(lines, results, strict=True)
        ],
    }

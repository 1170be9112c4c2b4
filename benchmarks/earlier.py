"""Reads what was measured before from the JSON that it was written to, and puts several runs together."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.case import Case, Measurement, Result, Workload


class RunsDiffer(Exception):
    """What was measured before cannot stand in one table; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was measured.

    Attributes:
        machine: Where it was measured; all of them where they differ.
        versions: With what; where they differ, all of them.
        results: By the name of the workload, in the order of their shapes.
    """

    machine: str
    versions: dict[str, str]
    results: dict[str, list[Result]]


def read(paths: Sequence[Path], workloads: Sequence[Workload]) -> Run:
    """Read what the files say about these workloads; the rounds of one case come together.

    Raises:
        RunsDiffer: A case ran with another n, or a round lacks a figure of its workload.
    """
    runs = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    names = sorted({name for _, run in runs for name in run["versions"]})
    return Run(
        machine=_either(run["machine"] for _, run in runs),
        versions={name: _either(run["versions"].get(name) for _, run in runs) for name in names},
        results={workload.name: _results(workload, runs) for workload in workloads},
    )


def _either(texts: Iterable[str | None]) -> str:
    return " or ".join(dict.fromkeys(text for text in texts if text))


def _results(workload: Workload, runs: Sequence[tuple[Path, Any]]) -> list[Result]:
    found: dict[tuple[str, str], Result] = {}
    for path, run in runs:
        for line in (line for data in run["workloads"] if data["workload"] == workload.name for line in data["lines"]):
            case = _case(line)
            result = found.setdefault((case.shape, case.system), Result(case=case))
            _check(workload, result.case, line, path)
            result.measured.extend(Measurement(**measured) for measured in line["measured"])
            result.failures.extend(line["failures"])
    shapes = list(dict.fromkeys(shape for shape, _ in found))
    return sorted(found.values(), key=lambda result: shapes.index(result.case.shape))


def _case(line: Any) -> Case:
    system, shape, n, note = (line[key] for key in ("system", "shape", "n", "note"))
    return Case(system=system, shape=shape, n=n, command=(), is_limit=system == "limit", note=note)


def _check(workload: Workload, case: Case, line: Any, path: Path) -> None:
    what = f"{workload.name}: {case.shape}, {case.system}: {path}"
    if line["n"] != case.n:
        msg = f"{what} has n = {line['n']:,}, and a file before it {case.n:,}; leave one of them out"
        raise RunsDiffer(msg)
    wanted = {figure.key for figure in workload.figures}
    if lacking := {key for measured in line["measured"] for key in wanted - measured["figures"].keys()}:
        names = ", ".join(sorted(lacking))
        msg = f"{what} lacks {names}, which was not measured then; measure it again, or name the other workloads"
        raise RunsDiffer(msg)

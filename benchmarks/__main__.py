"""`python -m benchmarks [WORKLOAD ...]`: run the workloads; tables on stdout, progress on stderr."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.case import Case, Result, Workload
from benchmarks.earlier import Run, RunsDiffer, read
from benchmarks.machine import machine, versions
from benchmarks.overview import overview
from benchmarks.plot import Table, svg
from benchmarks.report import as_data, document, markdown
from benchmarks.rounds import missing, run_rounds
from benchmarks.summary import summarise
from benchmarks.workloads import WORKLOADS


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{number} is less than 1"
        raise argparse.ArgumentTypeError(msg)
    return number


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(workload.name for workload in WORKLOADS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {names}; all unless some are named")
    parser.add_argument("--rounds", type=_positive, help="how often each case runs")
    parser.add_argument("--n", type=_positive, help="the scale of each workload")
    parser.add_argument("--only", action="append", metavar="SYSTEM", help="this system and the limit; repeatable")
    parser.add_argument("--shape", action="append", help="only this shape; repeatable")
    parser.add_argument(
        "--from",
        type=Path,
        action="append",
        dest="earlier",
        metavar="FILE",
        help="measure nothing: show what --json wrote before; repeatable, rounds of one case come together",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to a file as well")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the first figure of every case as an SVG")
    parser.add_argument("--overview", type=Path, metavar="FILE", help="draw all ratios to the limit as one SVG")
    return parser


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _chosen_workloads(parser: argparse.ArgumentParser, names: Sequence[str]) -> list[Workload]:
    known = {workload.name.lower(): workload for workload in WORKLOADS}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        parser.error(f"there is no workload {unknown[0]!r}; there are {', '.join(w.name for w in WORKLOADS)}")
    return [known[name.lower()] for name in names] or list(WORKLOADS)


def _is_chosen(case: Case, options: argparse.Namespace) -> bool:
    return (not options.only or case.is_limit or case.system in options.only) and (
        not options.shape or case.shape in options.shape
    )


def _chosen_cases(workload: Workload, options: argparse.Namespace) -> list[Case]:
    chosen = [case for case in workload.cases(options.n or workload.n) if _is_chosen(case, options)]
    for case in chosen:
        if lacking := missing(case):
            lacked = ", ".join(lacking)
            how = ", which `python -m benchmarks.environments` does" if case.environment else ""
            _tell(f"{workload.name}: {case.shape}, {case.system}: left out, {lacked} is not installed{how}")
    return [case for case in chosen if not missing(case)]


def _measure(workloads: Sequence[Workload], options: argparse.Namespace) -> Run:
    results, used, surroundings = dict[str, list[Result]](), list[Case](), dict[str, str]()
    for workload in workloads:
        cases = _chosen_cases(workload, options)
        rounds = options.rounds or workload.rounds
        results[workload.name] = run_rounds(cases, rounds=rounds, warmups=workload.warmups, tell=_tell)
        used += cases
        surroundings |= workload.surroundings()
    return Run(machine=machine(), versions=versions(used) | surroundings, results=results)


def main() -> int:
    """Run what the command line asks for, or read what ran; 1 when a round failed or was not exact."""
    parser = _parser()
    options = parser.parse_args()
    workloads = _chosen_workloads(parser, options.workloads)
    try:
        run = read(options.earlier, workloads) if options.earlier else _measure(workloads, options)
    except RunsDiffer as difference:
        parser.error(str(difference))
    tables, data = list[Table](), list[dict[str, Any]]()
    for workload in workloads:
        if results := [result for result in run.results[workload.name] if _is_chosen(result.case, options)]:
            lines = summarise(results, workload.figures)
            tables.append((workload, lines))
            data.append(as_data(workload, lines, results))
    text = document(run.machine, run.versions, [markdown(workload, lines) for workload, lines in tables])
    sys.stdout.write(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        found = {"machine": run.machine, "versions": run.versions, "workloads": data}
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        options.plot.write_text(svg(tables), encoding="utf-8")
    if options.overview:
        options.overview.write_text(overview(tables), encoding="utf-8")
    return 0 if all(line.is_sound for _, lines in tables for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())

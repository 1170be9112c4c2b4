"""Runs cases round by round, each run in a fresh process, so that none inherits the heap of another."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.case import Case, Measurement, Result
from benchmarks.environments import ROOT, python, version

PATIENCE: Final = 900.0
"""Seconds after which a process counts as hanging."""


class RunFailed(Exception):
    """A case's process did not end well; the text is the last that it said."""


def missing(case: Case) -> list[str]:
    """Name the distributions that a case needs and its environment lacks."""
    return [name for name in case.needs if not version(name, case.environment)]


def run_rounds(cases: Sequence[Case], *, rounds: int, warmups: int, tell: Callable[[str], None]) -> list[Result]:
    """Run the cases interleaved, A B C A B C …, so that a slow minute of the machine touches all alike.

    Args:
        cases: What to run, in this order.
        rounds: How often.
        warmups: Rounds before those, which are forgotten.
        tell: Takes one line of progress per run.
    """
    results = [Result(case=case) for case in cases]
    for turn in range(-warmups, rounds):
        label = "warm-up" if turn < 0 else f"round {turn + 1}/{rounds}"
        for result in results:
            case = result.case
            try:
                measurement = run_case(case)
            except RunFailed as failure:
                tell(f"{label}: {case.shape}, {case.system}: failed: {failure}")
                if turn >= 0:
                    result.failures.append(str(failure))
                continue
            tell(f"{label}: {case.shape}, {case.system}: {_brief(measurement)}")
            if turn >= 0:
                result.measured.append(measurement)
    return results


def _brief(measurement: Measurement) -> str:
    figures = " ".join(f"{key}={value:.2f}" for key, value in measurement.figures.items())
    return figures if measurement.exact else f"{figures} NOT EXACT"


def run_case(case: Case) -> Measurement:
    """Run a case once.

    Raises:
        RunFailed: Its process failed, hung, or printed no measurement.
    """
    command = [python(case.environment), *case.command]
    # Its own code first on the path, nothing else of the caller's environment changed.
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        msg = f"still running after {PATIENCE:.0f} s"
        raise RunFailed(msg) from None
    if done.returncode != 0:
        raise RunFailed(_last_line(done.stderr) or f"exit code {done.returncode}")
    try:
        found = json.loads(_last_line(done.stdout))
        return Measurement(exact=found["exact"], figures=found["figures"])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"printed no measurement, but {_last_line(done.stdout)!r}"
        raise RunFailed(msg) from error


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""

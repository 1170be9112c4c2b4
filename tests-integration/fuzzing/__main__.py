"""`python -m fuzzing [TARGET ...] --seconds 60`: look for inputs that do what must not be, and measure the interesting.

An input that shows something is kept, and `nox -s fuzz -- TARGET --replay FILE` shows it again.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzzing.bounds import Cost, check_cost, grown
from fuzzing.corpus import CORPUS
from fuzzing.shapes import SHAPES
from fuzzing.targets import TARGETS, Target

HERE = Path(__file__).parent
FINDINGS = Path("fuzzing-findings")


@dataclass
class Outcome:
    """What became of one target.

    Attributes:
        target: Its name.
        executions: How many inputs were tried.
        seconds: For how long.
        coverage: How many edges of our code they went over.
        kept: How many of them went where none had gone before.
        measured: How many inputs were measured, at their full size.
        slowest: The most seconds for a mebibyte.
        largest: The most bytes that one byte took.
        findings: The files of what was found.
    """

    target: str
    executions: int = 0
    seconds: float = 0.0
    coverage: int = 0
    kept: int = 0
    measured: int = 0
    slowest: float = 0.0
    largest: float = 0.0
    findings: list[Path] | None = None

    def __str__(self) -> str:
        return (
            f"| `{self.target}` | {self.executions:,} | {self.seconds:,.0f} | {self.coverage:,} | {self.kept:,} "
            f"| {self.measured:,} | {self.slowest:.2f} | {self.largest:.0f} | {len(self.findings or [])} |"
        )


HEADER = (
    "| target | executions | seconds | edges | kept | measured | s/MiB | B/B | findings |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)


# --- look for inputs -------------------------------------------------------------------------------------


def fuzz(target: Target, seconds: int, folder: Path) -> Outcome:
    """Let atheris try inputs, and measure those that went where none had gone before."""
    found = folder / target.name
    found.mkdir(parents=True)
    FINDINGS.mkdir(exist_ok=True)
    outcome = Outcome(target.name, findings=[])
    artifacts = Path(tempfile.mkdtemp(dir=folder))
    engine = [sys.executable, "-m", "fuzzing.engine", target.name, str(found)]
    started = time.monotonic()
    done = subprocess.run(
        [*engine, str(CORPUS / target.name), str(artifacts), str(seconds)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    outcome.seconds = time.monotonic() - started
    told = done.stderr + done.stdout
    runs = re.findall(r"stat::number_of_executed_units: +(\d+)", told)
    outcome.executions = int(runs[-1]) if runs else 0
    outcome.coverage = max(map(int, re.findall(r"\bcov: (\d+)", told)), default=0)
    outcome.kept = len([*found.iterdir()])
    for artifact in sorted(artifacts.iterdir()):
        outcome.findings = [*(outcome.findings or []), _kept(target, artifact.read_bytes(), artifact.name)]
        print(told[-4000:])
    if done.returncode != 0 and not outcome.findings:
        raise RuntimeError(f"the engine ended with {done.returncode}\n{told[-4000:]}")
    return outcome


def _kept(target: Target, data: bytes, name: str) -> Path:
    file = FINDINGS / f"{target.name}-{name}"
    file.write_bytes(data)
    print(f"FOUND: nox -s fuzz -- {target.name} --replay {file}")
    return file


# --- measure ---------------------------------------------------------------------------------------------


def measure(target: Target, folder: Path, outcome: Outcome, seconds: float) -> None:
    """See what known shapes cost, and for some seconds also interesting inputs of which pieces are grown."""
    chance = random.Random(0)
    inputs = [shape.of(target.largest) for shape in SHAPES[target.name].values()]
    kept = [path.read_bytes() for path in sorted((folder / target.name).iterdir())]
    chance.shuffle(kept)
    until = float("inf")
    for data in [*inputs, *(_grown(data, chance, target.largest // 8) for data in kept if data)]:
        if outcome.measured == len(inputs):
            until = time.monotonic() + seconds
        if time.monotonic() > until:
            break
        try:
            cost = check_cost(target, data)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is a finding
            print(f"{type(error).__name__}: {error}")
            outcome.findings = [*(outcome.findings or []), _kept(target, data, f"cost-{outcome.measured}")]
        else:
            _note(outcome, cost)
        outcome.measured += 1


def _grown(data: bytes, chance: random.Random, size: int) -> bytes:
    places = [0, len(data), *(found.start() for found in re.finditer(rb'[\]\[{}:,"\n&?/@%.]', data))]
    start, end = sorted((chance.choice(places), chance.choice(places)))
    return grown(data, start, min(max(end, start + 1), start + 64), size)


def _note(outcome: Outcome, cost: Cost) -> None:
    if cost.size > 10_000:  # of a small one the price of its size is not to be seen
        outcome.slowest = max(outcome.slowest, cost.seconds_per_mib)
        outcome.largest = max(outcome.largest, cost.times_its_size)


# --- all of it -------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz, or replay; return 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"which: {', '.join(TARGETS)}; all unless given")
    parser.add_argument("--seconds", type=int, default=60, help="for how long, each (%(default)s)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try this input alone")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the interesting inputs there")
    options = parser.parse_args(argv)
    if unknown := {*options.targets} - {*TARGETS}:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    targets = [TARGETS[name] for name in options.targets or TARGETS]
    if options.replay is not None:
        data = options.replay.read_bytes()
        for target in targets:
            target.run(data)
            print(f"{target.name}: nothing found; {check_cost(target, data)}")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="fuzzing-"))
    outcomes = []
    for target in targets:
        outcome = fuzz(target, options.seconds, folder)
        measure(target, folder, outcome, options.seconds / 4)
        outcomes.append(outcome)
        print(f"{HEADER}\n{outcome}", flush=True)
    if options.keep is not None:
        shutil.copytree(folder, options.keep, dirs_exist_ok=True)
    shutil.rmtree(folder)
    print(HEADER, *outcomes, sep="\n")
    return 1 if any(outcome.findings for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

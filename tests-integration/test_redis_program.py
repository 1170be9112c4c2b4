"""The real program, through the real command line, on a real server: alone, with others, and when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from log_schema import problems_in

ROOT = Path(__file__).parents[1]
FEED = ROOT / "examples" / "github_webhooks" / "deliveries.ndjson.gz"
COMMAND = [
    *(sys.executable, "-m", "necrostack", "run", "examples.github_webhooks.app:spine"),
    *("--feed", str(FEED), "--until-idle", "--json"),
]


def start_program(*options: str) -> subprocess.Popen[str]:
    """Start the program on its feed."""
    return subprocess.Popen(
        [*COMMAND, *options],
        cwd=ROOT,
        env={**os.environ, "REPORT": "markdown"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(out: str) -> tuple[str, dict[str, object]]:
    """The report of the program, and the numbers of the run."""
    *report, last = out.splitlines()
    numbers: dict[str, object] = json.loads(last)
    return "\n".join(report), {
        name: numbers[name] for name in ("handled", "emitted", "failed", "retried", "dead_lettered")
    }


def run_program(*options: str) -> tuple[str, dict[str, object]]:
    """Run the program on its feed; see `printed`."""
    with start_program(*options) as program:
        out, err = program.communicate(timeout=50)
    assert program.returncode == 0, err
    return printed(out)


def test_the_real_program_reports_the_same_on_redis_as_in_memory(redis_url: str, app: str) -> None:
    in_memory = run_program()

    on_redis = run_program("--backend", f"{redis_url}?app={app}")

    assert on_redis == in_memory


def test_two_workers_report_the_same_as_one(redis_url: str, app: str) -> None:
    in_memory = run_program()

    by_two = run_program("--backend", f"{redis_url}?app={app}", "--workers", "2")

    assert by_two == in_memory


def test_the_report_is_the_same_when_a_worker_is_killed_in_the_middle(redis_url: str, app: str) -> None:
    in_memory, _ = run_program()

    with start_program("--backend", f"{redis_url}?app={app}&lease=1", "--workers", "2") as program:
        assert program.stderr is not None
        assert program.stdout is not None
        pids: dict[int, int] = {}
        deaths: list[dict[str, Any]] = []
        lines: list[dict[str, Any]] = []
        victim: int | None = None
        for line in program.stderr:
            if not line.startswith("{"):
                continue
            facts: dict[str, Any] = json.loads(line)
            lines.append(facts)
            if facts["event"] == "worker_started":
                pids[facts["worker"]] = facts["pid"]
            elif facts["event"] == "worker_died":
                deaths.append(facts)
            elif facts["event"] in ("dead_lettered", "retry_scheduled") and victim is None:
                # It is at work, an eighth of the way: this event and those that it pulled with it are not settled.
                victim = pids[facts["worker"]]
                os.kill(victim, signal.SIGKILL)
        out = program.stdout.read()
        code = program.wait(50)

    report, numbers = printed(out)
    print(f"kills 1, deaths {len(deaths)}, deliveries that the living told of {numbers['handled']}")
    assert code == 0
    assert [(death["pid"], death["exit_code"]) for death in deaths] == [(victim, -signal.SIGKILL)]
    assert report == in_memory
    assert problems_in(lines) == []
    assert all("worker" in facts for facts in lines)

"""The real program, through the real command line, on a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).parents[1]
FEED = ROOT / "examples" / "github_webhooks" / "deliveries.ndjson.gz"


def run_program(*options: str) -> tuple[str, dict[str, object]]:
    """Run the program on its feed; what it prints, and the numbers of the run."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "necrostack", "run", "examples.github_webhooks.app:spine"),
            *("--feed", str(FEED), "--until-idle", "--json", *options),
        ],
        cwd=ROOT,
        env={**os.environ, "REPORT": "markdown"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *report, last = done.stdout.splitlines()
    numbers: dict[str, object] = json.loads(last)
    return "\n".join(report), {
        name: numbers[name] for name in ("handled", "emitted", "failed", "retried", "dead_lettered")
    }


def test_the_real_program_reports_the_same_on_redis_as_in_memory(redis_url: str) -> None:
    in_memory = run_program()

    on_redis = run_program("--backend", f"{redis_url}?app=program-{uuid4().hex}")

    assert on_redis == in_memory

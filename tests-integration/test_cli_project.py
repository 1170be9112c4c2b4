"""`necrostack new` makes a project that passes its own tests and runs, with nothing but what is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *argv], cwd=cwd, capture_output=True, text=True, check=False)


def test_a_new_project_passes_its_own_tests(tmp_path: Path) -> None:
    made = run("necrostack", "new", "corner-shop", cwd=tmp_path)
    tested = run("pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path / "corner-shop")

    assert made.returncode == 0
    assert tested.returncode == 0, tested.stdout
    assert "4 passed" in tested.stdout


def test_a_new_project_is_typed_and_its_graph_has_no_problems(tmp_path: Path) -> None:
    run("necrostack", "new", "corner-shop", cwd=tmp_path)

    typed = run("mypy", "--strict", ".", cwd=tmp_path / "corner-shop")
    checked = run("necrostack", "graph", "--check", cwd=tmp_path / "corner-shop")

    assert typed.returncode == 0, typed.stdout
    assert checked.returncode == 0, checked.stderr

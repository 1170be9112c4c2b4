"""Users' code as type checkers see it: nothing wrong in what is right, and each usual mistake found.

The two programs are in `typing_tests/`. mypy reads them as it is and with pydantic's plugin, pyright as it is; all of
them in strict mode.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent.parent / "typing_tests"
MYPY_ERROR = re.compile(r"^(.+?):(\d+): error: (.*)$", re.MULTILINE)
PLUGIN = """
[mypy]
plugins = pydantic.mypy
[pydantic-mypy]
init_forbid_extra = True
init_typed = True
warn_required_dynamic_aliases = True
"""
Findings = Mapping[str, Mapping[int, str]]

pytestmark = pytest.mark.timeout(300)


def found(lines: list[tuple[str, int, str]]) -> Findings:
    """What was found, by file and line."""
    findings: dict[str, dict[int, str]] = {}
    for path, number, problem in lines:
        findings.setdefault(Path(path).name, {}).setdefault(number, problem)
    return findings


def start(*command: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROGRAMS,
        # Nobody asks which lines of a type checker run.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | variables,
    )


def start_mypy(folder: Path, config: str) -> subprocess.Popen[str]:
    folder.mkdir()
    (folder / "mypy.ini").write_text(config, encoding="utf-8")
    return start(
        "mypy",
        "--strict",
        f"--config-file={folder / 'mypy.ini'}",
        f"--cache-dir={folder / 'cache'}",
        "--no-error-summary",
        "--hide-error-codes",
        "good.py",
        "bad.py",
    )


def start_pyright(folder: Path) -> subprocess.Popen[str]:
    # Pyright reads what lies beside its configuration.
    shutil.copytree(PROGRAMS, folder)
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    return start(
        "pyright",
        "--outputjson",
        f"--project={folder}",
        f"--pythonpath={sys.executable}",
        PYRIGHT_PYTHON_IGNORE_WARNINGS="1",
    )


def read_mypy(process: subprocess.Popen[str]) -> Findings:
    output, errors = process.communicate()
    assert process.returncode == 1, f"mypy found nothing, or did not run: {output}{errors}"
    return found([(path, int(number), problem) for path, number, problem in MYPY_ERROR.findall(output)])


def read_pyright(process: subprocess.Popen[str]) -> Findings:
    output, errors = process.communicate()
    assert process.returncode == 1, f"pyright found nothing, or did not run: {output}{errors}"
    return found(
        [
            (each["file"], each["range"]["start"]["line"] + 1, each["message"])
            for each in json.loads(output)["generalDiagnostics"]
            if each["severity"] == "error"
        ]
    )


def marked(path: Path) -> set[int]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, start=1) if line.endswith("  # wrong")}


def test_each_checker_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    # Side by side, and in one test: of several, each of pytest's processes would start them all.
    plain = start_mypy(tmp_path / "mypy", "[mypy]\n")
    plugin = start_mypy(tmp_path / "plugin", PLUGIN)
    pyright = start_pyright(tmp_path / "pyright")
    findings = {
        "mypy": read_mypy(plain),
        "mypy with pydantic's plugin": read_mypy(plugin),
        "pyright": read_pyright(pyright),
    }

    expected = marked(PROGRAMS / "bad.py")
    assert len(expected) > 50
    for checker, files in findings.items():
        assert files.get("good.py", {}) == {}, checker
        problems = files["bad.py"]
        missed = sorted(expected - problems.keys())
        unexpected = {number: problem for number, problem in problems.items() if number not in expected}
        assert (missed, unexpected) == ([], {}), checker

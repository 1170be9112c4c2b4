"""What is importable from `necrostack`, and what importing it costs."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest

import necrostack

HERE = Path(necrostack.__file__).parent
# What all public names may load, for it costs every program: asyncio, pydantic, and what these load.
BUDGET = "import asyncio, pydantic; pydantic.create_model('M', a=(int, 1)); pydantic.TypeAdapter(int)"


def modules_after(program: str) -> set[str]:
    report = f"{program}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_public_names_are_sorted_and_each_is_there_once() -> None:
    assert necrostack.__all__ == sorted(set(necrostack.__all__))


@pytest.mark.parametrize("name", necrostack.__all__)
def test_a_public_name_is_documented_and_importable(name: str) -> None:
    scope: dict[str, object] = {}

    exec(f"from necrostack import {name}", scope)  # noqa: S102 -- the names are ours

    assert scope[name].__doc__


def test_a_star_import_brings_the_public_names_and_nothing_else() -> None:
    scope: dict[str, object] = {}

    exec("from necrostack import *", scope)  # noqa: S102

    assert scope.keys() - {"__builtins__"} == set(necrostack.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'necrostack' has no attribute 'Broker'"):
        attrgetter("Broker")(necrostack)


def test_importing_costs_little_beyond_pydantic_and_asyncio() -> None:
    brought = modules_after(f"{BUDGET}\nfrom necrostack import *") - modules_after(BUDGET)

    foreign = sorted(name for name in brought if name.partition(".")[0] != "necrostack")

    assert [name for name in foreign if name.partition(".")[0] not in sys.stdlib_module_names] == []
    assert len(foreign) <= 10, foreign


def test_the_package_alone_loads_neither_pydantic_nor_asyncio() -> None:
    brought = modules_after("import necrostack")

    assert {name for name in brought if name.partition(".")[0] == "necrostack"} == {"necrostack"}
    assert not {"pydantic", "asyncio"} & brought


def test_no_module_prints_or_logs_when_it_is_imported() -> None:
    names = [found.name for found in pkgutil.walk_packages([str(HERE)], "necrostack.")]
    quiet = [name for name in names if not name.startswith(("necrostack.testing", "necrostack.__main__"))]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {', '.join(quiet)}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_module_is_called_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "common", "base", "manager", "misc"}

    assert not {path.stem for path in HERE.rglob("*.py")} & drawers


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.stem)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

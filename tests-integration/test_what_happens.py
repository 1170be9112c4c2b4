"""The page "What happens when": each of its rows names a test that shows it, and no fault test is missing on it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "what-happens-when.md"
LINK = re.compile(r"\[`(test_\w+)`\]\(https://github\.com/necrostack/necrostack/blob/main/([\w/.-]+\.py)\)")
COLUMNS = 6


def rows() -> Iterator[list[str]]:
    """Give the cells of each row, without headings."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| what happens |"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def functions_in(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Find the tests of a module by their names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name: node for node in found if node.name.startswith("test_")}


@pytest.mark.parametrize("row", [*rows()], ids=lambda row: str(row[0]))
def test_a_row_is_complete_and_the_test_that_shows_it_exists(row: list[str]) -> None:
    assert len(row) == COLUMNS
    assert all(row)
    links = LINK.findall(row[-1])
    assert links
    for name, path in links:
        assert name in functions_in(ROOT / path), f"{path} has no {name}"


def test_every_fault_test_is_on_the_page() -> None:
    named = {name for row in rows() for name, _ in LINK.findall(row[-1])}
    faults = {
        name
        for path in sorted((ROOT / "tests-integration").glob("test_*.py"))
        for name, function in functions_in(path).items()
        if "figures" in {argument.arg for argument in function.args.args}
    }

    assert faults, "no test takes the fixture `figures`"
    assert not faults - named, f"{PAGE.name} lacks {sorted(faults - named)}"

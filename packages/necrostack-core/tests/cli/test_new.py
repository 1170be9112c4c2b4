"""`necrostack new`: a project that can be imported, run and tested."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli.conftest import Run


def test_a_project_is_made_and_its_files_are_named(necrostack: Run, folder: Path) -> None:
    ended = necrostack("new", "corner-shop")

    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert ended.code == 0
    assert set(ended.out.split()) == made
    assert {"corner-shop/pyproject.toml", "corner-shop/corner_shop/app.py", "corner-shop/.gitignore"} <= made


def test_json_names_the_package_too(necrostack: Run, folder: Path) -> None:
    made = json.loads(necrostack("new", "Corner.Shop", "--json").out)

    assert (made["path"], made["package"]) == ("Corner.Shop", "corner_shop")
    assert all((folder / path).is_file() for path in made["files"])


def test_nothing_of_the_template_is_left_open(necrostack: Run, folder: Path) -> None:
    necrostack("new", "corner-shop")

    metadata = tomllib.loads((folder / "corner-shop/pyproject.toml").read_text())
    assert metadata["project"]["name"] == "corner-shop"
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".md":
            assert "$" not in path.read_text()


def test_the_project_runs_on_its_feed(necrostack: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    necrostack("new", "corner-shop")
    monkeypatch.chdir(folder / "corner-shop")

    ended = necrostack("run", "--feed", "orders.ndjson", "--until-idle")

    assert ended.code == 0
    assert ended.out.startswith("order 1 is on its way\norder 2 is on its way\n")
    assert "1 dead letter" in ended.out


def test_what_is_there_already_is_left_alone(necrostack: Run, folder: Path) -> None:
    (folder / "shop").mkdir()

    ended = necrostack("new", "shop")

    assert (ended.code, ended.out) == (1, "")
    assert ended.told == ["necrostack: error: there is a 'shop' already; take another name, or another folder"]
    assert [*(folder / "shop").iterdir()] == []


@pytest.mark.parametrize("name", ["", "1shop", "sh op", "../shop", "shop-", "json", "class", "necrostack", "Tests"])
def test_a_name_that_no_project_can_have_is_refused(necrostack: Run, folder: Path, name: str) -> None:
    ended = necrostack("new", name)

    assert (ended.code, ended.out) == (2, "")
    assert f"{name!r} cannot name a project" in ended.told[0]
    assert [*folder.iterdir()] == []

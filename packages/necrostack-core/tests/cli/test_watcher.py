"""Which files are watched, and when they have changed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from necrostack.cli import watcher as watcher_module
from necrostack.cli.watcher import find_files, wait_for_change

if TYPE_CHECKING:
    from cli.conftest import Run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="--reload needs a POSIX system")


def write(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_python_files_of_the_application_are_watched_and_nothing_else(tmp_path: Path) -> None:
    for name in ("app.py", "shop/organs.py", "notes.txt", ".git/hook.py", "node_modules/gyp.py", "own-env/lib/x.py"):
        write(tmp_path / name)
    write(tmp_path / "own-env" / "pyvenv.cfg")
    write(tmp_path / "shop" / "__pycache__" / "organs.py")
    (tmp_path / "gone.py").symlink_to("nowhere.py")

    assert {*find_files(tmp_path)} == {"app.py", str(Path("shop", "organs.py"))}


@pytest.mark.parametrize("change", ["saved", "new", "gone"])
async def test_a_file_that_is_saved_new_or_gone_is_a_change(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "POLL", 0.001)
    write(tmp_path / "app.py", "before")
    before = find_files(tmp_path)
    waiting = asyncio.create_task(wait_for_change(tmp_path, before))
    await asyncio.sleep(0)

    name = "other.py" if change == "new" else "app.py"
    if change == "gone":
        (tmp_path / name).unlink()
    else:
        write(tmp_path / name, "and after")
    files, told = await waiting

    assert told == name
    assert files == find_files(tmp_path) != before


async def test_what_changes_and_is_as_before_a_moment_later_is_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "POLL", 0.001)
    states = iter([{"app.py": (2, 1)}, {"app.py": (1, 1)}, {"app.py": (1, 1)}])
    monkeypatch.setattr(watcher_module, "find_files", lambda _: next(states))

    files, told = await wait_for_change(tmp_path, {"app.py": (1, 1)})

    assert (files, told) == ({"app.py": (1, 1)}, "a file")


def test_stdin_cannot_be_fed_again(necrostack: Run, app: str) -> None:
    ended = necrostack("run", app, "--reload", "--feed", "-")

    assert ended.code == 2
    (told,) = ended.told
    assert told.startswith("necrostack: error: --reload feeds again at each start, and stdin can be read once; ")

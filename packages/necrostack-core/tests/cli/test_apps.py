"""APP: what it may be, and one clear line for everything that it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from necrostack import InMemoryBackend
from necrostack.cli.apps import load_app
from necrostack.cli.failures import CommandError, Exit


@pytest.mark.parametrize("name", ["cli_counting", "cli_counting:spine"])
def test_an_app_is_a_module_and_an_attribute_called_spine_unless_named(app: str, name: str) -> None:
    assert [organ.name for organ in load_app(name).organs] == ["Doubler", "Printer"]


def test_an_app_may_be_a_spine_or_an_attribute_of_an_object(folder: Path) -> None:
    (folder / "cli_made.py").write_text("from cli_counting import spine as make\nclass apps:\n    one = make()\n")
    (folder / "cli_counting.py").write_text("from necrostack import Spine\ndef spine(): return Spine([])\n")

    assert load_app("cli_made:apps.one").organs == ()


def test_the_backend_of_the_command_line_takes_the_place_of_the_apps_own(app: str) -> None:
    spine = load_app(app, "memory://?max_size=7")

    assert isinstance(spine.backend, InMemoryBackend)
    assert spine.backend.max_size == 7


HEAD = "from necrostack import Organ, Spine\n"


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("", "cli_absent", r"no module named 'cli_absent', looked for in .+ first"),
        ("", "cli_absent.deep:spine", "no module named 'cli_absent'"),
        ("", "cli_app.py", r"APP is 'cli_app.py', .*; write cli_app:spine"),
        ("", "some/cli_app.py:spine", r"write some.cli_app:spine"),
        ("", "no-module", r"APP is 'no-module', which names no module"),
        ("", "", r"APP is '', which names no module"),
        ("import cli_missing_one\n", "cli_app", r"importing 'cli_app' failed: .*cli_missing_one.* line 1, in <module>"),
        ("\n1 / 0\n", "cli_app", r"importing 'cli_app' failed: ZeroDivisionError: .*cli_app\.py, line 2, in <module>"),
        ("def f(:\n", "cli_app", r"importing 'cli_app' failed: SyntaxError: .*cli_app\.py, line 1"),
        ("import sys\nsys.exit(3)\n", "cli_app", r"importing 'cli_app' failed: it called sys.exit\(3\)"),
        ("x = 1\n", "cli_app:spline", r"cli_app has no attribute 'spline'"),
        (f"{HEAD}mine = Spine([])\n", "cli_app", r"has no attribute 'spine'; there is cli_app:mine"),
        ("spine = 5\n", "cli_app", r"cli_app:spine is a int, no Spine"),
        (f"{HEAD}", "cli_app:Spine", r"cli_app:Spine is the class Spine, no Spine"),
        ("def spine(): return 5\n", "cli_app", r"cli_app:spine\(\) made a int, no Spine"),
        ("def spine(n): pass\n", "cli_app", r"cli_app:spine cannot be called without arguments: .*'n'"),
        ("async def spine(): pass\n", "cli_app", r"cli_app:spine is an async function; write a plain one"),
        (
            "def spine():\n    raise KeyError('x')\n",
            "cli_app",
            r"cli_app:spine\(\) failed: KeyError: .*line 2, in spine",
        ),
        (
            f"{HEAD}class Deaf(Organ):\n    def handle(self, event): pass\n\nspine = Spine([Deaf()])\n",
            "cli_app",
            r"importing 'cli_app' failed: OrganError: Deaf\.listens_to is missing .*cli_app\.py, line 5",
        ),
    ],
)
def test_what_is_no_app_is_told_in_one_line_with_exit_code_3(
    folder: Path, source: str, name: str, message: str
) -> None:
    (folder / "cli_app.py").write_text(source)

    with pytest.raises(CommandError) as error:
        load_app(name)

    assert re.search(message, str(error.value)), str(error.value)
    assert error.value.code is Exit.NO_APP


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nats://user:secret@host", "no backend for nats://"),
        ("nowhere", "a URL without a scheme"),
        ("memory://?max_size=x", "must be a whole number"),
    ],
)
def test_a_wrong_backend_is_wrong_usage_and_its_password_is_not_shown(app: str, url: str, message: str) -> None:
    with pytest.raises(CommandError, match=message) as error:
        load_app(app, url)

    assert error.value.code is Exit.USAGE
    assert "secret" not in str(error.value)

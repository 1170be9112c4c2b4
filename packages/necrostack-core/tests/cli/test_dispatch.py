"""The command line as a whole: help, versions, wrong usage, completion."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import necrostack as package
from necrostack.cli.arguments import COMMANDS

if TYPE_CHECKING:
    from cli.conftest import Run


def test_help_names_every_command_and_exit_code(necrostack: Run) -> None:
    ended = necrostack("--help")

    assert ended.code == 0
    for name, purpose in COMMANDS.items():
        assert name in ended.out
        assert purpose in ended.out
    assert "7  done in part" in ended.out


@pytest.mark.parametrize("command", [*COMMANDS])
def test_every_command_explains_itself(necrostack: Run, command: str) -> None:
    ended = necrostack(command, "--help")

    assert ended.code == 0
    assert ended.out.startswith(f"usage: necrostack {command} ")
    assert "exit codes:" in ended.out


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_the_version_is_that_of_the_package(necrostack: Run, argv: list[str]) -> None:
    assert necrostack(*argv).out == f"necrostack {package.__version__}\n"


def test_the_version_as_json_names_what_it_runs_on(necrostack: Run) -> None:
    versions = json.loads(necrostack("version", "--json").out)

    assert versions.keys() == {"necrostack", "python", "pydantic"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name a command: run, emit, "),
        (["tale"], "invalid choice: 'tale' (choose from "),
        (["run"], "name an APP, such as shop.app:spine, or set it for all commands: app = "),
        (["run", "app", "--bogus"], "unrecognized arguments: --bogus"),
        (["run", "app", "--concurrency", "0"], "'0' is no whole number, 1 or more"),
        (["run", "app", "--from-line", "x"], "'x' is no whole number, 1 or more"),
        (["run", "app", "--drain-timeout=-1"], "'-1' is no number of seconds, 0 or more"),
        (["run", "app", "--drain-timeout", "nan"], "'nan' is no number of seconds, 0 or more"),
        (["run", "app", "--on-bad-line", "ignore"], "invalid choice: 'ignore'"),
        (["completion", "tcsh"], "invalid choice: 'tcsh'"),
    ],
)
def test_wrong_usage_is_told_in_one_line(necrostack: Run, argv: list[str], message: str) -> None:
    ended = necrostack(*argv)

    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("necrostack: error: ")
    assert message in line
    assert line.endswith("--help")


def test_a_command_is_imported_only_when_it_is_called() -> None:
    program = (
        "import sys\n"
        "from necrostack.cli import main\n"
        "main(['version'])\n"
        "print(*sorted(name for name in sys.modules if name.startswith('necrostack.cli.commands.')))\n"
        "print('rich' in sys.modules, 'json.tool' in sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[1:] == ["necrostack.cli.commands.version", "False False"]


def test_an_error_that_nobody_thought_of_is_one_line(
    necrostack: Run, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("no idea")

    monkeypatch.setattr("necrostack.cli.commands.graph.mermaid", fail)
    ended = necrostack("graph", app)

    assert (ended.code, ended.told) == (1, ["necrostack: error: LookupError: no idea (-v shows where)"])


def test_an_interrupted_command_says_so(necrostack: Run, app: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("necrostack.cli.commands.graph.mermaid", interrupt)
    ended = necrostack("graph", app)

    assert (ended.code, ended.told) == (130, ["necrostack: error: interrupted"])


# --- completion -----------------------------------------------------------------------------------------


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    program = f'source "{script}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _necrostack; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", program, "bash", "necrostack", *words], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["g"], ["graph"]),
        (["run", "app", "--on"], ["--on-bad-line"]),
        (["run", "app", "--on-bad-line", "s"], ["stop", "skip"]),
        (["graph", "--format", "m"], ["mermaid"]),
        (["completion", "z"], ["zsh"]),
        (["run", "--concurrency", ""], []),
        (["dlq", "re"], ["redrive"]),
        (["dlq", "list", "--group-by", ""], ["cause"]),
        (["dlq", "list", "--gr"], ["--group-by"]),
        (["dlq", "show", "--gr"], []),
        (["dlq", "show", "re"], []),
    ],
)
def test_bash_completes_commands_options_and_choices(
    necrostack: Run, tmp_path: Path, words: list[str], offered: list[str]
) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(necrostack("completion", "bash").out)

    assert completed(script, *words) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_learns_every_command_and_option(necrostack: Run, shell: str) -> None:
    script = necrostack("completion", shell).out

    for command in COMMANDS:
        assert command in script
    for option in ("feed", "until-idle", "on-bad-line", "format", "delay"):
        assert (f"-l {option}" if shell == "fish" else f"--{option}") in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(necrostack: Run, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = tmp_path / "script"
    script.write_text(necrostack("completion", shell).out)

    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")

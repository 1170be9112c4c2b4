"""What the pages show is true: their code runs, their links lead somewhere, and the reference misses nothing.

How a page is run, in a folder of its own (the pages of the tutorial go on in one folder):

* A `python` block that begins with a comment such as `# shop.py` is written to that file.
* A `console` block is typed into a shell, line by line. What stands under a command is what it must print.
  A command may only fail where `echo $?` follows it.
* All other `python` blocks of a page are one program, which runs at the end. A `text` block after one of them
  is what that one must print.
* An `sh` block is for the reader alone: it installs.

`…` stands for anything: within a line, or, on a line of its own, for any number of lines.
A page that writes `redis://localhost:6379` gets an empty server of its own in its place.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
from redis_server import Server
from sybil import Document, Region
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

import necrostack.errors
import necrostack_redis
from necrostack.cli.arguments import build_parser
from necrostack.cli.failures import Exit
from necrostack.cli.settings import SETTINGS
from necrostack_redis import RedisSettings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = Path(necrostack.__file__).parent
REDIS_SOURCE = Path(necrostack_redis.__file__).parent
REPOSITORY = re.compile(r"https://github\.com/necrostack/necrostack/(?:blob|tree)/main/?")
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("packages/*/README.md")),
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]
COURSES = [
    sorted((DOCS / "tutorial").glob("*.md")),
    *([page] for page in PAGES if page.parent != DOCS / "tutorial"),
]
BETWEEN = "\x1e"
REDIS = "redis://localhost:6379"

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "FORCE_COLOR"},
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    # As in a terminal: what is printed and what is logged come in the order in which they were written.
    "PYTHONUNBUFFERED": "1",
    "COLUMNS": "100",
    "NO_COLOR": "1",
    # pytest-asyncio warns of its own default where a folder has no configuration.
    "PYTEST_ADDOPTS": "-o asyncio_default_fixture_loop_scope=function -p no:cacheprovider",
    "PYTHONDONTWRITEBYTECODE": "1",
}


# --- how a page is read ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page on which the text begins."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that it is, if it is one."""
        named = re.match(r"# ([\w./-]+\.\w+)\n", self.text)
        return named[1] if named else None


def blocks_of(page: Path) -> list[Block]:
    return [
        Block(language, text, example.line + 1)
        for example in Document.parse(str(page), fenced_blocks)
        for language, text in [example.parsed]
    ]


def fenced_blocks(document: Document) -> Iterator[Region]:
    for region in FencedCodeBlockLexer(r"\w+")(document):
        region.parsed = (region.lexemes["language"], str(region.lexemes["source"]))
        region.evaluator = None
        yield region


def name_of(page: Path) -> str:
    return re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))


def program_of(blocks: Sequence[Block]) -> str:
    """All blocks that are no file, on the lines that they have on the page, and a mark after each."""
    lines: list[str] = []
    for block in blocks:
        if block.language == "python" and block.file is None:
            lines += [""] * (block.line - 1 - len(lines))
            lines += [*block.text.splitlines(), f"print({BETWEEN!r}, end='')"]
    return "\n".join(lines)


def prose_of(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^(`{3,}).*?^\1$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


# --- how a page is run ----------------------------------------------------------------------------


def follow(page: Path, folder: Path, make_server: Callable[[], Server]) -> None:
    """Do what the page shows, in this folder."""
    blocks = blocks_of(page)
    if any(REDIS in block.text for block in blocks):
        url = make_server().url
        blocks = [replace(block, text=block.text.replace(REDIS, url)) for block in blocks]
    for block in blocks:
        if block.language == "python" and block.file is not None:
            write(folder / block.file, block.text)
        elif block.language == "console":
            type_in(page, block, folder)
    program = program_of(blocks)
    if program:
        check_program(page, program, blocks, folder)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def type_in(page: Path, block: Block, folder: Path) -> None:
    typed = typed_in(block.text)
    script = "".join(f"{command}\ncode=$?; printf '{BETWEEN}%d{BETWEEN}' $code; (exit $code)\n" for command, _ in typed)
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = done.stdout.split(BETWEEN)
    assert len(printed) == 2 * len(typed) + 1, f"{page}:{block.line}: the shell ended early\n{done.stdout}"
    for number, (command, expected) in enumerate(typed):
        actual, code = printed[2 * number], printed[2 * number + 1]
        is_asked = number + 1 < len(typed) and typed[number + 1][0] == "echo $?"
        assert code == "0" or is_asked, f"{page}:{block.line}: {command!r} failed with {code}\n{actual}"
        assert matches(expected, actual), f"{page}:{block.line}: {command!r} printed\n{actual}\ninstead of\n{expected}"


def typed_in(text: str) -> list[tuple[str, str]]:
    """Commands, each with what it prints."""
    typed: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            typed.append((line.removeprefix("$ "), ""))
        elif line.startswith("> ") and not typed[-1][1]:
            typed[-1] = (f"{typed[-1][0]}\n{line.removeprefix('> ')}", "")
        else:
            typed[-1] = (typed[-1][0], f"{typed[-1][1]}{line}\n")
    return typed


def check_program(page: Path, program: str, blocks: Sequence[Block], folder: Path) -> None:
    file = folder / f"{name_of(page)}.py"
    write(file, program)
    done = subprocess.run([sys.executable, file.name], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, f"{page}: its program failed\n{done.stderr}"
    printed = iter(done.stdout.split(BETWEEN))
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "python" and block.file is None:
            actual = next(printed)
            if following is not None and following.language == "text":
                assert matches(following.text, actual), (
                    f"{page}:{following.line}: it printed\n{actual}\ninstead of\n{following.text}"
                )


def matches(expected: str, actual: str) -> bool:
    """Whether two texts are one, with `…` for anything."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "…" else ".*".join(map(re.escape, line.rstrip().split("…"))) + r"[ ]*\n"
        for line in expected.splitlines()
    )
    # A last line without its end is a line, too; what a shell prints before it ends does not matter.
    return (
        expected == ""
        or re.fullmatch(pattern, actual if actual.endswith("\n") or not actual else actual + "\n") is not None
    )


# --- the code -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", COURSES, ids=lambda pages: name_of(pages[0]))
def test_the_code_of_a_page_does_what_the_page_says(
    pages: list[Path], tmp_path: Path, make_server: Callable[[], Server]
) -> None:
    for page in pages:
        follow(page, tmp_path, make_server)


@pytest.mark.parametrize(
    "checker",
    [["mypy", "--strict"], ["pyright", "--pythonpath", sys.executable]],
    ids=["mypy", "pyright"],
)
def test_the_code_of_all_pages_passes_type_checkers(checker: list[str], tmp_path: Path) -> None:
    write_all_programs(tmp_path)

    done = subprocess.run(
        [sys.executable, "-m", *checker, "."], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout


def write_all_programs(folder: Path) -> None:
    for course in COURSES:
        written = {block.file: block.text for page in course for block in blocks_of(page) if block.file is not None}
        written |= {f"{name_of(page)}.py": program_of(blocks_of(page)) for page in course}
        for name, text in written.items():
            # Code that is shown to be wrong has its page say so, and what the checkers say of it.
            if name.endswith(".py") and text and "wrong" not in name:
                assert not (folder / name).exists(), f"two pages write {name}; give one of them another name"
                write(folder / name, text)


def test_the_first_command_of_the_readme_runs_the_real_program() -> None:
    command = real_program()

    done = subprocess.run(
        shlex.split(command),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    shown = next(block.text for block in blocks_of(ROOT / "README.md") if block.text.startswith("repository "))
    assert matches(shown, done.stdout), done.stdout


def real_program() -> str:
    """The last part of the command, after the environment was made, with this environment's program."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(
        r"^python3 -m venv \.venv && \.venv/bin/pip install -q .*&& \.venv/bin/(necrostack run .*)$",
        text,
        re.MULTILINE,
    )
    assert found is not None, "README.md has no line that installs and runs the real program"
    return found[1]


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(<?([^)>\s]+)>?\)", re.sub(r"`[^`\n]*`", "", prose_of(page))):
        is_ours = REPOSITORY.match(target)
        if re.match(r"\w+:", target) and not is_ours:
            continue
        path, _, anchor = REPOSITORY.sub("", target).partition("#")
        file = (ROOT / path if is_ours else page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(target)

    assert broken == []


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = re.findall(
        r"^((?:tutorial|how-to|reference|explanation)/[\w/-]+)$",
        (DOCS / "index.md").read_text("utf-8"),
        re.MULTILINE,
    )

    pages = [str(page.relative_to(DOCS).with_suffix("")) for page in PAGES if DOCS in page.parents]

    assert sorted(listed) == sorted(set(pages) - {"index"})


# --- the reference --------------------------------------------------------------------------------


def documented() -> set[str]:
    """The dotted names for which the reference asks autodoc."""
    text = "".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    return set(re.findall(r"^ *\.\. auto\w+:: ([\w.]+)", text, re.MULTILINE))


@pytest.mark.parametrize(
    "package",
    ["necrostack", "necrostack.log", "necrostack.testing", "necrostack.testing.contract", "necrostack_redis"],
)
def test_every_public_name_is_in_the_reference(package: str) -> None:
    public = {f"{package}.{name}" for name in importlib.import_module(package).__all__}

    assert public - documented() == set()


def test_every_error_is_in_the_reference() -> None:
    errors = {
        name
        for name, value in vars(necrostack.errors).items()
        if isinstance(value, type) and issubclass(value, necrostack.NecroStackError)
    }

    assert errors - {name.rpartition(".")[2] for name in documented()} == set()


def test_the_reference_lists_each_reason_of_a_dead_letter() -> None:
    given = set()
    for module in (*SOURCE.glob("*.py"), *REDIS_SOURCE.glob("*.py")):
        tree = ast.parse(module.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "reason" and isinstance(node.value, ast.Constant):
                given.add(node.value.value)
            if isinstance(node, ast.FunctionDef) and node.name == "_delay_or_reason":
                given |= {
                    constant.value
                    for returned in ast.walk(node)
                    if isinstance(returned, ast.Return) and returned.value is not None
                    for constant in ast.walk(returned.value)
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
                }

    listed = {row[0] for row in rows_of(DOCS / "reference" / "dead-letters.md")}

    assert listed == given


@pytest.mark.parametrize(
    "configured", [necrostack.Spine, necrostack.RetryPolicy, necrostack.InMemoryBackend], ids=lambda cls: cls.__name__
)
def test_the_reference_lists_each_setting(configured: type) -> None:
    text = (DOCS / "reference" / "configuration.md").read_text("utf-8")
    section = re.search(rf"^## {configured.__name__}$(.*?)^## ", text, re.MULTILINE | re.DOTALL)

    assert section is not None
    assert {row[0] for row in rows_in(section[1])} == set(inspect.signature(configured).parameters)


def test_the_reference_lists_each_setting_of_redis() -> None:
    text = (DOCS / "reference" / "configuration.md").read_text("utf-8")
    section = re.search(r"^## RedisBackend$(.*?)^## ", text, re.MULTILINE | re.DOTALL)

    assert section is not None
    listed = {row[0] for row in rows_in(section[1])}
    assert listed == {setting.name for setting in fields(RedisSettings)}


def test_the_reference_lists_each_command_with_its_arguments() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text("utf-8")
    of_the_log = {row[0] for row in rows_in(text.partition("\n## The log\n")[2].partition("\n## ")[0])}
    sections = re.split(r"^##+ `([\w ]+)`$", text, flags=re.MULTILINE)
    told = {name: {row[0] for row in rows_in(text)} for name, text in zip(sections[1::2], sections[2::2], strict=True)}

    arguments = {name: arguments_of(parser) for name, parser in command_parsers().items()}
    assert told == {name: own - of_the_log for name, own in arguments.items()}
    assert all(of_the_log <= own for own in arguments.values() if "--backend URL" in own)


def test_the_reference_lists_each_setting_of_the_command_line() -> None:
    kinds = {str: "string", int: "integer", float: "number"}
    settings = {
        (name, setting.variable, kinds[type(setting.example)], setting.attribute) for name, setting in SETTINGS.items()
    }

    listed = {row[0]: row[1:] for row in rows_of(DOCS / "reference" / "settings.md")}

    assert {(name, row[0], row[1], name.replace("-", "_")) for name, row in listed.items()} == settings
    for name, _, _, attribute in settings:
        assert listed[name][2].strip("`") == taken_by(attribute).strip("`"), name


def taken_by(attribute: str) -> str:
    """Which commands take a setting, in the words of the page."""
    parsers = command_parsers()
    options = {name: {action.dest for action in parser._actions} for name, parser in parsers.items()}
    taking = {name for name, own in options.items() if attribute in own}
    if attribute == "app":  # some have it among their words
        return "all that take `APP`"
    if taking == {name for name, own in options.items() if "backend" in own}:
        return "all that take `--backend`"
    return ", ".join(f"`{name}`" for name in sorted(taking))


def command_parsers() -> Mapping[str, argparse.ArgumentParser]:
    """All commands, and what such a one as `dlq` has beneath it."""
    found: dict[str, argparse.ArgumentParser] = {}
    for name, parser in parsers_under(build_parser()).items():
        found[name] = parser
        found |= {f"{name} {action}": own for action, own in parsers_under(parser).items()}
    return found


def parsers_under(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return found[0].choices if found else {}


def arguments_of(parser: argparse.ArgumentParser) -> set[str]:
    """How an argument is written, such as `--feed FILE`."""
    written = set()
    for action in parser._actions:
        value = action.metavar or "|".join(action.choices or [action.dest])
        if not action.option_strings:
            written.add(str(value))
        elif action.dest != "help":
            written.add(f"{action.option_strings[-1]} {'' if action.nargs == 0 else value}".strip())
    return written


def test_the_reference_lists_each_exit_code() -> None:
    intro = (DOCS / "reference" / "command-line.md").read_text("utf-8").partition("\n## ")[0]

    assert {row[0] for row in rows_in(intro)} == {str(int(code)) for code in Exit}


def rows_of(page: Path) -> list[list[str]]:
    return rows_in(page.read_text("utf-8"))


def rows_in(text: str) -> list[list[str]]:
    """The rows of tables whose first cell is code."""
    return [
        [cell.strip().strip("`").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("| `")
    ]

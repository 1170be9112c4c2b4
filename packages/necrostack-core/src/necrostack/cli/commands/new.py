"""`necrostack new`: a project to begin with."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template

from necrostack import __version__
from necrostack.cli.arguments import add_examples, add_json
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = "Make a project in a folder of its name: events, Organs, a Spine, a feed, and tests that pass."
    parser.add_argument("name", metavar="NAME", help="what it is called; its package has _ for - and .")
    add_json(parser, "name the files in one JSON object")
    add_examples(
        parser,
        ("necrostack new shop", "a folder `shop` with a package of that name"),
        ("necrostack new web-shop --json", "one whose package is web_shop; name the files"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Make it."""
    name = arguments.name
    package = _package(name)
    folder = Path(name)
    if folder.exists():
        msg = f"there is a {name!r} already; take another name, or another folder"
        raise CommandError(msg)
    values = {"name": name, "package": package, "version": __version__}
    made = [folder / Template(path).substitute(values) for path, _ in _templates()]
    for path, (_, text) in zip(made, _templates(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(values), encoding="utf-8", newline="\n")
    if arguments.json:
        terminal.data({"path": name, "package": package, "files": [path.as_posix() for path in made]})
    else:
        terminal.text("\n".join(str(path) for path in made))
    terminal.note(f"made {name}; its README says how to test and run it")
    return Exit.OK


def _package(name: str) -> str:
    """The package's name for a project's.

    Raises:
        CommandError: No distribution or no package can be called so (exit code 2).
    """
    package = re.sub(r"[-.]", "_", name).lower()
    # The names of distributions: https://packaging.python.org/en/latest/specifications/name-normalization/
    if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        msg = f"{name!r} cannot name a project; begin with a letter and go on with letters, digits, - and _"
    elif keyword.iskeyword(package) or package in {*sys.stdlib_module_names, "necrostack", "tests", "pydantic"}:
        msg = f"{name!r} cannot name a project: Python has another meaning for {package!r}; take another name"
    else:
        return package
    raise CommandError(msg, Exit.USAGE)


def _templates() -> Iterator[tuple[str, str]]:
    """The files of a project: the template of the path, and that of the text."""
    yield from _below(files("necrostack.cli") / "project", PurePosixPath())


def _below(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        its_path = path / _NAMES.get(entry.name, entry.name.removesuffix(".txt"))
        if entry.is_dir():
            yield from _below(entry, its_path)
        else:
            yield str(its_path), entry.read_text(encoding="utf-8")


_NAMES = {"package": "$package", "gitignore.txt": ".gitignore"}
"""What is not called in the project as it is here: what has a variable name, and what tools would act upon."""

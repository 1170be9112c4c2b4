"""Help: it fits a terminal, and ends with examples that are commands as they may be typed."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from necrostack.cli.arguments import Parser, build_parser

if TYPE_CHECKING:
    from cli.conftest import Run


def parsers() -> Iterator[tuple[str, Parser]]:
    """Every parser, with the words that call it."""
    waiting: list[tuple[str, argparse.ArgumentParser]] = [("necrostack", build_parser())]
    while waiting:
        name, parser = waiting.pop()
        assert isinstance(parser, Parser)
        yield name, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += [(f"{name} {word}", own) for word, own in action.choices.items()]


ALL = dict(parsers())
EXAMPLES = [(name, line) for name, parser in ALL.items() for line, _ in parser.examples]


def test_help_is_what_is_asked_for_by_its_option(necrostack: Run) -> None:
    ended = necrostack("dlq", "redrive", "--help")

    assert (ended.code, ended.out) == (0, ALL["necrostack dlq redrive"].format_help())


@pytest.mark.parametrize("name", [*ALL])
def test_help_ends_with_a_few_examples(name: str) -> None:
    examples = ALL[name].format_help().partition("\nexamples:\n")[2].splitlines()

    assert 2 <= len(examples) / 2 <= 4
    assert all(line.startswith("  # ") for line in examples[::2])
    assert all("necrostack" in line for line in examples[1::2])


@pytest.mark.parametrize(("name", "line"), EXAMPLES)
def test_an_example_is_what_the_command_line_takes(name: str, line: str) -> None:
    words = shlex.split(next(part for part in re.split(r" [|>] ", line) if "necrostack " in part))
    argv = words[words.index("necrostack") + 1 :]

    if "--help" in argv:
        with pytest.raises(SystemExit, match="0"):
            ALL["necrostack"].parse_args(argv)
    else:
        ALL["necrostack"].parse_args(argv)
        assert name == "necrostack" or ["necrostack", *argv][: len(name.split())] == name.split()


@pytest.mark.parametrize("columns", [80, 160])
def test_help_fits_a_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))

    for parser in ALL.values():
        assert max(map(len, parser.format_help().splitlines())) <= columns

"""`necrostack version`: what is installed."""

from __future__ import annotations

import argparse
import platform

import necrostack
from necrostack.cli.arguments import add_examples, add_json
from necrostack.cli.failures import Exit
from necrostack.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_json(parser, "write it as one JSON object, with the versions of Python and pydantic")
    add_examples(
        parser,
        ("necrostack version", "what is installed"),
        ("necrostack version --json", "the same, with Python and pydantic"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print the version."""
    if arguments.json:
        import pydantic

        versions = {
            "necrostack": necrostack.__version__,
            "python": platform.python_version(),
            "pydantic": pydantic.VERSION,
        }
        terminal.data(versions)
    else:
        terminal.text(f"necrostack {necrostack.__version__}")
    return Exit.OK

"""`necrostack doctor`: find what is wrong, and say what to do."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence

from necrostack.backend import Backend
from necrostack.cli import checks
from necrostack.cli.apps import backend_of, load_app
from necrostack.cli.arguments import add_examples, add_json
from necrostack.cli.columns import stdout_width
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.logs import logging_as
from necrostack.cli.printable import printable, without_passwords
from necrostack.cli.target import add_target
from necrostack.cli.terminal import Terminal, counted
from necrostack.finding import Finding, Severity

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Look at what is installed, the application and its topology, and the backend with its server, its groups and"
        " its dead letters; say what is wrong and what to do. Nothing is changed."
    )
    add_target(parser)
    add_json(parser, "write one JSON object")
    add_examples(
        parser,
        ("necrostack doctor shop.app", "the application, its topology, and its backend"),
        ("necrostack doctor --backend rediss://worker@redis.example:6380", "a backend alone"),
        ("necrostack doctor shop.app --json > doctor.json", "before a rollout: it ends with 6 if there is an error"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Check it all; end with 6 if something is wrong."""
    findings = [*checks.installed(), *checks.configured(arguments.settings)]
    backend = _backend(arguments, findings)
    if backend is not None:
        with logging_as(arguments, terminal):
            findings += asyncio.run(_checked(backend))
    elif arguments.app is None:
        findings.append(Finding("note", "nothing else was named", "name an APP, or --backend URL, to have it checked"))
    counts = Counter(finding.severity for finding in findings)
    if arguments.json:
        told = [{"severity": found.severity, "what": found.what, "remedy": found.remedy} for found in findings]
        terminal.data({"ok": not counts["error"], "findings": told})
    else:
        _show(findings, terminal)
    if counts["error"]:
        msg = f"{counted(counts['error'], 'error')} and {counted(counts['warning'], 'warning')} found"
        raise CommandError(msg, Exit.CHECK_FAILED)
    terminal.note(f"no error, {counted(counts['warning'], 'warning')} found")
    return Exit.OK


def _backend(arguments: argparse.Namespace, findings: list[Finding]) -> Backend | None:
    """Import APP, if there is one, and return what is to be looked at. What is wrong with APP is a finding."""
    own = None
    if arguments.app is not None:
        try:
            spine = load_app(arguments.app)
        except CommandError as error:
            told = arguments.settings.placed("app", str(error))
            what = f"{without_passwords(arguments.app)} cannot be imported: {told}"
            findings.append(Finding("error", what, "mend it; APP is module:attribute, seen from this folder"))
        else:
            findings += checks.topology(spine)
            own = spine.backend
    return own if arguments.backend is None else backend_of(arguments.backend)


async def _checked(backend: Backend) -> list[Finding]:
    async with backend:
        return await checks.backend(backend)


def _show(findings: Sequence[Finding], terminal: Terminal) -> None:
    for found in findings:
        first, *rest = _lines(found.what)
        _write(terminal, found.severity, first)
        for line in [*rest, *(_lines(found.remedy) if found.remedy else [])]:
            terminal.text(f"{'':9}{line}")


def _lines(text: str) -> list[str]:
    """Break a sentence into lines where a person looks."""
    width = stdout_width()
    return [printable(text)] if width is None else textwrap.wrap(printable(text), max(width - 9, 20))


def _write(terminal: Terminal, severity: Severity, line: str) -> None:
    if not (sys.stdout.isatty() and importlib.util.find_spec("rich")):
        terminal.text(f"{severity:9}{line}")
        return
    from rich.console import Console
    from rich.text import Text

    terminal.clear_status()
    Console(file=sys.stdout).print(Text.assemble((f"{severity:9}", _STYLES[severity]), line), soft_wrap=True)

"""The report in three forms: for a terminal, for a program, for a page."""

import json
import shutil
import textwrap
from typing import Final, Literal, get_args

from examples.github_webhooks.report import Figures, Report

Format = Literal["table", "json", "markdown"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
ALL: Final = "all together"
NAME: Final = 31
SECTION: Final = 13
"""Widths of the table's first two columns; the third takes what the terminal has left."""
UNTORN: Final = "\N{NO-BREAK SPACE}"
"""Stands between a figure and its number while lines are broken."""


def render(report: Report, form: Format) -> str:
    """Write the report in one of its forms, with a line end at the end."""
    match form:
        case "table":
            return _table(report, shutil.get_terminal_size().columns)
        case "json":
            whole = {"repositories": report.repositories(), "total": report.total()}
            return json.dumps(whole, indent=2) + "\n"
        case "markdown":
            return _markdown(report)


def _blocks(report: Report) -> dict[str, Figures]:
    """The repositories, and last what they add up to."""
    return {**report.repositories(), ALL: report.total()}


def _table(report: Report, width: int) -> str:
    """A row per repository and section; what does not fit goes on under the figures."""
    lines = [*_row("repository", "section", "figures", width), f"{'-' * NAME}  {'-' * SECTION}  {'-' * 30}"]
    for name, sections in _blocks(report).items():
        shown = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
        for section, figures in sections.items():
            text = ", ".join(f"{figure} {number}".replace(" ", UNTORN) for figure, number in figures.items())
            lines += _row(shown, section, text, width)
            shown = ""
    # The blank line keeps it apart from what the command line says of the run.
    return "\n".join(lines) + "\n\n"


def _row(name: str, section: str, figures: str, width: int) -> list[str]:
    start = f"{name:<{NAME}}  {section:<{SECTION}}  "
    lines = textwrap.wrap(
        figures,
        max(width, len(start) + 30),
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(UNTORN, " ") for line in lines]


def _markdown(report: Report) -> str:
    lines = ["# GitHub webhook deliveries"]
    for name, sections in _blocks(report).items():
        lines += ["", f"## {name}", "", "| section | figure | number |", "|---|---|--:|"]
        lines += [
            f"| {section} | {figure} | {number} |"
            for section, figures in sections.items()
            for figure, number in figures.items()
        ]
    return "\n".join(lines) + "\n"

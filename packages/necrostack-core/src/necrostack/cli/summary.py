"""The end of a run: its report as a table or as JSON."""

from __future__ import annotations

from typing import Any

from necrostack.cli.feed import Feed
from necrostack.cli.terminal import Terminal, counted
from necrostack.report import RunReport, organ_dict

_COLUMNS = ("handled", "emitted", "failed", "retried", "dead_lettered")


def show_report(terminal: Terminal, report: RunReport, feed: Feed | None, *, as_json: bool) -> None:
    """Write the report, and what became of the feed, to stdout."""
    if as_json:
        terminal.data(report.to_dict() | ({} if feed is None else {"feed": feed_dict(feed)}))
        return
    rows: list[list[object]] = [
        [name, *(organ_dict(organ)[column] for column in _COLUMNS)] for name, organ in report.organs.items()
    ]
    terminal.table(("organ", *(column.replace("_", "-") for column in _COLUMNS)), rows)
    terminal.text("\n".join(_totals(report, feed)))


def feed_dict(feed: Feed) -> dict[str, Any]:
    """What became of a feed, as JSON-compatible values."""
    return {
        "name": feed.source.name,
        "kept": feed.kept,
        "skipped": feed.skipped,
        "skipped_file": str(feed.skipped_lines.path) if feed.skipped else None,
        "next_line": feed.next_line,
        "complete": feed.is_at_end,
        "error": feed.error,
    }


def _totals(report: RunReport, feed: Feed | None) -> list[str]:
    lines = [f"{counted(report.handled, 'delivery', 'deliveries')} handled in {report.duration:.2f} s"]
    if feed is not None:
        lines.append(f"{counted(feed.kept, 'line')} of {feed.source.name} kept")
        if feed.skipped:
            lines[-1] += f", {feed.skipped} skipped and kept in {feed.skipped_lines.path}"
    if report.unrouted:
        lines.append(f"{counted(report.unrouted, 'delivery', 'deliveries')} that nobody listens to")
    if report.deduplicated:
        lines.append(f"{counted(report.deduplicated, 'duplicate')} acknowledged without running")
    if report.lost:
        lines.append(f"{counted(report.lost, 'delivery', 'deliveries')} taken over by others")
    if report.dead_lettered:
        lines.append(f"{counted(report.dead_lettered, 'dead letter')}: the log says why")
    return lines

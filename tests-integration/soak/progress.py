"""Says how far a soak is: a bar where somebody watches, a line a minute elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from soak.run import Soak, Tell

EVERY = 60.0
"""Seconds between two lines."""


@contextmanager
def told() -> Iterator[Tell]:
    """Give what is to be told how far it is, for as long as the block lasts."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("")
        yield lambda soak: progress.update(
            bar, total=soak.record.plan.seconds, completed=soak.elapsed, description=in_words(soak)
        )


class _Lines:
    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, soak: Soak) -> None:
        if soak.elapsed >= self._next:
            self._next = soak.elapsed + EVERY
            print(f"{soak.elapsed / 60:5.1f} min: {in_words(soak)}", file=sys.stderr, flush=True)


def in_words(soak: Soak) -> str:
    """Say what there is to say in a line."""
    record = soak.record
    told = [f"{len(record.kills)} workers killed", f"{len(record.restarts)} servers"]
    if latest := record.percentiles(record.waits, 0.99):
        told.append(f"p99 {latest[-1][1]:.1f} ms")
    if memory := record.server("memory"):
        told.append(f"server {memory[-1][1]:.1f} MiB")
    told += [f"{name} {seen[-1][1]:.1f} MiB" for name in record.elders if (seen := record.process(name, "rss"))]
    return ", ".join(told)

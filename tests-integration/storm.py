"""A storm: one event leads to many, and each of them to as many again. A program, so that its memory can be bounded.

`python storm.py URL WIDTH MIB` lets it loose on a backend, with MIB MiB for data, and prints what became of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
from pathlib import Path

from necrostack import Event, Organ, Spine, open_backend


class Root(Organ):
    """Of one, many."""

    listens_to = ["ROOT"]

    def handle(self, event: Event) -> list[Event]:
        width = event.payload["width"]
        return [Event(event_type="BRANCH", payload={"width": width, "n": n}) for n in range(width)]


class Branch(Organ):
    """Of each of these, as many again."""

    listens_to = ["BRANCH"]

    def handle(self, event: Event) -> list[Event]:
        width, first = event.payload["width"], event.payload["n"] * event.payload["width"]
        return [Event(event_type="LEAF", payload={"n": first + n}) for n in range(width)]


class Leaf(Organ):
    """Counts how often each came."""

    listens_to = ["LEAF"]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seen = bytearray(width * width)

    def handle(self, event: Event) -> None:
        self.seen[event.payload["n"]] += 1


def peak() -> float:
    """How many MiB this process had in memory at the most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


async def storm(url: str, width: int) -> dict[str, float]:
    """Let it loose, and count."""
    leaf = Leaf(width)
    async with Spine([Root(), Branch(), leaf], open_backend(url)) as spine:
        report = await spine.run_until_idle(Event(event_type="ROOT", payload={"width": width}))
    lost, doubled = leaf.seen.count(0), sum(leaf.seen) - len(leaf.seen) + leaf.seen.count(0)
    counted = {"lost": lost, "doubled": doubled, "handled": report.handled, "failed": report.failed}
    return counted | {"peak": peak(), "seconds": report.duration}


if __name__ == "__main__":
    url, width, mib = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_DATA, (mib * 2**20, mib * 2**20))
    print(json.dumps(asyncio.run(storm(url, width))))

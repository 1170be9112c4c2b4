"""Storms: what one event leads to a million others needs in memory, and what ends one that never ends."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
import storm
from figures import Recorder
from redis_server import Server
from redis_server import command as redis_command

from necrostack import Event, MaxStepsExceeded, Organ, Spine, open_backend


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest, make_server: Callable[..., Server], app: str) -> str:
    """The URL of a backend of one's own."""
    return "memory://" if request.param == "memory" else f"{make_server().url}?app={app}"


def server_peak(url: str) -> float:
    """How many MiB the server had in use at the most; 0 where there is none."""
    port = re.search(r":(\d+)", url)
    found = port and re.search(rb"used_memory_peak:(\d+)", redis_command(int(port[1]), "INFO", "memory"))
    return int(found[1]) / 2**20 if found else 0.0


@pytest.mark.parametrize(
    ("width", "bounds"),
    [
        (141, {"memory": 90, "redis": 90}),
        pytest.param(1000, {"memory": 1228, "redis": 300}, marks=pytest.mark.thorough),
    ],
    ids=["20,000", "1,000,000"],
)
@pytest.mark.timeout(1200)
async def test_a_storm_ends_within_its_memory_and_every_event_is_handled_once(
    width: int, bounds: dict[str, int], url: str, figures: Recorder
) -> None:
    where = url.partition(":")[0]
    argv = [sys.executable, storm.__file__, url, str(width), str(bounds[where])]

    ended = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=1100, check=False)

    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout)
    events = 1 + width + width**2
    more = {"worker_MiB": round(found["peak"]), "server_MiB": round(server_peak(url)), "seconds": found["seconds"]}
    figures(f"Storm, {where}", times=1, events=events, lost=found["lost"], doubled=found["doubled"], **more)
    assert (found["handled"], found["failed"]) == (events, 0)
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["peak"] <= bounds[where]


class Endless(Organ):
    """Of each event, two more."""

    listens_to = ["MORE"]

    def handle(self, event: Event) -> list[Event]:
        return [Event(event_type="MORE", payload={}) for _ in range(2)]


async def test_a_storm_without_an_end_is_ended_by_max_steps(url: str, figures: Recorder) -> None:
    steps = 5_000
    async with Spine([Endless()], open_backend(url), max_steps=steps, concurrency=4) as spine:
        with pytest.raises(MaxStepsExceeded, match="MORE") as ended:
            await spine.run_until_idle(Event(event_type="MORE", payload={}))
        left = await spine.backend.admin.stats()

    handled, events = ended.value.report.handled, 1 + 2 * steps
    there = handled + left.queued
    lost, doubled = max(events - there, 0), max(there - events, 0)
    where = url.partition(":")[0]
    figures(f"Storm without an end, {where}", times=1, events=events, lost=lost, doubled=doubled, handled=handled)
    assert (handled, left.queued, left.pending) == (steps, steps + 1, 0)

"""W6 and W7: who is idle, and who works beside whom."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from benchmarks.case import Case, Figure, Workload
from benchmarks.durable.server import server_version
from benchmarks.peers.systems import LIMIT, OURS, PEERS, System

PROCESSES: Final = (1, 2, 4, 8)
"""How many workers share a group, each with one handler at a time."""

CONCURRENCY: Final = (10, 100, 1000)
"""How many handlers one worker runs at once."""

LONG: Final = 20
"""Milliseconds that a handler waits where that, and not the worker, is to be what takes the time; else it is one."""

_LIMIT: Final = replace(LIMIT, module="benchmarks.workers.limit", how="a loop that reads, loops that handle")
_OURS: Final = replace(OURS, module="benchmarks.workers.necrostack_redis")


def _idle(seconds: int) -> Sequence[Case]:
    return [system.case("workers.idle", "idle", seconds) for system in (_LIMIT, _OURS, *PEERS)]


def _scaled(system: System, n: int, processes: int, concurrency: int, pause: int = 1) -> Case:
    shape = f"{processes} × {concurrency:,}" + (f", {pause} ms" if pause > 1 else "")
    # Enough for a second or two of every shape.
    count = system.some(n * processes * min(concurrency, 20) // min(pause, 4))
    note = "processes × handlers at once"
    return system.case("workers.scaling", shape, count, processes, concurrency, pause, note=note)


def _scaling(n: int) -> Sequence[Case]:
    # A list of events is handled one by one; a thousand threads are no way to wait.
    peers = [system for system in PEERS if not system.in_threads and system.name != "faststream batch"]
    systems = [_LIMIT, _OURS, *peers]
    # repid 2.1.4 reads on only when two of its tasks are left: with a limit of one it ends after its first read.
    alone = [system for system in systems if system.name != "repid"]
    return [
        *[_scaled(system, n, processes, 1) for processes in PROCESSES for system in alone],
        *[_scaled(system, n, 1, concurrency) for concurrency in CONCURRENCY for system in systems],
        *[_scaled(system, n, 1, 100, LONG) for system in systems],
    ]


IDLE = Workload(
    name="W6",
    title="W6: an idle worker, per second",
    figures=[
        Figure(key="commands", heading="commands/s", digits=2),
        Figure(key="requests", heading="requests/s", digits=2),
        Figure(key="cpu_ms", heading="worker CPU ms/s", digits=2),
        Figure(key="server_cpu_ms", heading="server CPU ms/s", digits=2),
        Figure(key="rss_mb", heading="RSS MB"),
    ],
    cases=_idle,
    surroundings=server_version,
    n=20,
    rounds=3,
)
SCALING = Workload(
    name="W7",
    title="W7: workers in one group whose handlers wait, 1 ms unless it says more, per event",
    figures=[
        Figure(key="wall_us", heading="µs", digits=1),
        Figure(key="per_second", heading="events/s"),
        Figure(key="share", heading="% of what waiting alone allows", digits=1),
        Figure(key="cpu_us", heading="workers' CPU µs", digits=1),
    ],
    cases=_scaling,
    surroundings=server_version,
    n=2_000,
    rounds=3,
)

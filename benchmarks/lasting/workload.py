"""W8: a worker on Redis, and one in process."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from benchmarks.case import Case, Figure, Workload
from benchmarks.durable.server import server_version
from benchmarks.in_process import BOUND
from benchmarks.lasting.in_process import HANDLERS
from benchmarks.lasting.on_redis import AHEAD
from benchmarks.peers.systems import LIMIT, OURS

_LIMIT: Final = replace(LIMIT, module="benchmarks.in_process.limit", needs=(), how="asyncio.Queue loop")
_OURS: Final = replace(
    OURS, module="benchmarks.in_process.necrostack_memory", needs=("necrostack-core",), how="InMemoryBackend"
)


def _cases(n: int) -> Sequence[Case]:
    orders = max(n // HANDLERS, 1)
    return [
        *[
            system.case("lasting.on_redis", "on Redis", n, note=f"{system.how}, at most {AHEAD:,} wait")
            for system in (LIMIT, OURS)
        ],
        *[
            system.case("lasting.in_process", "in process", orders, note=f"{system.how}, at most {BOUND} wait")
            for system in (_LIMIT, _OURS)
        ],
    ]


WORKLOAD = Workload(
    name="W8",
    title="W8: memory of a worker that goes on",
    figures=[
        Figure(key="rss_mb", heading="RSS MB", digits=1),
        Figure(key="first_rss_mb", heading="RSS MB after N/100", digits=1),
        Figure(key="growth", heading="growth %", digits=1),
        Figure(key="wall_us", heading="µs per event", digits=1),
        Figure(key="cpu_us", heading="CPU µs per event", digits=1),
    ],
    cases=_cases,
    surroundings=server_version,
    n=1_000_000,
    rounds=3,
)

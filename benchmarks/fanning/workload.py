"""W3f: who widens and joins how."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from benchmarks.case import Case, Workload
from benchmarks.durable.server import server_version
from benchmarks.durable.workload import CHAIN
from benchmarks.fanning import PARTS
from benchmarks.peers.systems import FASTSTREAM, LIMIT, OURS, TASKIQ

_SYSTEMS: Final = (
    replace(LIMIT, module="benchmarks.fanning.limit", how="COUNT 100, one script: XACK guards XADD"),
    replace(OURS, module="benchmarks.fanning.necrostack_redis"),
    replace(FASTSTREAM, module="benchmarks.fanning.faststream_redis", how="published, then acknowledged"),
    replace(TASKIQ, module="benchmarks.fanning.taskiq_streams", how="kicked, then acknowledged"),
)


def _cases(n: int) -> Sequence[Case]:
    return [
        system.case("durable.run", shape, system.some(n), function=function)
        for shape, function in ((f"1→{PARTS}", "fan_out"), ("A→B, C→D", "join"))
        for system in _SYSTEMS
    ]


WORKLOAD = Workload(
    name="W3f",
    title="W3f: chains through Redis that widen, or come together again, per delivery",
    figures=CHAIN.figures,
    cases=_cases,
    surroundings=server_version,
    n=5_000,
)

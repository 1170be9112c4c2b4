"""W2p: who enqueues how."""

from collections.abc import Sequence

from benchmarks.case import Case, Figure, Workload
from benchmarks.durable.server import server_version
from benchmarks.peers.systems import LIMIT, OURS, PEERS, System
from benchmarks.publishing.run import EMITTERS


def _one_by_one(system: System, n: int) -> Case:
    note = "await each XADD" if system.is_limit else "await each" if system.emits_at_once else "each call blocks"
    return system.case("publishing.run", "one by one", n, "one by one", note=note)


def _at_once(system: System, n: int) -> Case:
    shape = f"{EMITTERS} emitters"
    return system.case("publishing.run", shape, n, shape, note="await each XADD" if system.is_limit else "await each")


def _bulk(system: System, n: int) -> Case:
    return system.case("publishing.run", "bulk", n, "bulk", note=system.bulk)


def _cases(n: int) -> Sequence[Case]:
    # Batches are a matter of who consumes.
    systems = [system for system in (LIMIT, OURS, *PEERS) if system.name != "faststream batch"]
    few = max(n // 10, 1)
    return [
        *[_one_by_one(system, few) for system in systems],
        *[_at_once(system, few) for system in systems if system.emits_at_once],
        *[_bulk(system, system.some(n)) for system in systems if system.bulk],
    ]


WORKLOAD = Workload(
    name="W2p",
    title="W2p: emit to Redis until it is kept, per event",
    figures=[
        Figure(key="wall_us", heading="µs", digits=1),
        Figure(key="cpu_us", heading="CPU µs", digits=1, compared=True),
        Figure(key="server_cpu_us", heading="server CPU µs", digits=1),
    ],
    cases=_cases,
    surroundings=server_version,
    n=20_000,
)

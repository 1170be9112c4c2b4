"""memory: how much, at three depths of the queue."""

from collections.abc import Sequence

from benchmarks.case import Case, Figure, Workload


def _case(system: str, module: str, n: int, *needs: str, note: str, is_limit: bool = False) -> Case:
    return Case(
        system=system,
        shape=f"{n:,} queued",
        n=n,
        command=("-m", "benchmarks.queued.run", f"benchmarks.in_process.{module}:filled", str(n)),
        needs=("pydantic", *needs),
        is_limit=is_limit,
        note=note,
    )


def _cases(n: int) -> Sequence[Case]:
    return [
        case
        for depth in (n // 30, n // 3, n)
        for case in (
            _case("limit", "limit", depth, note="asyncio.Queue", is_limit=True),
            _case("necrostack", "necrostack_memory", depth, "necrostack-core", note="InMemoryBackend"),
        )
    ]


WORKLOAD = Workload(
    name="memory",
    title="memory: resident bytes per queued event",
    figures=[
        Figure(key="bytes_per_event", heading="bytes per event"),
        Figure(key="gained_mb", heading="gained MB"),
    ],
    cases=_cases,
    n=300_000,
    rounds=3,
)

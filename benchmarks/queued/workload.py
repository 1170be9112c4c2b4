"""W1g: four depths of the queue."""

from collections.abc import Sequence

from benchmarks.case import Case, Figure, Workload


def _case(system: str, module: str, n: int, *needs: str, note: str, is_limit: bool = False) -> Case:
    return Case(
        system=system,
        shape=f"{n:,} queued",
        n=n,
        command=("-m", "benchmarks.queued.run", f"benchmarks.in_process.{module}", str(n)),
        needs=("pydantic", *needs),
        is_limit=is_limit,
        note=note,
    )


def _cases(n: int) -> Sequence[Case]:
    return [
        case
        for depth in (max(n // 1000, 1), max(n // 100, 1), max(n // 10, 1), n)
        for case in (
            _case("limit", "limit", depth, note="asyncio.Queue", is_limit=True),
            _case("necrostack", "necrostack_memory", depth, "necrostack-core", note="InMemoryBackend"),
        )
    ]


WORKLOAD = Workload(
    name="W1g",
    title="W1g: prefilled to growing depths in one process, per handler call",
    figures=[
        Figure(key="wall_us", heading="µs", digits=2),
        Figure(key="cpu_us", heading="CPU µs", digits=2, compared=True),
        Figure(key="fill_us", heading="µs to queue one", digits=2),
        Figure(key="bytes_per_event", heading="bytes per queued event"),
        Figure(key="peak_rss_mb", heading="peak RSS MB"),
    ],
    cases=_cases,
    n=1_000_000,
    rounds=3,
)

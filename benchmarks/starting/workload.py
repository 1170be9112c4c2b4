"""import: what is imported."""

from collections.abc import Sequence

from benchmarks.case import Case, Figure, Workload


def _case(system: str, module: str, *needs: str, note: str, is_limit: bool = False) -> Case:
    return Case(
        system=system,
        shape="import",
        n=0,
        command=("-m", "benchmarks.starting.run", f"benchmarks.starting.{module}"),
        needs=("pydantic", *needs),
        is_limit=is_limit,
        note=note,
    )


def _cases(_: int) -> Sequence[Case]:
    return [
        _case("limit", "limit", note="asyncio, pydantic, one model", is_limit=True),
        _case("necrostack", "necrostack_name", "necrostack-core", note="import necrostack"),
        _case("necrostack, every name", "necrostack_core", "necrostack-core", note="all public names used"),
    ]


WORKLOAD = Workload(
    name="import",
    title="import: a fresh process until the import is done",
    figures=[
        Figure(key="wall_ms", heading="ms", digits=1),
        Figure(key="cpu_ms", heading="CPU ms", digits=1),
        Figure(key="rss_mb", heading="RSS MB", digits=1),
    ],
    cases=_cases,
    rounds=15,
    warmups=1,
)

"""W1: which adapter runs in which shape."""

from collections.abc import Sequence

from benchmarks.case import Case, Figure, Workload


def _case(system: str, shape: str, module: str, n: int, *needs: str, note: str = "", is_limit: bool = False) -> Case:
    target = f"benchmarks.in_process.{module}:{shape}"
    return Case(
        system=system,
        shape=shape,
        n=n,
        command=("-m", "benchmarks.in_process.run", target, str(n)),
        needs=("pydantic", *needs),
        is_limit=is_limit,
        note=note,
    )


def _queued(shape: str, n: int) -> list[Case]:
    """The shapes in which events wait before they are handled."""
    # bubus walks through all it remembers at each step: without a bound its time per event grows with n.
    few = min(n, 300 if shape == "prefilled" else 1_000)
    return [
        _case("limit", shape, "limit", n, is_limit=True, note="asyncio.Queue loop"),
        _case("necrostack", shape, "necrostack_memory", n, "necrostack-core", note="InMemoryBackend"),
        _case("pyee", shape, "pyee_emitter", n, "pyee", note="no queue: a task per handler call"),
        _case("taskiq", shape, "taskiq_broker", n, "taskiq", note="no queue: a task per handler call"),
        _case("bubus", shape, "bubus_bus", few, "bubus", note="queue and history"),
    ]


def _inline(n: int) -> list[Case]:
    """The shape in which nothing waits, for the systems that keep no queue."""
    return [
        _case("limit", "inline", "limit", n, is_limit=True, note="await the handler"),
        _case("blinker", "inline", "blinker_signal", n, "blinker", note="no queue"),
        _case("lato", "inline", "lato_app", n, "lato", note="no queue"),
        _case("taskiq", "inline", "taskiq_broker", n, "taskiq", note="no queue: await_inplace"),
    ]


def _cases(n: int) -> Sequence[Case]:
    return [*_queued("prefilled", n), *_queued("streamed", n), *_inline(n)]


WORKLOAD = Workload(
    name="W1",
    title="W1: typed events in one process, per handled event",
    figures=[
        Figure(key="wall_us", heading="µs", digits=2),
        Figure(key="cpu_us", heading="CPU µs", digits=2),
        Figure(key="peak_rss_mb", heading="peak RSS MB"),
    ],
    cases=_cases,
    n=20_000,
)

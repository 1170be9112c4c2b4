"""W1: which adapter runs in which shape."""

from collections.abc import Sequence

from benchmarks.case import Case, Figure, Workload
from benchmarks.in_process import CONCURRENCY

ORGANS = (1, 5, 50)
"""How many organs listen to one event, in the shapes that are about that."""


def _case(
    system: str,
    shape: str,
    target: str,
    n: int,
    *needs: str,
    note: str = "",
    handlers: int = 2,
    is_limit: bool = False,
) -> Case:
    return Case(
        system=system,
        shape=shape,
        n=n,
        command=("-m", "benchmarks.in_process.run", f"benchmarks.in_process.{target}", str(n), str(handlers)),
        needs=("pydantic", *needs),
        is_limit=is_limit,
        note=note,
    )


def _ours(shape: str, name: str, n: int, *, limit: str, ours: str, handlers: int = 2) -> list[Case]:
    """A shape that only the limit and NecroStack have alike."""
    return [
        _case("limit", shape, f"limit:{name}", n, note=limit, handlers=handlers, is_limit=True),
        _case("necrostack", shape, f"necrostack_memory:{name}", n, "necrostack-core", note=ours, handlers=handlers),
    ]


def _queued(shape: str, n: int) -> list[Case]:
    """The shapes in which events wait before they are handled."""
    # bubus walks through all it remembers at each step: without a bound its time per event grows with n.
    few = min(n, 300 if shape == "prefilled" else 1_000)
    return [
        *_ours(shape, shape, n, limit="asyncio.Queue loop", ours="InMemoryBackend"),
        _case("pyee", shape, f"pyee_emitter:{shape}", n, "pyee", note="no queue: a task per handler call"),
        _case("taskiq", shape, f"taskiq_broker:{shape}", n, "taskiq", note="no queue: a task per handler call"),
        _case("bubus", shape, f"bubus_bus:{shape}", few, "bubus", note="queue and history"),
    ]


def _listened(n: int) -> list[Case]:
    """The shapes in which several organs take each event, with as many handler calls in all."""
    return [
        case
        for organs in ORGANS
        for case in _ours(
            f"{organs} organs" if organs > 1 else "1 organ",
            "listened",
            max(2 * n // organs, 1),
            limit="a list of handlers",
            ours="InMemoryBackend",
            handlers=organs,
        )
    ]


def _inline(n: int) -> list[Case]:
    """The shape in which nothing waits, for the systems that keep no queue."""
    return [
        _case("limit", "inline", "limit:inline", n, is_limit=True, note="await the handler"),
        _case("blinker", "inline", "blinker_signal:inline", n, "blinker", note="no queue"),
        _case("lato", "inline", "lato_app:inline", n, "lato", note="no queue"),
        _case("taskiq", "inline", "taskiq_broker:inline", n, "taskiq", note="no queue: await_inplace"),
    ]


def _cases(n: int) -> Sequence[Case]:
    at_once = f"{CONCURRENCY} at once, each with a timeout"
    return [
        *_queued("prefilled", n),
        *_queued("streamed", n),
        *_ours("untyped", "untyped", n, limit="one class, dict[str, JsonValue]", ours="plain Event"),
        *_ours("concurrent", "concurrent", n, limit=f"loops, {at_once}", ours=at_once),
        *_listened(n),
        *_inline(n),
    ]


WORKLOAD = Workload(
    name="W1",
    title="W1: events in one process, per handler call",
    figures=[
        Figure(key="wall_us", heading="µs", digits=2),
        Figure(key="cpu_us", heading="CPU µs", digits=2, compared=True),
        Figure(key="peak_rss_mb", heading="peak RSS MB"),
    ],
    cases=_cases,
    n=20_000,
)

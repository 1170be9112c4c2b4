"""W2, W3 and W4: which adapter runs in which shape."""

from collections.abc import Sequence

from benchmarks.case import Case, Figure, Workload
from benchmarks.durable.server import server_version
from benchmarks.peers.systems import answering, chaining, consuming

RATE = 200
"""How many events a second are on their way in W4."""


def _case(
    system: str,
    shape: str,
    target: str,
    n: int,
    *needs: str,
    note: str,
    runner: tuple[str, ...],
    is_limit: bool = False,
) -> Case:
    return Case(
        system=system,
        shape=shape,
        n=n,
        command=("-m", runner[0], f"benchmarks.durable.{target}", str(n), *runner[1:]),
        needs=("pydantic", *needs),
        is_limit=is_limit,
        note=note,
    )


def _throughput(shape: str, name: str, limit_note: str, n: int) -> list[Case]:
    runner = ("benchmarks.durable.run",)

    return [
        _case("limit", shape, f"limit:{name}", n, "redis", "hiredis", note=limit_note, runner=runner, is_limit=True),
        _case(
            "necrostack",
            shape,
            f"necrostack_redis:{name}",
            n,
            "necrostack-core",
            "necrostack-redis",
            "redis",
            "hiredis",
            note="RedisBackend, defaults",
            runner=runner,
        ),
    ]


def _consume(n: int) -> Sequence[Case]:
    return [*_throughput("consume", "consume", "XREADGROUP COUNT 100, one XACK", n), *consuming(n)]


def _chain(n: int) -> Sequence[Case]:
    shape = "A→B→C"
    return [*_throughput(shape, "chain", "COUNT 100, one script: XACK guards XADD", n), *chaining(n, shape)]


def _latency(n: int) -> Sequence[Case]:
    runner, shape = ("benchmarks.durable.latency", str(RATE)), f"{RATE} events/s"
    return [
        _case("limit", shape, "limit", n, "redis", "hiredis", note="blocking XREADGROUP", runner=runner, is_limit=True),
        _case(
            "necrostack",
            shape,
            "necrostack_redis",
            n,
            "necrostack-core",
            "necrostack-redis",
            "redis",
            "hiredis",
            note="RedisBackend, defaults",
            runner=runner,
        ),
        *answering(n, shape, RATE),
    ]


_COSTS = [
    Figure(key="wall_us", heading="µs", digits=1),
    Figure(key="cpu_us", heading="worker CPU µs", digits=1, compared=True),
    Figure(key="server_cpu_us", heading="server CPU µs", digits=1),
    Figure(key="peak_rss_mb", heading="peak RSS MB"),
]

CONSUME = Workload(
    name="W2",
    title="W2: consume from Redis, at least once, per event",
    figures=_COSTS,
    cases=_consume,
    surroundings=server_version,
    n=50_000,
)
CHAIN = Workload(
    name="W3",
    title="W3: A→B→C through Redis, committed in one step, per delivery",
    figures=_COSTS,
    cases=_chain,
    surroundings=server_version,
    n=20_000,
)
LATENCY = Workload(
    name="W4",
    title="W4: from before an event is emitted until its handler runs, through Redis",
    figures=[
        Figure(key="p50_ms", heading="p50 ms", digits=2),
        Figure(key="p99_ms", heading="p99 ms", digits=2, compared=True),
        Figure(key="max_ms", heading="max ms", digits=1),
    ],
    cases=_latency,
    surroundings=server_version,
    n=2_000,
    rounds=3,
)

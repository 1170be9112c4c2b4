"""W2, W3 and W4: which adapter runs in which shape."""

from collections.abc import Sequence

from benchmarks.case import Case, Figure, Workload
from benchmarks.durable import CONCURRENCY
from benchmarks.durable.server import server_version
from benchmarks.peers.systems import LIMIT, OURS, answering, chaining, consuming

RATE = 200
"""How many events a second are on their way in W4."""

SHARE = 0.7
"""Or which share of what a system can take."""

_READING = "XREADGROUP COUNT 100, one XACK"


def _consume(n: int) -> Sequence[Case]:
    shape, at_once = "consume", f"consume, {CONCURRENCY} at once"
    how = f"{CONCURRENCY} handlers at once, each with a timeout"
    return [
        LIMIT.case("durable.run", shape, n, function="consume", note=_READING),
        OURS.case("durable.run", shape, n, function="consume"),
        *consuming(n, shape),
        LIMIT.case("durable.run", at_once, n, function="consume", note=f"{_READING}; one after the other"),
        OURS.case("durable.run", at_once, n, function="consume_at_once", note=how),
    ]


def _chain(n: int) -> Sequence[Case]:
    shape = "A→B→C"
    return [
        LIMIT.case("durable.run", shape, n, function="chain", note="COUNT 100, one script: XACK guards XADD"),
        OURS.case("durable.run", shape, n, function="chain"),
        *chaining(n, shape),
    ]


def _latency(n: int) -> Sequence[Case]:
    shape, loaded = f"{RATE} events/s", f"{SHARE:.0%} of capacity"
    many = 25 * n  # some seconds for each system
    return [
        LIMIT.case("durable.latency", shape, n, RATE, note="blocking XREADGROUP"),
        OURS.case("durable.latency", shape, n, RATE),
        *[peer.case("durable.latency", shape, n, RATE) for peer in answering()],
        LIMIT.case("durable.loaded", loaded, many, SHARE, note=f"{_READING}; {LIMIT.bulk}"),
        OURS.case("durable.loaded", loaded, many, SHARE, note=f"{OURS.how}; bulk"),
        *[peer.case("durable.loaded", loaded, peer.some(many), SHARE) for peer in answering()],
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
        Figure(key="p999_ms", heading="p99.9 ms", digits=2),
        Figure(key="max_ms", heading="max ms", digits=1),
        Figure(key="per_second", heading="events/s"),
        Figure(key="kept", heading="% of its schedule"),
        Figure(key="busy", heading="worker CPU %"),
    ],
    cases=_latency,
    surroundings=server_version,
    n=2_000,
    rounds=3,
)

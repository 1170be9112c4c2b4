"""`python -m benchmarks.durable.latency MODULE N RATE [BATCH]`: how long an event is on its way, at so many a second.

What is due is emitted one by one, or up to BATCH together.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE

from benchmarks.durable.progress import Arrivals
from benchmarks.durable.server import running_server
from benchmarks.process import function, hand_over

WARM_UP = 0.1
"""The share of the events that comes first and does not count: both sides connect and fill their caches then."""


def percentile(ordered: list[float], share: float) -> float:
    """Return the number that this share of the ordered numbers does not exceed.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    return ordered[max(-int(-len(ordered) * share // 1), 1) - 1]


async def _measured(url: str, module: str, n: int, rate: float, batch: int) -> tuple[Arrivals, dict[str, float]]:
    arrivals = Arrivals(n)
    fill = ("-m", "benchmarks.durable.fill", module, url, str(n), str(rate), str(batch))
    producer = await asyncio.create_subprocess_exec(sys.executable, *fill, stdout=PIPE)
    await function(f"{module}:consume")(url, arrivals)
    out, _ = await producer.communicate()
    return arrivals, json.loads(out)


def main() -> None:
    """Time each event from before it is emitted until its handler runs: both clocks are the machine's monotonic one."""
    module, n, rate, batch = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int((*sys.argv, "1")[4])
    with running_server() as server:
        arrivals, began = asyncio.run(_measured(server.url, module, n, rate, batch))
    counted = list(began)[int(n * WARM_UP) :]
    last = max(arrivals.times.values())
    took = last - began[counted[0]]
    per_second = max(len(counted) - 1, 1) / took
    ordered = sorted(1000 * (arrivals.times[name] - began[name]) for name in counted)
    hand_over(
        exact=arrivals.is_exact(),
        p50_ms=percentile(ordered, 0.5),
        p99_ms=percentile(ordered, 0.99),
        p999_ms=percentile(ordered, 0.999),
        max_ms=ordered[-1],
        per_second=per_second,
        kept=100 * per_second / rate,
        busy=100 * arrivals.cpu / (last - min(arrivals.times.values())),
    )


if __name__ == "__main__":
    main()

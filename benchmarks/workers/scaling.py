"""`python -m benchmarks.workers.scaling MODULE N PROCESSES CONCURRENCY`: workers share n orders; handlers wait."""

import subprocess
import sys
import time
from typing import Final

from benchmarks.durable.server import running_server
from benchmarks.process import hand_over
from benchmarks.workers.crew import crew

PAUSE: Final = 0.001
"""Seconds that each handler waits."""


def main() -> None:
    """Time them from the first order that is handled to the last."""
    module, n, processes, concurrency = sys.argv[1], *map(int, sys.argv[2:])
    with running_server() as server:
        subprocess.run([sys.executable, "-m", "benchmarks.durable.fill", module, server.url, str(n)], check=True)
        with crew(module, server.url, processes=processes, pause=PAUSE, concurrency=concurrency) as workers:
            workers.begin()
            workers.read()
            first, began, began_cpu = workers.handled.total(), time.perf_counter(), workers.cpu_seconds()
            while len(workers.handled) < n:
                workers.read()
            wall, cpu = time.perf_counter() - began, workers.cpu_seconds() - began_cpu
    timed = max(n - first, 1)
    hand_over(
        exact=len(workers.handled) == workers.handled.total() == n,
        wall_us=wall / timed * 1e6,
        per_second=timed / wall,
        share=100 * timed * PAUSE / (processes * concurrency) / wall,
        cpu_us=cpu / timed * 1e6,
    )


if __name__ == "__main__":
    main()

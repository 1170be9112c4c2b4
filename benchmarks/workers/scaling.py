"""`python -m benchmarks.workers.scaling MODULE N PROCESSES CONCURRENCY PAUSE`: workers share n orders; handlers wait.

The pause is in milliseconds.
"""

import subprocess
import sys
import time

from benchmarks.durable.server import running_server
from benchmarks.process import hand_over
from benchmarks.workers.crew import crew


def main() -> None:
    """Time them from the first order that is handled to the last."""
    module, n, processes, concurrency = sys.argv[1], *map(int, sys.argv[2:5])
    pause = float(sys.argv[5]) / 1000
    with running_server() as server:
        subprocess.run([sys.executable, "-m", "benchmarks.durable.fill", module, server.url, str(n)], check=True)
        with crew(module, server.url, processes=processes, pause=pause, concurrency=concurrency) as workers:
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
        share=100 * timed * pause / (processes * concurrency) / wall,
        cpu_us=cpu / timed * 1e6,
    )


if __name__ == "__main__":
    main()

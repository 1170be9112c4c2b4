"""`python -m benchmarks.durable.run MODULE:FUNCTION N`: what a worker needs for n orders that wait on a server."""

import asyncio
import subprocess
import sys
import time

from benchmarks.durable.progress import Progress
from benchmarks.durable.server import Server, running_server
from benchmarks.fanning import PARTS
from benchmarks.process import function, hand_over, peak_rss

STEPS = {"consume": 1, "consume_at_once": 1, "chain": 3, "fan_out": 1 + PARTS, "join": 4}
"""How many handlers each order passes, by the adapter's function."""


class _Watch:
    """Wall time, and the CPU time of this process and of the server: since `start`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._began = (0.0, 0.0, 0.0)

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), self._server.cpu_seconds()

    def start(self) -> None:
        """The clock runs from here."""
        self._began = self._now()

    def elapsed(self) -> list[float]:
        """Seconds of wall, of CPU here, of CPU on the server."""
        return [now - then for now, then in zip(self._now(), self._began, strict=True)]


def main() -> None:
    """Fill a server from another process, then time one adapter, from its first handler call to the last commit."""
    (module, _, name), n = sys.argv[1].partition(":"), int(sys.argv[2])
    with running_server() as server:
        subprocess.run([sys.executable, "-m", "benchmarks.durable.fill", module, server.url, str(n)], check=True)
        watch = _Watch(server)
        adapter = function(sys.argv[1])

        async def timed() -> tuple[Progress, list[float]]:
            progress = Progress(n, steps=STEPS[name], on_first=watch.start)
            await adapter(server.url, progress)
            return progress, watch.elapsed()

        progress, elapsed = asyncio.run(timed())
    wall, cpu, server_cpu = (seconds * 1e6 / (STEPS[name] * n) for seconds in elapsed)
    hand_over(
        exact=progress.is_exact(),
        wall_us=wall,
        cpu_us=cpu,
        server_cpu_us=server_cpu,
        peak_rss_mb=peak_rss() / 2**20,
    )


if __name__ == "__main__":
    main()

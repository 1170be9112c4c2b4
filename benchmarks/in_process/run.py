"""`python -m benchmarks.in_process.run MODULE:FUNCTION N HANDLERS`: one run of one adapter, timed in this process."""

import asyncio
import sys
import time

from benchmarks.orders import Tally
from benchmarks.process import function, hand_over, peak_rss


def main() -> None:
    """Time one adapter over n orders; the clock runs from the first event built to the last one handled."""
    adapter, n, handlers = function(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    tally = Tally(handlers)

    async def timed() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        await adapter(n, tally)
        return time.perf_counter() - wall, time.process_time() - cpu

    wall, cpu = asyncio.run(timed())
    per_call = 1e6 / (handlers * n)
    hand_over(
        exact=tally.is_exact(n),
        wall_us=wall * per_call,
        cpu_us=cpu * per_call,
        peak_rss_mb=peak_rss() / 2**20,
    )


if __name__ == "__main__":
    main()

"""`python -m benchmarks.queued.run MODULE N`: queue n events, then handle them all; time, and memory in between."""

import asyncio
import sys
import time

from benchmarks.orders import Tally
from benchmarks.process import function, hand_over, peak_rss, rss

_HANDLERS = 2


async def _measured(module: str, n: int, tally: Tally) -> dict[str, float]:
    filled, drain = function(f"{module}:filled"), function(f"{module}:drain")
    warm = await filled(100)  # what is allocated once, and no event's, is there before the count starts
    before, began, began_cpu = rss(), time.perf_counter(), time.process_time()
    held = await filled(n)
    gained, queued = rss() - before, time.perf_counter()
    await drain(held, tally)
    done, done_cpu = time.perf_counter(), time.process_time()
    del warm
    return {
        "wall_us": (done - began) / (_HANDLERS * n) * 1e6,
        "cpu_us": (done_cpu - began_cpu) / (_HANDLERS * n) * 1e6,
        "fill_us": (queued - began) / n * 1e6,
        "bytes_per_event": gained / n,
        "peak_rss_mb": peak_rss() / 2**20,
    }


def main() -> None:
    """Say what each event took and occupied."""
    n, tally = int(sys.argv[2]), Tally(_HANDLERS)
    figures = asyncio.run(_measured(sys.argv[1], n, tally))
    hand_over(exact=tally.is_exact(n), **figures)


if __name__ == "__main__":
    main()

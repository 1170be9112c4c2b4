"""`python -m benchmarks.queued.run MODULE:FUNCTION N`: the memory that a process gains by n queued events."""

import asyncio
import sys

from benchmarks.process import function, hand_over, rss


async def _gained(fill: str, n: int) -> int:
    filled = function(fill)
    warm = await filled(100)  # what is allocated once, and no event's, is there before the count starts
    before = rss()
    kept = await filled(n)
    gained = rss() - before
    del warm, kept
    return gained


def main() -> None:
    """Queue n events and say what each of them occupies."""
    n = int(sys.argv[2])
    gained = asyncio.run(_gained(sys.argv[1], n))
    hand_over(exact=gained > 0, bytes_per_event=gained / n, gained_mb=gained / 2**20)


if __name__ == "__main__":
    main()

"""`python -m benchmarks.lasting.feed MODULE URL N AHEAD`: a producer that stays ahead of a worker, but not far.

It emits batches, and reads a byte from stdin for each `BATCH` orders that are handled; it ends with its stdin.
"""

import asyncio
import sys

from benchmarks.durable import BATCH
from benchmarks.durable.fill import batch_emitter
from benchmarks.orders import new_order, order_id


async def feed(module: str, url: str, n: int, ahead: int) -> None:
    """Emit n orders, while no more than `ahead` of them wait to be handled."""
    async with batch_emitter(module, url, BATCH) as emit:
        for start in range(0, n, BATCH):
            # It may block: nothing else in this loop has to go on meanwhile.
            if start >= ahead and not sys.stdin.buffer.read(1):
                return
            await emit([new_order(order_id(number)) for number in range(start, min(start + BATCH, n))])


def main() -> None:
    """Do what the command line says."""
    module, url, n, ahead = sys.argv[1:]
    asyncio.run(feed(module, url, int(n), int(ahead)))
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()

"""`python -m benchmarks.durable.fill MODULE URL N [RATE]`: the producer, away from the worker that is measured.

Without a rate it enqueues all orders. With one it emits so many a second, and prints when it began to emit each.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from benchmarks.durable import Emit
from benchmarks.orders import new_order, order_id
from benchmarks.process import function


async def paced(emitter: Callable[[str], AbstractAsyncContextManager[Emit]], url: str, n: int, rate: float) -> None:
    """Emit n orders, evenly spaced."""
    began: dict[str, float] = {}
    async with emitter(url) as emit:
        start = time.monotonic()
        for number in range(n):
            name = order_id(number)
            order = new_order(name)
            await asyncio.sleep(max(start + number / rate - time.monotonic(), 0.0))
            began[name] = time.monotonic()
            await emit(order)
    print(json.dumps(began))


def main() -> None:
    """Do what the command line says."""
    module, url, n, *rate = sys.argv[1:]
    if rate:
        asyncio.run(paced(function(f"{module}:emitter"), url, int(n), float(rate[0])))
    else:
        asyncio.run(function(f"{module}:fill")(url, int(n)))


if __name__ == "__main__":
    main()

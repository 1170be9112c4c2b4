"""`python -m benchmarks.durable.fill MODULE URL N [RATE BATCH]`: the producer, away from the worker that is measured.

Without a rate it enqueues all orders. With one it emits so many a second, and prints when it began to emit each.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module

from benchmarks.durable import EmitMany
from benchmarks.orders import Order, new_order, order_id


@asynccontextmanager
async def batch_emitter(module: str, url: str, batch: int) -> AsyncIterator[EmitMany]:
    """Emit up to `batch` orders with one call where the adapter can, or else with as many calls at once."""
    adapter = import_module(module)
    if batch > 1 and hasattr(adapter, "bulk_emitter"):
        async with adapter.bulk_emitter(url) as emit_many:
            yield emit_many
        return
    async with adapter.emitter(url) as emit:

        async def emit_each(orders: Sequence[Order]) -> None:
            if len(orders) == 1:
                await emit(orders[0])
            else:
                await asyncio.gather(*map(emit, orders))

        yield emit_each


async def paced(module: str, url: str, n: int, rate: float, batch: int) -> None:
    """Emit n orders, evenly spaced; of those that are due, up to `batch` together."""
    began: dict[str, float] = {}
    async with batch_emitter(module, url, batch) as emit:
        start = time.monotonic()
        while (first := len(began)) < n:
            await asyncio.sleep(max(start + first / rate - time.monotonic(), 0.0))
            due = max(int((time.monotonic() - start) * rate), first) + 1
            names = [order_id(number) for number in range(first, min(due, first + batch, n))]
            orders = [new_order(name) for name in names]
            began |= dict.fromkeys(names, time.monotonic())
            await emit(orders)
    print(json.dumps(began))


def main() -> None:
    """Do what the command line says."""
    module, url, n, *pace = sys.argv[1:]
    if pace:
        rate, batch = pace
        asyncio.run(paced(module, url, int(n), float(rate), int(batch)))
    else:
        asyncio.run(import_module(module).fill(url, int(n)))


if __name__ == "__main__":
    main()

"""`python -m benchmarks.publishing.run MODULE N SHAPE`: enqueue n orders, timed here, and see that all came."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks.durable import Emit
from benchmarks.durable.progress import Progress
from benchmarks.durable.server import Server, running_server
from benchmarks.orders import new_order, order_id
from benchmarks.process import function, hand_over

EMITTERS: Final = 100
"""How many emit at once, where they do."""

Readings = list[float]
"""Wall time, CPU time of this process, CPU time of the server."""


async def _emit(emit: Emit, numbers: range) -> None:
    for number in numbers:
        await emit(new_order(order_id(number)))


async def one_by_one(emit: Emit, numbers: range) -> None:
    """Each when the one before is kept."""
    await _emit(emit, numbers)


async def at_once(emit: Emit, numbers: range) -> None:
    """Each of EMITTERS tasks emits its share, one by one."""
    await asyncio.gather(*[_emit(emit, numbers[start::EMITTERS]) for start in range(EMITTERS)])


SHAPES: Final[dict[str, Callable[[Emit, range], Awaitable[None]] | None]] = {
    "one by one": one_by_one,
    f"{EMITTERS} emitters": at_once,
    "bulk": None,
}
"""How events are enqueued; None is the adapter's own `fill`."""


def _read(server: Server) -> Readings:
    return [time.perf_counter(), time.process_time(), server.cpu_seconds()]


async def _timed(server: Server, module: str, shape: str, n: int) -> Readings:
    emit_all, timed = SHAPES[shape], n
    if emit_all is None:
        fill = function(f"{module}:fill")
        began = _read(server)
        await fill(server.url, n)
        ended = _read(server)
    else:
        async with function(f"{module}:emitter")(server.url) as emit:
            await _emit(emit, range(1))  # it is connected
            began, timed = _read(server), n - 1
            await emit_all(emit, range(1, n))
            ended = _read(server)
    return [1e6 * (now - then) / timed for now, then in zip(ended, began, strict=True)]


async def _run(server: Server, module: str, shape: str, n: int) -> tuple[Readings, bool]:
    costs = await _timed(server, module, shape, n)
    progress = Progress(n, steps=1, on_first=lambda: None)
    await function(f"{module}:consume")(server.url, progress)
    return costs, progress.is_exact()


def main() -> None:
    """Say what each event cost, and whether the adapter's worker gets each of them once."""
    module, n, shape = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with running_server() as server:
        (wall, cpu, server_cpu), exact = asyncio.run(_run(server, module, shape, n))
    hand_over(exact=exact, wall_us=wall, cpu_us=cpu, server_cpu_us=server_cpu)


if __name__ == "__main__":
    main()

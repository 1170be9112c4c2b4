"""`python -m benchmarks.lasting.on_redis MODULE N`: one worker handles n orders while another process emits them."""

import asyncio
import os
import subprocess
import sys
from typing import Final

from benchmarks.durable.progress import Marks
from benchmarks.durable.server import running_server
from benchmarks.process import function, hand_over

AHEAD: Final = 2_000
"""How many orders wait at most: enough that neither process waits for the other whenever the machine stutters."""


async def _marked(url: str, module: str, n: int, credit: int) -> Marks:
    marks = Marks(n, steps=1, on_batch=lambda: os.write(credit, b"."))
    await function(f"{module}:consume")(url, marks)
    return marks


def main() -> None:
    """Compare the worker's memory after a hundredth of the orders with that after all."""
    module, n = sys.argv[1], int(sys.argv[2])
    ahead = max(min(AHEAD, n // 10), 1)  # of few orders, most are handled while others are emitted
    with running_server() as server:
        feed = (sys.executable, "-m", "benchmarks.lasting.feed", module, server.url, str(n), str(ahead))
        with subprocess.Popen(feed, stdin=subprocess.PIPE) as producer:
            assert producer.stdin
            marks = asyncio.run(_marked(server.url, module, n, producer.stdin.fileno()))
    hand_over(exact=marks.is_exact(), **marks.figures())


if __name__ == "__main__":
    main()

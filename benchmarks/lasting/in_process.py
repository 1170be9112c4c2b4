"""`python -m benchmarks.lasting.in_process MODULE N`: n orders in one process, streamed, with two handlers each."""

import asyncio
import sys
from typing import Final

from benchmarks.durable.progress import Marks
from benchmarks.process import function, hand_over

HANDLERS: Final = 2
"""How many handlers each order passes."""


async def _marked(module: str, n: int) -> Marks:
    marks = Marks(n, steps=HANDLERS)
    await function(f"{module}:streamed")(n, marks)
    return marks


def main() -> None:
    """Compare the memory after a hundredth of the handler calls with that after all."""
    marks = asyncio.run(_marked(sys.argv[1], int(sys.argv[2])))
    hand_over(exact=marks.is_exact(), **marks.figures())


if __name__ == "__main__":
    main()

"""`python -m benchmarks.durable.loaded MODULE N SHARE`: how long an event is on its way at a share of the capacity.

The capacity is what one producer and one worker keep up with together, measured just before, on a server of its own.
"""

import sys

from benchmarks.case import Case, Measurement
from benchmarks.durable import BATCH
from benchmarks.process import hand_over
from benchmarks.rounds import run_case


def _measured(runner: str, *arguments: object) -> Measurement:
    return run_case(Case(system="", shape="", n=0, command=("-m", f"benchmarks.{runner}", *map(str, arguments))))


def main() -> None:
    """Measure the capacity, then the latency."""
    module, n, share = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    flowing = _measured("lasting.on_redis", module, n)
    paced = _measured("durable.latency", module, n, share * 1e6 / flowing.figures["wall_us"], BATCH)
    hand_over(exact=flowing.exact and paced.exact, **paced.figures)


if __name__ == "__main__":
    main()

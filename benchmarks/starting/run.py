"""`python -m benchmarks.starting.run MODULE:NAME REQUIREMENT...`: time one import in a process that holds little.

The requirements are what brings the module.
"""

import sys
import time


def main() -> None:
    """Import the module and say how long that took."""
    # A program starts from bytecode, as installers leave it. Where it is missing, the warm-up writes it: else compiling
    # would be most of what is timed.
    sys.dont_write_bytecode = False
    module, _, name = sys.argv[1].partition(":")
    wall, cpu = time.perf_counter(), time.process_time()
    loaded = __import__(module, fromlist=[name])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # Only now: it brings json and importlib's machinery, which the import above has to pay for itself.
    from benchmarks.process import hand_over, rss

    memory = rss()
    from benchmarks.starting.installed import distributions, size

    installed = distributions(sys.argv[2:])
    hand_over(
        exact=bool(getattr(loaded, name)),
        wall_ms=wall * 1e3,
        cpu_ms=cpu * 1e3,
        rss_mb=memory / 2**20,
        distributions=len(installed),
        installed_mb=size(installed) / 1e6,
    )


if __name__ == "__main__":
    main()

"""`python -m benchmarks.starting.run MODULE`: time one import in a process that holds next to nothing."""

import sys
import time


def main() -> None:
    """Import the module and say how long that took."""
    wall, cpu = time.perf_counter(), time.process_time()
    module = __import__(sys.argv[1], fromlist=["LOADED"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # Only now: it brings json and importlib's machinery, which the import above has to pay for itself.
    from benchmarks.process import hand_over, rss

    hand_over(exact=bool(module.LOADED), wall_ms=wall * 1e3, cpu_ms=cpu * 1e3, rss_mb=rss() / 2**20)


if __name__ == "__main__":
    main()

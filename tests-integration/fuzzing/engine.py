"""What atheris does with one target, in a process of its own: it ends when libFuzzer says so."""

from __future__ import annotations

import sys
import time
from pathlib import Path

LONGEST = 4096
"""Bytes of an input. What is dear when it is long shows when it is grown, afterwards."""


def main(name: str, found: str, corpus: str, artifacts: str, seconds: str) -> None:
    """Fuzz for so many seconds.

    Args:
        name: The target.
        found: The folder of what is interesting; it grows.
        corpus: The folder of the kept inputs.
        artifacts: The folder for an input that shows something.
        seconds: For how long.
    """
    import atheris  # it is not there in every environment in which this module is looked at

    with atheris.instrument_imports(include=["necrostack", "necrostack_redis"], enable_loader_override=False):
        from fuzzing.bounds import SECONDS_FOR_ANY, check_seconds
        from fuzzing.targets import TARGETS

    target = TARGETS[name]

    def once(data: bytes) -> None:
        before = time.thread_time()
        target.run(data)
        if time.thread_time() - before > SECONDS_FOR_ANY:  # of several readings, instrumented: look closer
            check_seconds(target, data)

    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={artifacts}/",
        f"-dict={Path(__file__).with_name('dictionary.txt')}",
        "-rss_limit_mb=1024",
        "-timeout=60",
        "-report_slow_units=60",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, found, corpus], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

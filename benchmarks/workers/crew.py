"""Starts workers, lets them begin together, reads what they handled, and ends them."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select

from benchmarks.workers.worker import READY

PATIENCE = 60.0
"""Seconds without a word after which workers count as hanging."""


class WorkersSilent(Exception):
    """The workers say nothing although there is something to say."""


class Crew:
    """Some workers that run.

    Attributes:
        handled: How often each order was handled.
    """

    def __init__(self, workers: list[subprocess.Popen[bytes]], told: int) -> None:
        self.handled: Counter[str] = Counter()
        self._workers = workers
        self._told = told
        self._rest = ""

    def begin(self) -> None:
        """Wait until all are ready, and let them work."""
        while self.handled[READY] < len(self._workers):
            self.read()
        del self.handled[READY]
        for worker in self._workers:
            assert worker.stdin
            worker.stdin.write(b"\n")
            worker.stdin.flush()

    def read(self, patience: float = PATIENCE) -> None:
        """Count what they have said since, waiting for it if need be.

        Raises:
            WorkersSilent: Nothing came, or all of them have ended.
        """
        if not select([self._told], [], [], patience)[0]:
            msg = f"nothing came for {patience:.0f} s after {self.handled.total()} handled orders"
            raise WorkersSilent(msg)
        said = os.read(self._told, 65536)
        if not said:
            msg = f"all workers ended after {self.handled.total()} handled orders"
            raise WorkersSilent(msg)
        *names, self._rest = (self._rest + said.decode()).split("\n")
        self.handled.update(name for name in names if name.startswith((READY, "order-")))

    def is_alive(self) -> bool:
        """Whether all of them still run."""
        return all(worker.poll() is None for worker in self._workers)

    def cpu_seconds(self) -> float:
        """Say how much CPU time they have spent."""
        return sum(_cpu_seconds(worker.pid) for worker in self._workers)

    def rss(self) -> int:
        """Say how many bytes of memory they have."""
        return sum(_rss(worker.pid) for worker in self._workers)


def _cpu_seconds(pid: int) -> float:
    # What clock_getcpuclockid(3) would give, which Python has not: exact, where /proc/PID/stat has ticks of 10 ms.
    return time.clock_gettime((~pid << 3) | 2)


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def crew(
    module: str, url: str, *, processes: int, pause: float = 0.0, concurrency: int | None = None
) -> Iterator[Crew]:
    """Run workers for as long as the block lasts."""
    told, tell = os.pipe()
    command = [sys.executable, "-m", "benchmarks.workers.worker", module, url, str(pause)]
    command += [str(concurrency)] if concurrency else []
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=tell) for _ in range(processes)]
    os.close(tell)
    try:
        yield Crew(workers, told)
    finally:
        for worker in workers:
            assert worker.stdin
            worker.stdin.close()
        for worker in workers:
            _end(worker)
        os.close(told)


def _end(worker: subprocess.Popen[bytes]) -> None:
    try:
        worker.wait(timeout=5)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()

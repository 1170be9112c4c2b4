"""A relay that is killed again and again. A process that has imported everything forks each of its lives."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from redis_victim import FORKS

from examples.box_office.database import open_database
from examples.box_office.outbox import Outbox
from examples.box_office.relay import Relay
from necrostack import Event
from necrostack_redis import RedisBackend

LIMIT = 10
"""How many rows it forgets at a time."""


class Life(NamedTuple):
    """How a life ends.

    Attributes:
        emits: With which event it emits.
        delay: How many seconds after that was begun. None: when it was kept, which the outbox does not know yet.
    """

    emits: int
    delay: float | None = None


class Relays:
    """Relays of one outbox, one after the other.

    Args:
        database: The URL of the database.
        redis: The URL of the server.
        options: Those of its backend.
    """

    def __init__(self, database: str, redis: str, options: dict[str, Any]) -> None:
        self._connection, theirs = FORKS.Pipe()
        self._mother = FORKS.Process(target=_bear, args=(theirs, database, redis, options), daemon=True)
        self._mother.start()
        theirs.close()

    async def live(self, life: Life) -> None:
        """Let one live."""
        self._connection.send(life)
        ended_by = await asyncio.to_thread(self._connection.recv)
        assert ended_by == -signal.SIGKILL, f"it ended by itself: {ended_by}"

    def close(self) -> None:
        """There are no more."""
        self._connection.send(None)
        self._mother.join(10)
        self._connection.close()


def _bear(connection: Connection, database: str, redis: str, options: dict[str, Any]) -> None:
    """Fork a life whenever told to, and say how it ended. This is the program of the process."""
    open_database(database).connect().close()  # imports what it needs
    while (life := connection.recv()) is not None:
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(_live(life, database, redis, options))
            finally:
                os._exit(1)
        connection.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


async def _live(life: Life, database: str, redis: str, options: dict[str, Any]) -> None:
    backend = _Mortal(life, redis, **options)
    await Relay(Outbox(open_database(database)), backend, limit=LIMIT).run()


class _Mortal(RedisBackend):
    """Ends its process as a crash would."""

    def __init__(self, life: Life, redis: str, **options: Any) -> None:
        super().__init__(redis, **options)
        self._life, self._emits = life, 0

    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        self._emits += 1
        if self._emits == self._life.emits and self._life.delay is not None:
            threading.Timer(self._life.delay, _die).start()
        await super().enqueue(*events, delay=delay)
        if self._emits == self._life.emits and self._life.delay is None:
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

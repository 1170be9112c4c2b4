"""A server of one's own behind a proxy, and what can be done to either for a while."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from patience import until
from redis_proxy import Proxy
from redis_server import Server, free_port
from redis_server import command as redis_command

from necrostack_redis import RedisBackend


@dataclass
class Place:
    """A server of one's own behind a proxy."""

    server: Server
    proxy: Proxy
    app: str

    def backend(self, **options: Any) -> RedisBackend:
        """What goes through the proxy."""
        return RedisBackend(self.proxy.url, **{"app": self.app, "lease": 30.0, "connect_timeout": 1.0, **options})

    def direct(self) -> RedisBackend:
        """What does not."""
        return RedisBackend(self.server.url, app=self.app)

    def tell(self, *command: str | int) -> bytes:
        return redis_command(self.server.port, *command)


Fault = Callable[[Place], Awaitable[None]]


async def refuse(place: Place) -> None:
    await place.proxy.refuse()


async def accept(place: Place) -> None:
    await place.proxy.accept()


async def swallow(place: Place) -> None:
    place.proxy.swallows = True


async def hand_on(place: Place) -> None:
    place.proxy.swallows = False


async def freeze(place: Place) -> None:
    os.kill(place.server.pid, signal.SIGSTOP)


async def thaw(place: Place) -> None:
    os.kill(place.server.pid, signal.SIGCONT)


async def demote(place: Place) -> None:
    place.tell("REPLICAOF", "127.0.0.1", free_port())


async def demote_without_data(place: Place) -> None:
    place.tell("CONFIG", "SET", "replica-serve-stale-data", "no")
    await demote(place)


async def promote(place: Place) -> None:
    place.tell("REPLICAOF", "NO", "ONE")


async def fail_to_save(place: Place) -> None:
    (place.server.directory / "broken.rdb").mkdir()
    for name, value in (("save", "3600 1"), ("stop-writes-on-bgsave-error", "yes")):
        assert place.tell("CONFIG", "SET", name, value) == b"+OK\r\n"
    place.tell("BGSAVE")
    await until(lambda: b"rdb_last_bgsave_status:err" in place.tell("INFO", "persistence"), "a save that failed")


async def save_again(place: Place) -> None:
    (place.server.directory / "broken.rdb").rmdir()
    place.tell("BGSAVE")


async def kill(place: Place) -> None:
    place.server.kill()


async def restart(place: Place) -> None:
    place.server.start()


async def add_ballast(place: Place) -> None:
    """Much to read at a start, command by command. After each thousand of them the server looks who calls."""
    for _ in range(80):
        place.tell("EVAL", "for i = 1, 1000 do redis.call('SET', 'ballast', '') end", 0)


async def restart_slowly(place: Place) -> None:
    """It reads its files for some fifteen seconds, or until a worker was told so: Redis 6.2 cannot be hurried."""
    place.server.args += ("--key-load-delay", "100")
    starting = asyncio.create_task(asyncio.to_thread(place.server.start, 60.0))
    await until(lambda: "LOADING" in "".join(place.proxy.errors), "a worker to be told")
    place.tell("CONFIG", "SET", "key-load-delay", 0)
    await starting


SILENT = {"half-open", "frozen"}
"""Faults that are noticed by a call that times out."""

FAULTS: dict[str, tuple[Fault, Fault]] = {
    "nobody listens": (refuse, accept),
    "half-open": (swallow, hand_on),
    "frozen": (freeze, thaw),
    "READONLY": (demote, promote),
    "MASTERDOWN": (demote_without_data, promote),
    "MISCONF": (fail_to_save, save_again),
    "restarted": (kill, restart),
    "LOADING": (kill, restart_slowly),
}

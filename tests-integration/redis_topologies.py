"""More than one server, or one behind TLS: what the tests of topologies run against, all on loopback."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import redis
from patience import until
from redis.crc import key_slot
from redis_server import Server

from necrostack_redis import RedisBackend

T = TypeVar("T")

SLOTS = 16384

FAST = ("--repl-diskless-sync-delay", "0")
"""A replica need not wait for others before it gets its copy."""


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run something to its end in a thread: a fixture must not take away the event loop that tests are given."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


# --- TLS ---------------------------------------------------------------------------------------------------


@contextmanager
def tls_in_front_of(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Take TLS off in front of a server, as not every server can do it itself. Yields the port to connect to."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)

    async def stop(server: asyncio.Server) -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(5)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


# --- Sentinel ----------------------------------------------------------------------------------------------


@dataclass
class Sentinel(Server):
    """A process that watches a master, and lets a replica take its place. `args` are the lines of its file."""

    @property
    def password(self) -> str | None:
        return next((line.split()[1] for line in self.args if line.startswith("requirepass ")), None)

    def command_line(self) -> list[str]:
        file = self.directory / "sentinel.conf"
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.directory}", *self.args]
        file.write_text("\n".join(lines) + "\n")
        return [str(self.binary), str(file), "--sentinel"]


# --- Cluster -----------------------------------------------------------------------------------------------


def cluster_port() -> int:
    """Find a port where the one 10,000 above, on which nodes talk to each other, is free, too."""
    while True:
        # Below those that the system gives to connections.
        port = random.randint(10_000, 22_000)
        with suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            return port


def ask(server: Server, *command: Any) -> Any:
    """Send one command, and return the plain answer."""
    with redis.Redis(port=server.port, password=server.password, protocol=2) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)


def offset(server: Server) -> int:
    """How far a master wrote, or a replica followed."""
    found = re.search(rb"master_repl_offset:(\d+)", ask(server, "INFO", "replication"))
    assert found
    return int(found[1])


class LoopbackCluster:
    """Masters that share the slots, and a replica of the first one."""

    def __init__(self, binary: Path, masters: int = 3, *args: str) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1200", *FAST, *args)
        *self.masters, self.replica = [Server(binary, options, port=cluster_port()) for _ in range(masters + 1)]
        self.nodes = [*self.masters, self.replica]

    async def start(self) -> None:
        """Start all, and wait until each says that all is well."""
        for number, node in enumerate(self.nodes):
            ask(node.start(), "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, node in enumerate(self.masters):
            first, end = (SLOTS * share // len(self.masters) for share in (number, number + 1))
            ask(node, "CLUSTER", "ADDSLOTS", *range(first, end))
        for node in self.nodes[1:]:
            ask(node, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        await until(self._all_say(f"cluster_known_nodes:{len(self.nodes)}"), "the nodes know each other")
        ask(self.replica, "CLUSTER", "REPLICATE", self.id_of(self.masters[0]))
        await until(self._all_say("cluster_state:ok"), "the cluster is well")
        await until(lambda: b"master_link_status:up" in ask(self.replica, "INFO", "replication"), "the replica follows")

    def remove(self) -> None:
        """End it, and delete its files."""
        for node in self.nodes:
            node.remove()

    def id_of(self, node: Server) -> bytes:
        """What the others call a node."""
        return bytes(ask(node, "CLUSTER", "MYID"))

    def app_on(self, node: Server) -> str:
        """Make up an app whose slot a master has."""
        number = self.masters.index(node)
        first, end = (SLOTS * share // len(self.masters) for share in (number, number + 1))
        return next(app for app in (uuid4().hex for _ in count()) if first <= key_slot(app.encode()) < end)

    def move(self, app: str, source: Server, target: Server) -> None:
        """Move an app's slot with all its keys: https://redis.io/docs/latest/commands/cluster-setslot/."""
        slot = key_slot(app.encode())
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *(node for node in self.masters if node not in (target, source))):
            ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    def _all_say(self, words: str) -> Callable[[], bool]:
        return lambda: all(words.encode() in ask(node, "CLUSTER", "INFO") for node in self.nodes)


# --- the worker --------------------------------------------------------------------------------------------


async def lease_is_renewed(backend: RedisBackend) -> None:
    """Wait until a worker's thread gives a sign of life, over a connection of its own."""
    await backend.pull(timeout=0)
    last = -1.0

    async def has_fallen() -> bool:
        nonlocal last
        idle = min((worker.idle for worker in await backend.admin.consumers()), default=0.0)
        before, last = last, idle
        return idle < before

    await until(has_fallen, "the lease is renewed")

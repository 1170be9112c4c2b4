"""A proxy before a Redis that loses replies, swallows bytes, or is not there: on loopback, in the test's event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from redis_server import free_port

from necrostack_redis.scripts import ALL

SCRIPTS = {script.sha: script.name for script in ALL} | {script.text: script.name for script in ALL}
"""The names of our scripts, by what EVALSHA and EVAL call them."""


class Proxy:
    """Hands bytes to and fro, and breaks connections as it is told.

    Attributes:
        port: Where it listens, on loopback.
        cuts: Says of each command, by the name of its script or its own, whether the connection is cut when the
            server has done it, instead of handing on the reply.
        swallows: Whether bytes vanish, both ways, while connections stay open: half-open.
        swallows_replication: The same, on the connections of replicas alone.
        seen: How often each command came.
        cut: How often each was cut.
        errors: The errors that the server answered.
    """

    def __init__(self, server_port: int) -> None:
        self.port = free_port()
        self.cuts: Callable[[str], bool] = lambda _: False
        self.swallows = self.swallows_replication = False
        self.seen: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.errors: list[str] = []
        self._server_port = server_port
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}"

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Cut every connection, and take no more."""
        if self._listener is not None:
            self._listener.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
            try:
                await self._serve_until_cut(reader, writer, server_reader, server_writer)
            finally:
                server_writer.close()
        writer.close()
        self._connections.discard(task)

    async def _serve_until_cut(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        doomed: list[str] = []
        is_replica = False

        def vanishes() -> bool:
            return self.swallows or (is_replica and self.swallows_replication)

        async def up() -> None:
            nonlocal is_replica
            while True:
                raw, name = await read_command(reader)
                is_replica = is_replica or name == "PSYNC"
                self.seen[name] += 1
                if self.cuts(name):
                    doomed.append(name)
                if not vanishes():
                    server_writer.write(raw)
                    await server_writer.drain()

        async def down() -> None:
            while data := await server_reader.read(65536):
                if data.startswith(b"-"):
                    self.errors.append(data.decode(errors="replace"))
                if doomed:
                    self.cut.update(doomed)
                    return
                if not vanishes():
                    writer.write(data)
                    await writer.drain()

        ways = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def read_command(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """Read one command: its bytes, and its name."""
    raw = head = await reader.readuntil(b"\r\n")
    words: list[bytes] = []
    for _ in range(int(head[1:])):
        size = await reader.readuntil(b"\r\n")
        word = await reader.readexactly(int(size[1:]) + 2)
        raw += size + word
        if len(words) < 2:
            words.append(word[:-2])
    command = words[0].decode().upper()
    return raw, SCRIPTS.get(words[1].decode(), command) if command in ("EVALSHA", "EVAL") else command


def port_of(url: str) -> int:
    """Take the port from the end of a URL."""
    return int(url.rsplit(":", 1)[1])


@asynccontextmanager
async def proxy_before(server_port: int) -> AsyncIterator[Proxy]:
    """Put a proxy before a server."""
    proxy = Proxy(server_port)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.refuse()

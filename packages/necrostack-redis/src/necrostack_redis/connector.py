"""How connections to the server are made."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Protocol

import hiredis
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from necrostack.errors import ConfigurationError
from necrostack_redis.address import Address, Node
from necrostack_redis.config import RedisSettings
from necrostack_redis.discovery import Cluster, Sentinels

# redis-py bounds a pool by 100 connections, and fails where it might wait: each call under way has one.
_UNBOUNDED = 2**31


class Client(Protocol):
    """What is used of `redis.asyncio.Redis`, which leaves parts of it untyped."""

    connection_pool: Any

    async def execute_command(self, *args: Any) -> Any: ...

    def pipeline(self, transaction: bool) -> Any: ...

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None: ...

    async def aclose(self) -> None: ...


class BlockingClient(Protocol):
    """What is used of `redis.Redis`."""

    def execute_command(self, *args: Any) -> Any: ...

    def close(self) -> None: ...


class Connector:
    """Makes clients, which connect when they are first used. They send nothing twice.

    Where the server may be another one tomorrow, each connection is made to the one that it is then: see `discovery`.

    Attributes:
        address: Where the server is; for messages.
    """

    def __init__(self, address: Address, settings: RedisSettings, extra: Mapping[str, Any] | None = None) -> None:
        """Make one.

        Args:
            address: Where the server is.
            settings: How long to wait for it, and certificates.
            extra: What else redis-py's connections shall be made with.

        Raises:
            ConfigurationError: A file with certificates cannot be used.
        """
        _check_files(settings)
        self.address = address
        self._settings = settings
        self._extra = dict(extra or {})
        self._kinds = _kinds(address)
        find = self._discovery()
        self._where: dict[str, Any] = {"find": find} if find else _place(address)

    @property
    def trusts_anybody(self) -> bool:
        """Whether TLS is spoken, as a client of the user's own does it, with whoever answers."""
        how = self._arguments()
        return self.address.tls and (how["ssl_cert_reqs"] in ("none", ssl.CERT_NONE) or not how["ssl_check_hostname"])

    def client(self, *, silence: float = 0.0) -> Client:
        """Make a client for an event loop.

        Args:
            silence: Seconds for which the server may rightly be silent, on top of `call_timeout`.
        """
        pool = redis.asyncio.ConnectionPool(
            connection_class=_packing(self._kinds[0]),
            max_connections=_UNBOUNDED,
            **self._arguments(silence),
            **self._where,
            retry=AsyncRetry(NoBackoff(), 0),
        )
        client = redis.asyncio.Redis.from_pool(pool)
        for command in ("XREAD", "XREADGROUP"):
            client.set_response_callback(command, _unchanged)
        return client

    def blocking_client(self) -> BlockingClient:
        """Make a client for a thread."""
        return self._blocking(self._kinds[1], self._arguments() | self._where)

    async def is_without_tls(self) -> bool:
        """Whether the server answers to plain text, where TLS was to be spoken.

        It may well keep silent then, as if it were out of reach: a handshake is no command.
        """
        if self.address.topology != "standalone" or not self.address.tls:
            return False
        try:
            async with self._bare_connection() as (reader, writer):
                writer.write(b"PING\r\n")
                return await reader.read(1) in (b"+", b"-")
        except OSError:
            return False

    async def is_with_tls(self) -> bool:
        """Whether the server speaks TLS, where plain text was to be spoken. It hangs up then, as if it were going away.

        It is told nothing.
        """
        if self.address.topology != "standalone" or self.address.tls:
            return False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whoever it is
        try:
            async with self._bare_connection(context):
                return True
        except OSError:
            return False

    @asynccontextmanager
    async def _bare_connection(
        self, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        (node,) = self.address.nodes
        async with asyncio.timeout(self._settings.connect_timeout):
            reader, writer = await asyncio.open_connection(*node, ssl=tls)
            try:
                yield reader, writer
            finally:
                writer.transport.abort()

    def _arguments(self, silence: float = 0.0) -> dict[str, Any]:
        """Say how to connect. redis-py by itself would send commands again whose reply was lost, and wait for ever."""
        address, settings = self.address, self._settings
        found: dict[str, Any] = {
            "db": address.db,
            "username": address.username,
            "password": address.password,
            "protocol": 2,
            "socket_timeout": settings.call_timeout + silence,
            "socket_connect_timeout": settings.connect_timeout,
            "retry_on_error": [],
            "health_check_interval": 0,
        }
        if address.topology != "unix":
            found["socket_keepalive"] = True
        if address.tls:
            found |= {
                "ssl_cert_reqs": "required",
                "ssl_check_hostname": True,
                "ssl_ca_certs": settings.ca_certs,
                "ssl_certfile": settings.certfile,
                # One file may hold both.
                "ssl_keyfile": settings.keyfile or settings.certfile,
            }
        return found | self._extra

    # --- where the server is -----------------------------------------------------------------------------

    def _discovery(self) -> Callable[[], Node] | None:
        match self.address.topology:
            case "sentinel":
                return Sentinels(self.address.nodes, self.address.service, self._ask_sentinel).find
            case "cluster":
                return Cluster(self.address.nodes, self._settings.app, self._ask).find
        return None

    def _ask_sentinel(self, node: Node, *command: str) -> Any:
        """Sentinels have users of their own, and no databases."""
        who = {"username": self.address.sentinel_username, "password": self.address.sentinel_password}
        return self._ask(node, *command, db=0, credential_provider=None, **who)

    def _ask(self, node: Node, *command: str, **own: Any) -> Any:
        kind = redis.SSLConnection if self.address.tls else redis.Connection
        client = self._blocking(kind, self._arguments() | own | {"host": node.host, "port": node.port})
        try:
            return client.execute_command(*command)
        finally:
            client.close()

    def _blocking(
        self, kind: type[redis.connection.AbstractConnection], arguments: Mapping[str, Any]
    ) -> BlockingClient:
        pool = redis.ConnectionPool(connection_class=kind, **arguments, retry=Retry(NoBackoff(), 0))
        return redis.Redis.from_pool(pool)


def _place(address: Address) -> dict[str, Any]:
    if address.topology == "unix":
        return {"path": address.path}
    (node,) = address.nodes
    return {"host": node.host, "port": node.port}


def _check_files(settings: RedisSettings) -> None:
    """Find out now what every connection would stumble over."""
    if settings.keyfile and not settings.certfile:
        msg = f"keyfile={settings.keyfile!r} is the key of no certificate; give certfile, too"
        raise ConfigurationError(msg)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name = "ca_certs"
    try:
        if settings.ca_certs:
            context.load_verify_locations(settings.ca_certs)
        name = "certfile"
        if settings.certfile:
            context.load_cert_chain(settings.certfile, settings.keyfile)
    except OSError as error:
        msg = f"{name}={getattr(settings, name)!r} cannot be used: {error}; it must be a PEM file"
        raise ConfigurationError(msg) from error


# --- connections to wherever the server is -----------------------------------------------------------------


class _RoamingConnection(redis.asyncio.Connection):
    """Looks up where the server is each time that it connects."""

    def __init__(self, *, find: Callable[[], Node], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._find = find

    async def _connect(self) -> None:
        self.host, self.port = await asyncio.to_thread(self._find)
        await super()._connect()  # type: ignore[no-untyped-call] # of redis-py


class _RoamingTLSConnection(_RoamingConnection, redis.asyncio.SSLConnection):
    """The same, with TLS."""


class _BlockingRoamingConnection(redis.Connection):
    """The same, for a thread."""

    def __init__(self, *, find: Callable[[], Node], **arguments: Any) -> None:
        super().__init__(**arguments)  # type: ignore[no-untyped-call]
        self._find = find

    def _connect(self) -> Any:
        self.host, self.port = self._find()
        return super()._connect()  # type: ignore[no-untyped-call]


class _BlockingRoamingTLSConnection(_BlockingRoamingConnection, redis.SSLConnection):
    """The same, for a thread and with TLS."""


def _kinds(address: Address) -> tuple[Any, Any]:
    """Choose the kind of connection for an event loop, and the one for a thread."""
    match address.topology, address.tls:
        case "unix", _:
            return redis.asyncio.UnixDomainSocketConnection, redis.UnixDomainSocketConnection
        case "standalone", False:
            return redis.asyncio.Connection, redis.Connection
        case "standalone", True:
            return redis.asyncio.SSLConnection, redis.SSLConnection
        case _, False:
            return _RoamingConnection, _BlockingRoamingConnection
    return _RoamingTLSConnection, _BlockingRoamingTLSConnection


class _Packing:
    """Packs commands in C, as redis-py does it for its blocking connections only: at a fifth of the cost."""

    def pack_command(self, *args: Any) -> list[bytes]:
        # redis-py itself gives some commands of two words as one argument.
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]


class _Sending:
    """Sends what the system takes at once without more ado, and lets a cancellation through that comes until then.

    redis-py sends by `asyncio.wait_for`, for which Python 3.11 makes a task: that takes as long as all the rest of
    sending. And it returns if what it waits for is done when it is cancelled, so that the cancellation is lost:
    https://github.com/python/cpython/issues/86296
    """

    _writer: asyncio.StreamWriter

    async def send_packed_command(self, command: Sequence[bytes], check_health: bool = True) -> None:
        await _let_cancellation_through()
        if self.is_connected:  # type: ignore[attr-defined] # of the connection, as all that is ignored below
            self._writer.writelines(command)
            if not self._writer.transport.get_write_buffer_size():
                return  # reading the answer has a timeout, and notices a lost connection; we ask for no health checks
            command = ()  # the rest of it goes while redis-py waits
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)  # type: ignore[misc]
        if task and task.cancelling() > before:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined] # nobody will read the answer
            raise asyncio.CancelledError

    async def can_read_destructive(self) -> bool:
        # An older redis-py asks a connection that it takes from the pool, with a timeout that swallows a cancellation.
        await _let_cancellation_through()
        return bool(await super().can_read_destructive())  # type: ignore[misc]


async def _let_cancellation_through() -> None:
    """Raise one that came since the task waited last, as by a signal. A task that cleans up after one goes on."""
    task = asyncio.current_task()
    if task and task.cancelling():
        await asyncio.sleep(0)


@cache
def _packing(base: type) -> type:
    """Return a kind of connection that packs in C, sends at once and can be cancelled, whatever else it does."""
    return type(f"Packing{base.__name__}", (_Packing, _Sending, base), {})


def _unchanged(response: Any, **_: Any) -> Any:
    """Take a reply as it came. redis-py would make dicts of what is read, and lose the order of fields."""
    return response

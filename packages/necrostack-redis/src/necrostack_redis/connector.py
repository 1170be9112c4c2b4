"""How connections to the server are made."""

from __future__ import annotations

from typing import Any, Protocol

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from necrostack_redis.config import Address, RedisSettings


class Client(Protocol):
    """What is used of `redis.asyncio.Redis`, which leaves parts of it untyped."""

    connection_pool: Any

    async def execute_command(self, *args: Any) -> Any: ...

    def pipeline(self, transaction: bool) -> Any: ...

    async def aclose(self) -> None: ...


class BlockingClient(Protocol):
    """What is used of `redis.Redis`."""

    def execute_command(self, *args: Any) -> Any: ...

    def close(self) -> None: ...


class Connector:
    """Makes clients, which connect when they are first used. They send nothing twice.

    Attributes:
        address: Where the server is; for messages.
    """

    def __init__(self, address: Address, settings: RedisSettings) -> None:
        self.address = address
        self._settings = settings

    def client(self, *, silence: float = 0.0) -> Client:
        """Make a client for an event loop.

        Args:
            silence: Seconds for which the server may rightly be silent, on top of `call_timeout`.
        """
        return redis.asyncio.Redis(**self._arguments(silence), retry=AsyncRetry(NoBackoff(), 0))

    def blocking_client(self) -> BlockingClient:
        """Make a client for a thread."""
        return redis.Redis(**self._arguments(), retry=Retry(NoBackoff(), 0))

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
        if address.path:
            return found | {"unix_socket_path": address.path}
        found |= {"host": address.host, "port": address.port, "socket_keepalive": True}
        if address.tls:
            found |= {
                "ssl": True,
                "ssl_cert_reqs": "required",
                "ssl_check_hostname": True,
                "ssl_ca_certs": settings.ca_certs,
                "ssl_certfile": settings.certfile,
                "ssl_keyfile": settings.keyfile,
            }
        return found

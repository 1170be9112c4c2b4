"""How a client of the user's own connects: what a URL cannot say."""

from __future__ import annotations

import inspect
from typing import Any, TypeAlias

import redis
import redis.asyncio

from necrostack.errors import ConfigurationError
from necrostack_redis.address import Address, Node, Topology

Template: TypeAlias = "redis.Redis | redis.asyncio.Redis"

# How each kind of connection is used. Exactly these: what a subclass does otherwise would be lost.
_KINDS: dict[type, tuple[Topology, bool]] = {
    redis.Connection: ("standalone", False),
    redis.asyncio.Connection: ("standalone", False),
    redis.SSLConnection: ("standalone", True),
    redis.asyncio.SSLConnection: ("standalone", True),
    redis.UnixDomainSocketConnection: ("unix", False),
    redis.asyncio.UnixDomainSocketConnection: ("unix", False),
}

_TAKEN = ("client_name", "credential_provider", "socket_keepalive_options")
"""What is taken as it is, besides all that says how to speak TLS."""


def read_client(client: Template) -> tuple[Address, dict[str, Any]]:
    """Take from a client where the server is, who one is there, and how TLS is spoken.

    Nothing else: its timeouts, its retries and what it makes of replies are for other work. It is never used itself.

    Returns:
        Where the server is, and what else redis-py's connections shall be made with.

    Raises:
        ConfigurationError: What it does cannot be done in an event loop and in a thread alike.
    """
    pool: Any = getattr(client, "connection_pool", None)
    kind = getattr(pool, "connection_class", None)
    if kind not in _KINDS:
        what = f"a {type(client).__name__}" if kind is None else f"a client whose connections are {kind.__qualname__}"
        msg = (
            f"client is {what}; it must be a redis.Redis or redis.asyncio.Redis with redis-py's own connections to one "
            f"server; for others write a URL that begins with redis+sentinel:// or redis+cluster://"
        )
        raise ConfigurationError(msg)
    topology, tls = _KINDS[kind]
    given = {name: value for name, value in pool.connection_kwargs.items() if value is not None}
    host, port = given.get("host", "localhost"), int(given.get("port", 6379))
    address = Address(
        topology=topology,
        nodes=() if topology == "unix" else (Node(host, port),),
        path=given.get("path", ""),
        db=int(given.get("db", 0)),
        username=given.get("username"),
        password=given.get("password"),
        tls=tls,
    )
    extra = {name: given[name] for name in _TAKEN if name in given}
    for name, value in given.items():
        if not name.startswith("ssl_"):
            continue
        if name in _BOTH:
            extra[name] = value
        elif value:
            msg = f"client has {name}, which redis-py cannot do both in an event loop and in a thread"
            raise ConfigurationError(msg)
    return address, extra


_BOTH = (
    inspect.signature(redis.SSLConnection.__init__).parameters.keys()
    & inspect.signature(redis.asyncio.SSLConnection.__init__).parameters.keys()
)
"""Which arguments both kinds of TLS connections take, in this version of redis-py."""

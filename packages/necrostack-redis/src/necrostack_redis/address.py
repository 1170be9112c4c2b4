"""Where a server is, and how a URL says it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from necrostack.errors import ConfigurationError

Topology: TypeAlias = Literal["standalone", "unix", "sentinel", "cluster"]

_SCHEMES: dict[str, tuple[Topology, bool]] = {
    "redis": ("standalone", False),
    "rediss": ("standalone", True),
    "redis+unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}

SCHEMES = tuple(_SCHEMES)

_PORT, _SENTINEL_PORT = 6379, 26379

_SENTINEL_NAMES = ("sentinel_username", "sentinel_password")

_OWN_NAMES = ("db", *_SENTINEL_NAMES)
"""What a query may say of the address."""


class Node(NamedTuple):
    """One server process, by the name or IP address of its host and its port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server is, and who one is there. A password shows in no repr.

    Attributes:
        topology: What there is: one server, behind a port or a socket file; a master that Sentinels name; a cluster.
        nodes: The server; or the Sentinels to ask; or some nodes of the cluster. None for a socket file.
        path: The socket file; empty otherwise.
        service: The name by which the Sentinels know the master; empty otherwise.
        db: The number of the database.
        username: The ACL user; None for the default one.
        password: Its password; None without one.
        sentinel_username: The ACL user for the Sentinels; None for the default one.
        sentinel_password: Its password; None without one.
        tls: Whether to speak TLS, with the server's certificate and name verified.
    """

    topology: Topology = "standalone"
    nodes: tuple[Node, ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False

    def __str__(self) -> str:
        if self.topology == "unix":
            return f"redis+unix://{self.path}"
        scheme = next(scheme for scheme, known in _SCHEMES.items() if known == (self.topology, self.tls))
        service = f"{self.service}/" if self.service else ""
        return f"{scheme}://{','.join(map(str, self.nodes))}/{service}{self.db}"


_EXAMPLES: dict[Topology, str] = {
    "standalone": "redis://user:password@host:port/db",
    "unix": "redis+unix:///run/redis.sock?db=0",
    "sentinel": "redis+sentinel://user:password@host:port,host:port/service?db=0",
    "cluster": "redis+cluster://user:password@host:port,host:port",
}


def read_address(url: str, settings: Collection[str]) -> tuple[Address, dict[str, str]]:
    """Take a URL apart: where the server is, and what else the query says.

    Args:
        url: The URL.
        settings: The names of what else the query may say.

    Raises:
        ConfigurationError: It cannot be read, or cannot be meant. The message never shows the URL, which may hold a
            password.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _SCHEMES:
        msg = f"a Redis URL begins with {', '.join(f'{known}://' for known in _SCHEMES)}"
        raise ConfigurationError(msg)
    topology, tls = _SCHEMES[scheme]
    # Not urlsplit: it knows no list of hosts.
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    path, _, query_text = rest[len(authority) :].partition("?")
    user, _, hosts = authority.rpartition("@")
    nodes = _read_nodes(topology, hosts)
    if "#" in rest or "@" in path or "@" in query_text:
        # A password that was not quoted goes on here: none of it may be shown.
        msg = "the Redis URL holds a # or an @ after its host; in a password write %23 for #, %2F for /, %3F for ?"
        raise ConfigurationError(msg)
    if len(nodes) > 1 and topology not in ("sentinel", "cluster"):
        msg = f"a {scheme}:// URL names one server; write redis+sentinel:// or redis+cluster:// for several"
        raise ConfigurationError(msg)
    query = _read_query(query_text, settings)
    file, service, db = _read_path(topology, unquote(path), query.pop("db", ""))
    sentinel = {name: query.pop(name) for name in _SENTINEL_NAMES if name in query}
    if sentinel and topology != "sentinel":
        msg = f"{next(iter(sentinel))} is for redis+sentinel://, not for {scheme}://"
        raise ConfigurationError(msg)
    username, _, password = user.partition(":")
    address = Address(
        topology=topology,
        nodes=nodes,
        path=file,
        service=service,
        db=db,
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=sentinel.get("sentinel_username") or None,
        sentinel_password=sentinel.get("sentinel_password") or None,
        tls=tls,
    )
    return address, query


def _read_nodes(topology: Topology, hosts: str) -> tuple[Node, ...]:
    if topology == "unix":
        if hosts:
            msg = f"redis+unix:// has no host: three slashes begin a path, as in {_EXAMPLES[topology]}"
            raise ConfigurationError(msg)
        return ()
    default = _SENTINEL_PORT if topology == "sentinel" else _PORT
    try:
        return tuple(_node(host, default) for host in hosts.split(","))
    except ValueError:
        # Its text may quote what stands before the @.
        msg = f"the Redis URL cannot be read; write {_EXAMPLES[topology]}, %40 for an @ in the password"
        raise ConfigurationError(msg) from None


def _node(host: str, default: int) -> Node:
    parts = urlsplit(f"//{host}")
    return Node(parts.hostname or "localhost", parts.port or default)


def _read_query(text: str, known: Collection[str]) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if "sentinel_password" in names and not {*names} <= {*known, *_OWN_NAMES}:
        # Of a password that was not quoted, & makes a setting: its name must not be shown.
        msg = "the query of the Redis URL holds a setting that there is not; in a password write %26 for &"
        raise ConfigurationError(msg)
    for name in names:
        if names.count(name) > 1:
            msg = f"{name:.40} stands twice in the Redis URL; give it once"
            raise ConfigurationError(msg)
    return dict(pairs)


def _read_path(topology: Topology, path: str, in_query: str) -> tuple[str, str, int]:
    """Tell a socket file, a Sentinel service and a database apart."""
    if topology == "unix":
        if not path.strip("/"):
            msg = f"redis+unix:// names no socket file; write {_EXAMPLES[topology]}"
            raise ConfigurationError(msg)
        return path, "", _read_db(topology, [in_query])
    steps = path.strip("/").split("/")
    service = steps.pop(0) if topology == "sentinel" else ""
    if topology == "sentinel" and not service:
        msg = f"redis+sentinel:// names no service; write {_EXAMPLES[topology]}"
        raise ConfigurationError(msg)
    return "", service, _read_db(topology, [*steps, in_query])


def _read_db(topology: Topology, given: Sequence[str]) -> int:
    named = [*dict.fromkeys(db for db in given if db)]
    if len(named) > 1:
        msg = f"the Redis URL names the databases {named[0]:.20} and {named[1]:.20}; give it once"
        raise ConfigurationError(msg)
    db = named[0] if named else "0"
    if not (db.isdecimal() and len(db) < 6):
        msg = f"the database {db[:20]!r} must be a number; write {_EXAMPLES[topology]}"
        raise ConfigurationError(msg)
    if topology == "cluster" and int(db):
        msg = f"a cluster has no database {db}, only 0; let the setting app keep programs apart"
        raise ConfigurationError(msg)
    return int(db)

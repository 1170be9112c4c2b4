"""How a Redis backend is set up: where the server is, and what may be chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict
from urllib.parse import parse_qsl, unquote, urlsplit

from necrostack.errors import ConfigurationError, check_count, check_seconds
from necrostack.event import MAX_EVENT_SIZE

SCHEMES = ("redis", "rediss", "redis+unix")

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DAY = 86_400.0


class RedisOptions(TypedDict, total=False):
    """The settings as keywords of `RedisBackend`. What they mean and their defaults: `RedisSettings`."""

    app: str
    group: str
    start: Literal["earliest", "latest"]
    lease: float
    max_stall: float
    max_recoveries: int
    max_size: int | None
    max_event_size: int
    retain_length: int | None
    retain_age: float | None
    ephemeral_after: float | None
    repeat_window: float
    batch_size: int
    call_timeout: float
    connect_timeout: float
    ca_certs: str | None
    certfile: str | None
    keyfile: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """What may be chosen. Each is a keyword of `RedisBackend`, and can stand in the URL's query.

    Attributes:
        app: Whose events these are: apps on one server do not see each other's.
        group: Which group of workers this one is in. Each group gets every event, its workers share them.
        start: Where a group that does not exist yet starts: with everything retained, or with what comes.
        lease: Seconds after which a worker that was not heard of is dead, and others take over what it held.
        max_stall: Seconds for which a handler may block the event loop before its worker counts as dead.
        max_recoveries: How often an event may be taken over from a dead worker before it becomes a dead letter.
        max_size: How many events may wait for a group before `enqueue` refuses; None for no bound.
        max_event_size: How many bytes of JSON payload and headers may have.
        retain_length: How many events are kept at the most, for replay; None for any number. What some group has not
            settled stays, however much that is. As many redriven dead letters stay readable.
        retain_age: For how many seconds events and redriven dead letters are kept; None for ever. As above.
        ephemeral_after: Seconds without a live worker after which the group is removed, with all that waits for it;
            None: it is durable. Where its workers differ, the last one that joins decides.
        repeat_window: Seconds in which the identical `enqueue` call is taken for a repetition.
        batch_size: How many deliveries it is good to pull, and to settle, in one call.
        call_timeout: Seconds after which a server that does not answer counts as out of reach.
        connect_timeout: Seconds after which one that cannot be connected to does.
        ca_certs: A file of certificates to trust instead of the system's; `rediss://` only.
        certfile: A file with the certificate to show to the server; `rediss://` only.
        keyfile: A file with its key; `rediss://` only.
    """

    app: str = "necrostack"
    group: str = "default"
    start: Literal["earliest", "latest"] = "earliest"
    lease: float = 60.0
    max_stall: float = 300.0
    max_recoveries: int = 5
    max_size: int | None = None
    max_event_size: int = MAX_EVENT_SIZE
    retain_length: int | None = 1_000_000
    retain_age: float | None = 7 * _DAY
    ephemeral_after: float | None = None
    repeat_window: float = 120.0
    batch_size: int = 100
    call_timeout: float = 5.0
    connect_timeout: float = 3.0
    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def __post_init__(self) -> None:
        for name in ("app", "group"):
            check_name(name, getattr(self, name))
        if self.start not in ("earliest", "latest"):
            msg = f"start={self.start!r} must be 'earliest' or 'latest'"
            raise ConfigurationError(msg)
        for name, least in (("lease", 0.3), ("max_stall", 0.3), ("call_timeout", 0.1), ("connect_timeout", 0.1)):
            _check_duration(name, getattr(self, name), least=least)
        _check_duration("repeat_window", self.repeat_window, least=0.001)
        for name, least in (("retain_age", 0.0), ("ephemeral_after", 1.0)):
            if getattr(self, name) is not None:
                _check_duration(name, getattr(self, name), least=least)
        for name, least in (("max_recoveries", 0), ("max_event_size", 1), ("batch_size", 1)):
            check_count(name, getattr(self, name), least=least)
        for name, least in (("max_size", 1), ("retain_length", 0)):
            check_count(name, getattr(self, name), least=least, or_none=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server is, and who one is there. The password shows in no repr.

    Attributes:
        host: Its name or IP address; empty for a socket file.
        port: Its port.
        path: Its socket file; empty otherwise.
        db: The number of the database.
        username: The ACL user; None for the default one.
        password: Its password; None without one.
        tls: Whether to speak TLS, with the server's certificate and name verified.
    """

    host: str = ""
    port: int = 6379
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    def __str__(self) -> str:
        if self.path:
            return f"redis+unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"


def read_url(url: str, options: Mapping[str, Any]) -> tuple[Address, RedisSettings]:
    """Read where the server is from a URL, and the settings from its query and from keywords.

    Args:
        url: Such as `rediss://worker:secret@redis.example:6379/0?app=shop&lease=30`, or
            `redis+unix:///run/redis.sock?db=1`.
        options: Settings by keyword.

    Raises:
        ConfigurationError: A setting is unknown, out of its range, or given in both places with different values.
            The message never shows the URL, which may hold a password.
    """
    scheme, separator, _ = str(url).strip().partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        msg = f"a Redis URL begins with {', '.join(f'{known}://' for known in SCHEMES)}"
        raise ConfigurationError(msg)
    unknown = sorted(options.keys() - _CONVERSIONS.keys())
    if unknown:
        raise _unknown_setting(unknown[0])
    address, query = _read_address(str(url).strip())
    found: dict[str, Any] = {name: _converted(name, value) for name, value in query.items()}
    for name in sorted(found.keys() & options.keys()):
        if found[name] != options[name]:
            msg = f"{name} is {found[name]!r} in the URL and {options[name]!r} as a keyword; give it once"
            raise ConfigurationError(msg)
    settings = RedisSettings(**(found | dict(options)))
    files = [name for name in ("ca_certs", "certfile", "keyfile") if getattr(settings, name) is not None]
    if files and not address.tls:
        msg = f"{files[0]} is for TLS; write rediss:// instead of {scheme}://"
        raise ConfigurationError(msg)
    return address, settings


def _read_address(url: str) -> tuple[Address, dict[str, str]]:
    """Take a URL apart: the address, and what else its query says."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Its text may quote what stands before the @.
        msg = "the Redis URL cannot be read; write redis://user:password@host:port/db, %40 for an @ in the password"
        raise ConfigurationError(msg) from None
    if parts.fragment:
        msg = "the Redis URL holds a #; in a password write %23"
        raise ConfigurationError(msg)
    query: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in query:
            msg = f"{name} stands twice in the Redis URL; give it once"
            raise ConfigurationError(msg)
        query[name] = value
    db, path = query.pop("db", ""), unquote(parts.path)
    is_socket = parts.scheme == "redis+unix"
    if is_socket and not path.strip("/"):
        msg = "redis+unix:// names no socket file; write redis+unix:///run/redis.sock"
        raise ConfigurationError(msg)
    if not is_socket and (in_path := path.strip("/")):
        if db and db != in_path:
            msg = f"the Redis URL names the databases {in_path:.20} and {db:.20}; give it once"
            raise ConfigurationError(msg)
        db = in_path
    if db and not (db.isdecimal() and len(db) < 6):
        msg = f"the database {db[:20]!r} must be a number; write redis://host:port/0"
        raise ConfigurationError(msg)
    address = Address(
        host="" if is_socket else parts.hostname or "localhost",
        port=port or 6379,
        path=path if is_socket else "",
        db=int(db or 0),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "rediss",
    )
    return address, query


# --- settings as text ------------------------------------------------------------------------------------

_CONVERSIONS: Mapping[str, str] = {setting.name: str(setting.type) for setting in fields(RedisSettings)}


def _converted(name: str, value: str) -> Any:
    """Read a setting from the text that a URL's query has for it."""
    if name not in _CONVERSIONS:
        raise _unknown_setting(name)
    kind = _CONVERSIONS[name]
    if value == "none" and kind.endswith("| None"):
        return None
    try:
        if kind.startswith("int"):
            return int(value)
        if kind.startswith("float"):
            return float(value)
    except ValueError:
        what = "a whole number" if kind.startswith("int") else "a number of seconds"
        msg = f"{name}={value:.40} in the Redis URL must be {what}"
        raise ConfigurationError(msg) from None
    return value


def _unknown_setting(name: str) -> ConfigurationError:
    known = ", ".join(sorted(_CONVERSIONS))
    return ConfigurationError(f"a Redis backend has no setting {name[:40]!r}; there are {known}")


def check_name(name: str, value: object) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        msg = f"{name}={value!r:.80} must be 1 to 64 letters, digits, dots, hyphens or underscores"
        raise ConfigurationError(msg)


def _check_duration(name: str, value: object, *, least: float) -> None:
    if check_seconds(name, value) < least or check_seconds(name, value) > 100 * 366 * _DAY:
        msg = f"{name}={value!r} must be a number of seconds, {least:g} or more, and less than a hundred years"
        raise ConfigurationError(msg)

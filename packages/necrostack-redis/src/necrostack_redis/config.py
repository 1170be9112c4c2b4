"""How a Redis backend is set up: what may be chosen, by keyword and in the URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict

from necrostack.errors import ConfigurationError, check_count, check_seconds
from necrostack.event import MAX_EVENT_SIZE
from necrostack_redis.address import Address, read_address

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
        max_size: How many events may wait before `enqueue` refuses: for whichever group is furthest behind; None for no
            bound.
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
        ca_certs: A file of certificates to trust besides the system's; TLS only.
        certfile: A file with the certificate to show to the server; TLS only.
        keyfile: A file with its key, if that one does not hold it; TLS only.
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


def read_url(url: str, options: Mapping[str, Any]) -> tuple[Address, RedisSettings]:
    """Read where the server is from a URL, and the settings from its query and from keywords.

    Args:
        url: Such as `rediss://worker:secret@redis.example:6379/0?app=shop&lease=30`. The other schemes: `SCHEMES`.
        options: Settings by keyword.

    Raises:
        ConfigurationError: A setting is unknown, out of its range, or given in both places with different values.
            The message never shows the URL, which may hold a password.
    """
    address, query = read_address(str(url).strip(), _CONVERSIONS.keys())
    found: dict[str, Any] = {name: _converted(name, value) for name, value in query.items()}
    _check_known(options)
    for name in sorted(found.keys() & options.keys()):
        if found[name] != options[name]:
            msg = f"{name} is {found[name]!r} in the URL and {options[name]!r} as a keyword; give it once"
            raise ConfigurationError(msg)
    return address, make_settings(address, found | dict(options))


def make_settings(address: Address, options: Mapping[str, Any]) -> RedisSettings:
    """Check settings given by keyword, also against what they are for.

    Raises:
        ConfigurationError: One is unknown, out of its range, or has no use at this address.
    """
    _check_known(options)
    settings = RedisSettings(**options)
    files = [name for name in ("ca_certs", "certfile", "keyfile") if getattr(settings, name) is not None]
    if files and not address.tls:
        msg = f"{files[0]} is for TLS; write a URL that begins with rediss"
        raise ConfigurationError(msg)
    return settings


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


def _check_known(options: Mapping[str, Any]) -> None:
    for name in sorted(options.keys() - _CONVERSIONS.keys()):
        raise _unknown_setting(name)


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

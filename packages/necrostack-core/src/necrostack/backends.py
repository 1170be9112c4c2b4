"""Backends by URL: `memory://` is here, others are found through entry points of installed distributions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import parse_qsl

from necrostack.backend import Backend
from necrostack.errors import ConfigurationError
from necrostack.memory import InMemoryBackend

GROUP = "necrostack.backends"
"""The entry-point group: one entry for each URL scheme, naming what makes a Backend of a URL."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")  # RFC 3986, 3.1

_BROUGHT_BY: Mapping[str, str] = dict.fromkeys(
    ("redis", "rediss", "redis+unix", "redis+cluster", "redis+sentinel"), "necrostack[redis]"
)


def open_backend(url: str) -> Backend:
    """Make the backend that a URL names. Connections are opened when they are needed.

    Args:
        url: Such as `memory://`, `memory://?max_size=1000&history=100`, or `redis://localhost:6379/0`.

    Raises:
        ConfigurationError: No installed distribution knows the scheme, or a setting in the query is wrong.
            The message never shows the URL itself, which may hold a password.

    >>> type(open_backend("memory://?history=10")).__name__
    'InMemoryBackend'
    """
    # By hand: whoever makes the backend knows what else may stand in its URLs.
    scheme, separator, rest = str(url).strip().partition("://")
    scheme = scheme.lower() if separator else ""
    if scheme == "memory":
        return _in_memory(rest)
    return _maker(scheme)(url)


def _maker(scheme: str) -> Callable[[str], Backend]:
    # Imported here: it costs 30 ms that `import necrostack` need not pay.
    from importlib.metadata import entry_points

    found = {entry.value: entry for entry in entry_points(group=GROUP) if entry.name == scheme}
    if len(found) > 1:
        makers = ", ".join(sorted(found))
        msg = f"two distributions bring a backend for {scheme}:// ({makers}); uninstall one of them"
        raise ConfigurationError(msg)
    if found:
        (entry,) = found.values()
        return cast("Callable[[str], Backend]", entry.load())
    if scheme in _BROUGHT_BY:
        msg = f"no backend for {scheme}:// is installed; pip install '{_BROUGHT_BY[scheme]}'"
        raise ConfigurationError(msg)
    known = sorted({"memory", *(entry.name for entry in entry_points(group=GROUP))})
    # What is no name may be a password that was not quoted.
    what = f"{scheme}://" if _SCHEME.fullmatch(scheme) else "a URL without a scheme"
    msg = f"no backend for {what}; installed are {', '.join(f'{name}://' for name in known)}"
    raise ConfigurationError(msg)


def _in_memory(rest: str) -> InMemoryBackend:
    place, _, query = rest.partition("?")
    if place.strip("/"):
        msg = "memory:// has no place to name; write memory:// or, with settings, memory://?max_size=1000"
        raise ConfigurationError(msg)
    settings: dict[str, int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ("max_size", "history", "max_event_size"):
            msg = f"memory:// has no setting {name!r}; there are max_size, history and max_event_size"
            raise ConfigurationError(msg)
        if not value.isdecimal() or len(value) > 18:
            msg = f"memory://?{name}={value:.40} must be a whole number"
            raise ConfigurationError(msg)
        settings[name] = int(value)
    return InMemoryBackend(**settings)  # type: ignore[arg-type]  # every setting is an int, and checked by name

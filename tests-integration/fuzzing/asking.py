"""Targets that read what a person typed: arguments, settings, URLs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from typing import Any

from fuzzing.finding import expect, read_or_none
from necrostack import InMemoryBackend, RetryPolicy, Spine, open_backend
from necrostack.cli.arguments import build_parser
from necrostack.cli.dispatch import dispatch
from necrostack.errors import ConfigurationError
from necrostack_redis import RedisBackend, RedisOptions
from necrostack_redis.config import read_url

# --- arguments -------------------------------------------------------------------------------------------


def argv_of(data: bytes) -> list[str]:
    """Arguments, one a line, as the system hands them over: never with a zero byte."""
    return [word.decode("utf-8", "surrogateescape") for word in data.replace(b"\0", b"").split(b"\n")]


def arguments(data: bytes) -> None:
    """Every command's arguments; and what `emit` makes of an event that is only checked."""
    argv = argv_of(data)
    out, err = StringIO(), StringIO()
    code: object = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            found = vars(build_parser(argv).parse_args(argv))
        except SystemExit as ended:
            found, code = {}, ended.code or 0
        else:
            if _is_harmless(argv, found):
                code = dispatch(argv)
    expect(code in (0, 1, 2, 5), f"exit code {code!r}")
    told = err.getvalue()
    expect(code in (0, 5) or told.startswith("necrostack: error: "), f"what is wrong is told as {told!r:.200}")
    expect(told.count("\n") <= 2, f"an error takes {told.count(chr(10))} lines")
    expect(not set(map(chr, (7, 8, 13, 27, 155))) & {*told}, "an error moves the cursor")


def _is_harmless(argv: list[str], found: dict[str, Any]) -> bool:
    """Whether nothing is imported, read, written or connected to. What may be is for other tests."""
    words = found.get("words", ())
    if found.get("app") or found.get("file") or found.get("backend") not in (None, "memory://"):
        return False
    if argv[0] == "emit":
        return len(words) < 3 and (len(words) < 2 or words[1].lstrip().startswith("{"))
    return argv[0] in ("dlq", "replay", "tail") and not words


def measured_arguments(data: bytes) -> None:
    """What `arguments` is measured by: a long payload."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        dispatch(["emit", "A", data.replace(b"\0", b"").decode("utf-8", "surrogateescape").removeprefix("@")])


# --- settings --------------------------------------------------------------------------------------------

_KNOWN: Mapping[str, tuple[Callable[..., object], set[str]]] = {
    "redis": (partial(RedisBackend, "redis://localhost"), {*RedisOptions.__annotations__}),
    "memory": (InMemoryBackend, {"max_size", "history", "max_event_size"}),
    "retry": (RetryPolicy, {"max_attempts", "base_delay", "max_delay", "jitter"}),
    "spine": (
        partial(Spine, []),
        {"max_steps", "max_hops", "concurrency", "unrouted", "prefetch", "drain_timeout", "max_outage"},
    ),
}


def configuration(data: bytes) -> None:
    """Settings of every kind: a JSON object for each of what is configured, whatever stands in it."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return
    for name, (make, known) in _KNOWN.items():
        settings = given.get(name) if isinstance(given, dict) else None
        if isinstance(settings, dict):
            chosen = {key: value for key, value in settings.items() if key in known}
            read_or_none(partial(make, **chosen), ConfigurationError)


# --- URLs ------------------------------------------------------------------------------------------------

SECRET = "hunter2-in-a-url"  # noqa: S105 -- nobody's
"""Stands where a password does. Nobody may ever see it."""


def urls(data: bytes) -> None:
    """URLs of backends, and the same bytes after the beginning of a password."""
    text = data.decode("utf-8", "surrogateescape")
    _open(text)
    _open(f"redis://worker:{SECRET}{text}")
    _open(f"redis+sentinel://:{SECRET}{text}")


def _open(url: str) -> None:
    try:
        address, settings = read_url(url, {})
        backend = open_backend(url) if len(url) % 32 == 0 or url.startswith("memory") else RedisBackend(url)
        told = f"{address!r} {address} {settings!r} {backend!r}"
    except ConfigurationError as error:
        told = str(error)
        if not url.startswith("redis"):
            told += str(read_or_none(partial(open_backend, url), ConfigurationError))
    expect(told, "an error must say something")
    expect(len(told) < 20_000 + 30 * len(url), f"{len(told)} characters about a URL")
    expect(SECRET not in told, "a password shows")


def measured_urls(data: bytes) -> None:
    """What `urls` is measured by."""
    read_or_none(partial(read_url, data.decode("utf-8", "surrogateescape"), {}), ConfigurationError)

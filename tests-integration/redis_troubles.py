"""Whatever makes a server refuse a command in the middle of a script: each trouble is there for one call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import redis
from redis_server import Server
from redis_watched import Answer, Call, Watch, telling

from necrostack.errors import BackendError
from necrostack_redis.keys import Keys
from necrostack_redis.scripts import ALL

LAST_ID = "18446744073709551615-18446744073709551615"

WATCHER = {"username": "watcher", "password": "of the harness"}
"""A user to whom nothing is forbidden."""


@dataclass(frozen=True)
class Trouble:
    """Something that makes a server refuse.

    Attributes:
        kind: What is wrong: a command is `forbidden`, a key `foreign`, a stream `exhausted`, the server `full`.
        about: Which command, or which of the `Keys`.
    """

    kind: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.about} {self.kind}".strip()

    @contextmanager
    def there(self, client: Any, keys: Keys) -> Iterator[None]:
        """Let it be there for a while."""
        tell = client.execute_command
        match self.kind:
            case "forbidden":
                tell("ACL", "SETUSER", "default", f"-{self.about}")
                undo: Sequence[Sequence[Any]] = [("ACL", "SETUSER", "default", "+@all")]
            case "foreign":
                undo = self._put_aside(client, getattr(keys, self.about))
            case "exhausted":
                undo = self._exhaust(client, getattr(keys, self.about))
            case _:
                tell("CONFIG", "SET", "maxmemory", 1)
                undo = [("CONFIG", "SET", "maxmemory", 0)]
        try:
            yield
        finally:
            for command in undo:
                tell(*command)

    @staticmethod
    def _put_aside(client: Any, key: str) -> Sequence[Sequence[Any]]:
        """Put something else in the place of what a key holds."""
        was_there = bool(client.exists(key))
        if was_there:
            client.rename(key, f"{key}:aside")
        client.rpush(key, "foreign")
        return [("DEL", key), *([("RENAME", f"{key}:aside", key)] if was_there else [])]

    @staticmethod
    def _exhaust(client: Any, key: str) -> Sequence[Sequence[Any]]:
        """Give a stream the last id that there is, if it is there."""
        if not client.exists(key):
            return []
        last = client.xinfo_stream(key)["last-generated-id"]
        client.execute_command("XSETID", key, LAST_ID)
        return [("XSETID", key, last)]


_STREAMS = ("events", "bell", "inbox", "dead")
_KEYS = [its.name for its in fields(Keys) if not its.init and its.name != "nothing"]
_COMMANDS = {command for script in ALL for command in re.findall(r"redis\.p?call\('([A-Z]+)'", script.text)}

TROUBLES: Sequence[Trouble] = (
    Trouble("full"),
    *(Trouble("exhausted", name) for name in _STREAMS),
    *(Trouble("foreign", name) for name in _KEYS),
    *(Trouble("forbidden", command) for command in sorted(_COMMANDS)),
)


def admit_watcher(server: Server) -> None:
    """Let the harness in, whatever becomes of others."""
    with telling(server) as client:
        client.execute_command(
            "ACL", "SETUSER", WATCHER["username"], "on", f">{WATCHER['password']}", "~*", "&*", "+@all"
        )


@dataclass
class Refusing:
    """Makes each call while there is some trouble, and if that is refused, once more when it is over.

    Attributes:
        server: Where.
        app: Whose calls they are.
        trouble: What is wrong.
        refused: The scripts that were refused, each with whether a part of it was done.
    """

    server: Server
    app: str
    trouble: Trouble
    refused: list[tuple[str, bool]] = field(default_factory=list)

    async def __call__(self, call: Call[Answer], *_: str) -> Answer:
        """See `Swept`."""
        watch = Watch(self.server, self.app, WATCHER)
        with telling(self.server, **WATCHER) as client:
            try:
                with self.trouble.there(client, Keys(self.app, "default")), watch.on():
                    return await call()
            except (BackendError, redis.ResponseError):
                self.refused += watch.refused
        return await call()

"""What is kept on a server, before and after a script: to see whether it did a part of what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from unittest.mock import patch

import redis
from redis_server import Server

from necrostack.errors import BackendError
from necrostack_redis.link import Link
from necrostack_redis.scripts import Script

Answer = TypeVar("Answer")
Call = Callable[[], Awaitable[Answer]]


class Swept(Protocol):
    """Makes a call, and lets something happen in it: each time something else."""

    async def __call__(self, call: Call[Answer], *names: str) -> Answer:
        """Make a call.

        Args:
            call: What to do. It may be done several times.
            names: The scripts in which something may happen; none for all.
        """
        ...


@contextmanager
def telling(server: Server, **user: str) -> Iterator[Any]:
    """Open a connection of the harness."""
    # Records in schedules are no text; so each byte becomes a letter.
    with redis.Redis(port=server.port, decode_responses=True, encoding="latin-1", **user) as client:  # type: ignore[arg-type]
        yield client


def kept(client: Any, app: str) -> dict[str, Any]:
    """Read all that is kept for an app, but for what a server makes anew when it starts: times and empty consumers."""
    found = sorted(client.scan_iter(f"necrostack:{{{app}}}:*", count=1000))
    return {key: _value(client, key) for key in found}


def _value(client: Any, key: str) -> Any:
    match client.type(key):
        case "stream":
            groups = {group["name"]: group["last-delivered-id"] for group in client.xinfo_groups(key)}
            held = {group: client.xpending_range(key, group, "-", "+", 10_000) for group in groups}
            pending = {
                group: [(one["message_id"], one["consumer"], one["times_delivered"]) for one in found]
                for group, found in held.items()
            }
            return client.xrange(key), groups, pending
        case "zset":
            return client.zrange(key, 0, -1, withscores=True)
        case "hash":
            return client.hgetall(key)
        case "list":
            return client.lrange(key, 0, -1)
        case _:
            return client.get(key)


@dataclass
class Watch:
    """Looks at what is kept for an app before each script is sent, and after one was refused.

    Attributes:
        server: Where.
        app: Whose.
        user: As whom to look.
        script: The name of the script that was sent last.
        before: What was kept before it.
        refused: The scripts that were refused, and whether a part of each was done.
    """

    server: Server
    app: str
    user: dict[str, str] = field(default_factory=dict)
    script: str = ""
    before: dict[str, Any] = field(default_factory=dict)
    refused: list[tuple[str, bool]] = field(default_factory=list)

    def look(self) -> dict[str, Any]:
        """Read what is kept."""
        with telling(self.server, **self.user) as client:
            return kept(client, self.app)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch what is sent, by whomever."""
        run = Link.run

        async def watched(link: Link, script: Script, *args: Any) -> Any:
            self.script, self.before = script.name, self.look()
            try:
                return await run(link, script, *args)
            except BackendError:
                self.refused.append((script.name, self.look() != self.before))
                raise

        self.script, self.before = "", self.look()
        self.refused.clear()
        with patch.object(Link, "run", watched):
            yield

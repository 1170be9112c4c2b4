"""What a service manager hears of a run: that it pulls, that it drains, and again and again that it lives.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Self

_PATIENCE = 0.2
"""Seconds that they get to listen, where many words wait to be heard already."""


class Service:
    """A process that a service manager started, and that wants to hear of it."""

    def __init__(self, address: str, watchdog: float | None) -> None:
        """Know whom to tell.

        Args:
            address: Their socket: a path, or an abstract name that begins with `@`.
            watchdog: Seconds without a sign of life after which they take it for hung; None if they do not.
        """
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = watchdog

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Self | None:
        """Take from the environment who wants to hear; None when nobody does."""
        # Taken out: what this process starts is not the service.
        found = {name: environment.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}
        if not found["NOTIFY_SOCKET"] or not hasattr(socket, "AF_UNIX"):
            return None
        is_meant = found["WATCHDOG_PID"] in ("", str(os.getpid())) and found["WATCHDOG_USEC"].isdecimal()
        return cls(found["NOTIFY_SOCKET"], int(found["WATCHDOG_USEC"]) / 1e6 if is_meant else None)

    def tell(self, word: str) -> None:
        """Tell them something. When they cannot be told, the run goes on."""
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(_PATIENCE)
            line.sendto(word.encode(), self._address)

    @contextmanager
    def told(self, ready: Callable[[], Awaitable[object]], is_well: Callable[[], bool]) -> Iterator[None]:
        """Tell them when it is ready, and from then on, as long as this is entered, that it lives.

        Args:
            ready: Returns when it is.
            is_well: Whether it lives. The event loop turns when this is called.
        """
        telling = asyncio.create_task(self._tell(ready, is_well))
        try:
            yield
        finally:
            telling.cancel()

    async def _tell(self, ready: Callable[[], Awaitable[object]], is_well: Callable[[], bool]) -> None:
        await ready()
        self.tell("READY=1")
        while self._watchdog is not None:
            if is_well():
                self.tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / 3)

    def draining(self) -> None:
        """Tell them that the end has begun."""
        self.tell("STOPPING=1")

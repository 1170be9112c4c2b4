"""The lease of a worker: as long as it is renewed, nobody takes over what the worker holds."""

from __future__ import annotations

import asyncio
import math
import threading
import time

from redis import exceptions

from necrostack.log import logger
from necrostack_redis.config import RedisSettings
from necrostack_redis.connector import BlockingClient, Connector
from necrostack_redis.keys import RELEASED, Keys
from necrostack_redis.link import hide_arguments
from necrostack_redis.scripts import LEASE


class Lease:
    """Renews a worker's lease from a thread and on a connection of its own, also while a handler blocks the event loop.

    The event loop must be seen alive every `max_stall` seconds, or else the lease ends: what holds the worker up
    may never let go. Each event loop has its own thread, which ends with `stop`, and by itself soon after its loop was
    closed or another one took its place.
    """

    def __init__(self, connector: Connector, keys: Keys, settings: RedisSettings, consumer: str) -> None:
        self._connector = connector
        self._keys = (keys.events, keys.inbox, keys.leases)
        self._args = (keys.group, consumer, int(settings.lease * 1000), RELEASED)
        self._length = settings.lease
        self._interval = settings.lease / 3
        self._max_stall = settings.max_stall
        self._consumer = consumer
        self._stopped = threading.Event()
        self._seen = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        # When it was renewed last, and since when it has not lapsed: by our clock, a little before the server's.
        self._renewed = -math.inf
        self._unbroken = math.inf

    def start(self) -> None:
        """Renew the lease from now on, for as long as the running event loop turns. May be called again."""
        loop = asyncio.get_running_loop()
        if self._loop is loop or self._stopped.is_set():
            return
        self._loop = loop
        self._tick(loop)
        self._note_renewal(time.monotonic())  # the call for which it is started renews it
        # A daemon: a program that ends without closing its backend must not wait for it.
        name = f"lease-{self._consumer}"
        self._thread = threading.Thread(target=self._renew_until_stopped, args=(loop,), name=name, daemon=True)
        self._thread.start()

    def covers(self, since: float) -> bool:
        """Say whether nobody can have taken over what we held then: the lease has not lapsed since.

        Args:
            since: A moment before a call that renewed it, by the monotonic clock.
        """
        now = time.monotonic()
        return now - since < self._length or (self._unbroken <= since and now - self._renewed < self._length)

    def note_lapse(self, seconds: float | None = None) -> None:
        """The lease had ended before it was renewed.

        Args:
            seconds: How long before; None if others have taken over all that the worker held.
        """
        logger.warning("lease_lapsed", extra={"consumer": self._consumer, "seconds": seconds})
        self._unbroken = time.monotonic()

    @property
    def was_started(self) -> bool:
        """Whether it was ever renewed: whether the consumer was a worker, and did not only look or enqueue."""
        return self._thread is not None

    def stop(self) -> None:
        """Renew it no more. The thread ends when its call is answered, or given up."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    async def ended(self) -> None:
        """Wait until the thread has ended, after `stop`."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """The event loop turns."""
        self._seen = time.monotonic()
        if self._loop is loop and not self._stopped.is_set():
            self._timer = loop.call_later(min(self._interval, self._max_stall / 3), self._tick, loop)

    # --- in the thread -----------------------------------------------------------------------------------

    def _renew_until_stopped(self, loop: asyncio.AbstractEventLoop) -> None:
        client = self._connector.blocking_client()
        wait, is_stalled = self._interval, False
        try:
            while not self._stopped.wait(wait):
                wait = self._interval
                if self._loop is not loop or loop.is_closed():
                    break
                stall = time.monotonic() - self._seen
                if stall > self._max_stall:
                    if not is_stalled:
                        logger.error("lease_given_up", extra={"consumer": self._consumer, "stall": round(stall, 1)})
                    is_stalled = True
                    continue
                is_stalled = False
                try:
                    self._renew(client)
                except Exception as error:  # noqa: BLE001 -- credentials may come from anybody's code
                    # Whoever runs the worker logs the outage; here it only matters to be back in time.
                    hide_arguments(error)
                    logger.debug("lease_not_renewed", extra={"consumer": self._consumer, "error": str(error)})
                    wait = self._interval / 4
                    client.close()  # its connection: the next one may lead to another server
        finally:
            client.close()

    def _renew(self, client: BlockingClient) -> None:
        sent = time.monotonic()
        try:
            late = client.execute_command("EVALSHA", LEASE.sha, len(self._keys), *self._keys, *self._args)
        except exceptions.NoScriptError:
            late = client.execute_command("EVAL", LEASE.text, len(self._keys), *self._keys, *self._args)
        if late:
            self.note_lapse(late / 1000 if late > 0 else None)
        self._note_renewal(sent)

    def _note_renewal(self, sent: float) -> None:
        if sent - self._renewed > self._length:
            self._unbroken = time.monotonic()
        self._renewed = sent

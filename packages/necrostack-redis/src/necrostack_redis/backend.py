"""The Redis Streams backend: durable events, shared by the workers of each group."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Unpack

from redis.credentials import CredentialProvider

from necrostack.backend import Backend
from necrostack.delivery import Delivery, Settlement
from necrostack.errors import BackendClosed, BackendError, BackendFull, ConfigurationError, check_count, check_seconds
from necrostack.event import Event, admit
from necrostack.fleet import Announcement
from necrostack.log import logger
from necrostack_redis.admin import RedisAdmin
from necrostack_redis.config import RedisOptions, RedisSettings, make_settings, read_url
from necrostack_redis.connector import Connector
from necrostack_redis.gathering import Gatherer
from necrostack_redis.keys import RELEASED, Keys, name_of
from necrostack_redis.lease import Lease
from necrostack_redis.link import Link
from necrostack_redis.reader import Reader, Receipt, receipts_of
from necrostack_redis.scripts import ENQUEUE, JOIN, LEAVE
from necrostack_redis.settling import Settler
from necrostack_redis.template import Template, read_client
from necrostack_redis.trimming import Trimmer
from necrostack_redis.wire import as_records, call_digest, check_fits, counted, event_record, until
from necrostack_redis.word import Word

_LEAVE_AT_ONCE = 1000
"""How many entries a worker hands back in one script call when it leaves."""

_PROBE_STAYS = 10_000
"""Milliseconds for which what a probe wrote stays."""


@dataclass(frozen=True, slots=True)
class _Session:
    """What is bound to one event loop of one process."""

    loop: asyncio.AbstractEventLoop
    link: Link
    gatherer: Gatherer
    reader: Reader
    settler: Settler
    trimmer: Trimmer


class RedisBackend(Backend):
    """Keeps events in Redis Streams: durable, for many workers in many processes.

    Each group gets every event, and the workers of a group share them. Connections are opened when they are needed.

    >>> backend = RedisBackend("redis://localhost:6379/0", app="shop", lease=30.0)
    >>> backend.settings.group
    'default'

    Attributes:
        settings: How it is set up.
    """

    is_shared = True

    is_remote = True

    def __init__(
        self,
        url: str = "",
        *,
        client: Template | None = None,
        credentials: CredentialProvider | None = None,
        **options: Unpack[RedisOptions],
    ) -> None:
        """Make one. Nothing is connected yet.

        Args:
            url: Where the server is, and settings in its query: `redis://user:password@host:port/db?lease=30`,
                `rediss://…` for TLS, `redis+unix:///path/to/socket`, `redis+sentinel://host:port,host:port/service`,
                `redis+cluster://host:port,host:port`.
            client: A client that says it instead. Connections of our own are made as it would make them: to the same
                server, with the same credentials and TLS. The rest of it, such as timeouts and retries, is not used.
            credentials: Asked for user name and password by each connection, instead of the URL.
            **options: Settings: see `RedisSettings`.

        Raises:
            ConfigurationError: A setting is unknown, out of its range, or given in two places with different values.
        """
        self._connector, self.settings = _set_up(url, client, credentials, options)
        self.max_event_size = self.settings.max_event_size
        self.batch_size = self.settings.batch_size
        self._keys = Keys(self.settings.app, self.settings.group)
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._has_joined = False
        self._admin = RedisAdmin(lambda: self._open().link, self._keys, self.settings)
        self._session: _Session | None = None
        self._inherited: list[_Session | None] = []
        self._become_a_worker()

    def __repr__(self) -> str:
        return f"<RedisBackend {self._connector.address} app={self.settings.app} group={self.settings.group}>"

    @property
    def admin(self) -> RedisAdmin:
        """See `Backend.admin`."""
        return self._admin

    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        """See `Backend.enqueue`."""
        gatherer = self._open().gatherer
        check_seconds("delay", delay)
        if not events:
            return
        admitted = [admit(event, self.max_event_size) for event in events]
        keys, settings = self._keys, self.settings
        mark = keys.call(call_digest(admitted, delay))
        args: list[Any] = [
            keys.group,
            int(settings.repeat_window * 1000),
            until(delay),
            settings.max_size or "",
            settings.start,
            RELEASED,
            len(admitted),
        ]
        for event, payload in admitted:
            args += counted(event_record(event, payload))
        check_fits(args, "enqueue was given %s events at once", len(events))
        names = (
            *(keys.events, keys.schedule, keys.bell, keys.sequence, mark, keys.inbox, keys.retries),
            *(keys.groups, keys.nothing),
        )
        full = await gatherer.run(names, args)
        if full:
            room, bound = full
            msg = f"max_size is {bound} and there is room for {room}, not for {len(events)}; none was kept"
            raise BackendFull(msg)

    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        """See `Backend.pull`."""
        return await self._pull(limit, timeout, sealed=False)

    async def pull_sealed(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        """See `Backend.pull_sealed`."""
        return await self._pull(limit, timeout, sealed=True)

    async def _pull(self, limit: int, timeout: float, *, sealed: bool) -> Sequence[Delivery]:
        session = self._open()
        check_count("limit", limit, least=1)
        self._lease.start()
        if not self._has_joined:
            await self._join()
        deadline = time.monotonic() + timeout
        while True:
            await session.trimmer.trim_if_due()
            # Who only looks gets what is there now; who waits is told of what comes.
            if timeout <= 0 or not session.reader.is_quiet():
                taken = await session.reader.take(limit, sealed=sealed)
                self._check_open()  # what was taken is handed back as the backend closes
                if taken:
                    session.trimmer.has_work = True
                    return taken
            if (left := deadline - time.monotonic()) <= 0:
                return []
            if not sealed:
                await session.reader.wait(left)
            elif taken := await session.reader.take_when_there(limit, left):
                session.trimmer.has_work = True
                return taken
            self._check_open()

    def admit(self, events: Sequence[Event], beside: Sequence[Event] = ()) -> Sequence[Event]:
        """See `Backend.admit`. They are written at once: bytes are what is kept, and take the least until then."""
        return as_records(events, beside, self.max_event_size)

    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        """See `Backend.settle`.

        After an error the same settlements, made again before any others, get the answers that they would have got.
        """
        session = self._open()
        accepted = await session.settler.settle(settlements)
        for ended in settlements:
            receipt = ended.delivery.receipt
            if ended.retries or (isinstance(receipt, Receipt) and receipt.is_alone):
                session.reader.wake()
                break
        return accepted

    async def release(self, *deliveries: Delivery) -> None:
        """See `Backend.release`."""
        reader = self._open().reader
        await reader.release([receipt for receipt in receipts_of(deliveries) if receipt in self._held])

    def may_start(self, delivery: Delivery) -> bool:
        """See `Backend.may_start`."""
        receipt = delivery.receipt
        return isinstance(receipt, Receipt) and self._lease.covers(receipt.covered_at)

    async def aclose(self) -> None:
        """See `Backend.aclose`. What is pending here is handed back; what is queued stays."""
        self._closed = True
        if self._closing is None or self._closing.get_loop() is not asyncio.get_running_loop():
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def join(self, topology: str) -> Collection[str]:
        """See `Backend.join`."""
        self._open()
        self._lease.start()
        others = await self._join(topology)
        return {other for other in others if other != topology}

    async def leave(self, topology: str) -> None:
        """See `Backend.leave`."""
        session = self._open()
        with suppress(BackendError):
            await session.reader.hand_back()
            await self._word.take_back(session.link)

    async def announce(self, announcement: Announcement) -> None:
        """See `Backend.announce`. It is kept beside the worker's lease, and goes with it."""
        session = self._open()
        self._lease.start()
        if not self._has_joined:
            await self._join()
        if not self.is_announced():
            self._word.forget()
        await self._word.tell(session.link, announcement)

    def is_announced(self) -> bool:
        """See `Backend.is_announced`."""
        return self._lease.covers(self._word.told_at)

    async def probe(self) -> None:
        """See `Backend.probe`. What it writes goes by itself, soon."""
        link, written = self._open().link, uuid.uuid4().hex
        key = self._keys.probe(written)  # of this call alone: others may probe at the same time
        await link.call("SET", key, written, "PX", _PROBE_STAYS)
        found = await link.call("GET", key)
        if found != written.encode():
            msg = f"{self._connector.address} did not keep what was written to {key}: it holds {found!r:.80}"
            raise BackendError(msg)

    # --- a worker ----------------------------------------------------------------------------------------

    def _become_a_worker(self) -> None:
        """Take a name that nobody had before, and hold nothing."""
        host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
        self._pid = os.getpid()
        self._consumer = f"{host}-{self._pid}-{uuid.uuid4().hex[:8]}"
        self._word = Word(self._keys, self._consumer, self.settings.lease)
        self._held: set[Receipt] = set()
        self._unanswered: set[Receipt] = set()
        self._lease = Lease(self._connector, self._keys, self.settings, self._consumer)

    def _open(self) -> _Session:
        """Return what belongs to the running event loop of this process."""
        self._check_open()
        if self._pid != os.getpid():
            # Forked: the parent goes on under its name, and on its connections. They are kept, because were they closed
            # in here, be it by the garbage collector, its event loop would never hear of them again.
            self._inherited.append(self._session)
            self._session = None
            self._become_a_worker()
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.loop is not loop:
            if self._session is not None:
                self._session.reader.abandon()
            link = Link(self._connector)
            keys, settings, me, held = self._keys, self.settings, self._consumer, self._held
            settler = Settler(link, keys, settings, me, held, self._unanswered, self._join)
            reader = Reader(link, keys, settings, me, held, self._join, settler.bury, self._lease.note_lapse)
            trimmer = Trimmer(link, keys, settings)
            self._session = _Session(loop, link, Gatherer(link, ENQUEUE), reader, settler, trimmer)
        return self._session

    def _check_open(self) -> None:
        if self._closed:
            msg = "this RedisBackend was closed; make a new one"
            raise BackendClosed(msg)

    async def _join(self, topology: str = "") -> Sequence[str]:
        """Make the group where it does not exist, and this worker known in it; return what the others run."""
        keys, settings = self._keys, self.settings
        # A group that was there and is gone was lost with its data: then nothing of what is new may be passed over.
        # An ephemeral one may as well have been removed.
        is_lost = self._has_joined and settings.ephemeral_after is None
        start = "$" if settings.start == "latest" and not is_lost else "0"
        ephemeral = "" if settings.ephemeral_after is None else int(settings.ephemeral_after * 1000)
        args = (keys.group, self._consumer, int(settings.lease * 1000), start, topology, ephemeral)
        names = (keys.events, keys.inbox, keys.leases, keys.topologies, keys.groups)
        made, others = await self._open().link.run(JOIN, names, args)
        if made and self._has_joined:
            self._word.forget()
            logger.error("group_recreated", extra={"group": keys.group, "app": keys.app})
        self._has_joined = True
        return [name_of(other) for other in others]

    async def _close(self) -> None:
        if self._pid != os.getpid():
            return  # forked, and never used here: all there is is the parent's
        self._lease.stop()
        session, self._session = self._session, None
        if session is None:
            return
        is_other_loop = session.loop is not asyncio.get_running_loop()
        link = Link(self._connector) if is_other_loop else session.link
        try:
            if not is_other_loop:
                await session.reader.aclose()
            await self._lease.ended()
            if self._lease.was_started:
                await self._leave(link)
        except BackendError as error:
            # Others take over what it holds when its lease has ended.
            if self._held:
                logger.warning("not_released", extra={"consumer": self._consumer, "error": str(error)})
        finally:
            await link.aclose()

    async def _leave(self, link: Link) -> None:
        keys = self._keys
        names = (keys.events, keys.inbox, keys.bell, keys.leases, keys.topologies, keys.groups)
        while not await link.run(LEAVE, names, (keys.group, self._consumer, RELEASED, _LEAVE_AT_ONCE)):
            pass


def _set_up(
    url: str, client: Template | None, credentials: CredentialProvider | None, options: Mapping[str, Any]
) -> tuple[Connector, RedisSettings]:
    if bool(url) == (client is not None):
        msg = "a RedisBackend needs a URL or a client, and not both"
        raise ConfigurationError(msg)
    if client is None:
        address, settings = read_url(url, options)
        extra: Mapping[str, Any] = {}
    else:
        address, extra = read_client(client)
        settings = make_settings(address, options)
    if credentials is not None:
        if address.username or address.password or "credential_provider" in extra:
            msg = "there are credentials besides those of the keyword; give them once"
            raise ConfigurationError(msg)
        extra = {**extra, "credential_provider": credentials}
    return Connector(address, settings, extra), settings

"""Calls to the server, and what their errors mean."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis import exceptions

from necrostack.errors import BackendError, BackendFull, BackendUnavailable
from necrostack_redis.address import Address
from necrostack_redis.connector import Connector
from necrostack_redis.scripts import Script

WAIT = 1.0
"""Seconds that one blocking read waits at the most: well under the time after which a silent server is given up."""

# The first words of replies that say: not now. https://redis.io/docs/latest/develop/reference/protocol-spec/
_TRANSIENT = frozenset(
    (
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "BUSY",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "UNBLOCKED",
        "NOMASTERLINK",
        "MOVED",
        "ASK",
    )
)

# What Redis 6.2 writes before an error that a command in a script had.
_IN_SCRIPT = re.compile(r"^Error running script \(.*?\): @user_script: ?\d+: ")

# What a user may not do is told without its first word where a script did it.
_REFUSED_IN_SCRIPT = re.compile("ACL failure in script|The user executing the script can't")

# What OpenSSL calls it when either side refuses the other.
_TLS_REFUSAL = re.compile("CERTIFICATE|ALERT|WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE")

# What redis-py makes of a reply, where it does not leave the first word in its text.
_TRANSIENT_ERRORS = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.AskError,  # or MOVED
    OSError,
)
_REFUSALS = (
    exceptions.AuthenticationError,
    exceptions.AuthenticationWrongNumberOfArgsError,
    exceptions.NoPermissionError,
)
_ERRORS = (exceptions.RedisError, OSError)


class NoGroup(Exception):
    """The group does not exist: not yet, or not any more."""


class Link:
    """Talks to one server for one worker, from one event loop: a pool for calls, and a connection to wait on."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._address = connector.address
        self._calls = connector.client()
        # A read that waits would hold up calls, and may rightly be silent for longer than they may.
        self._waits = connector.client(silence=WAIT)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script. It is sent again only where the server says that it did not run.

        Raises:
            NoGroup: The group does not exist.
            BackendError: See `meaning`.
        """
        try:
            try:
                return await self._execute("EVALSHA", script.sha, len(keys), *keys, *args)
            except exceptions.NoScriptError:
                return await self._execute("EVAL", script.text, len(keys), *keys, *args)
        except _ERRORS as error:
            raise await self._told(error) from error

    async def call(self, *command: Any) -> Any:
        """Send one command.

        Raises:
            BackendError: See `meaning`.
        """
        try:
            return await self._execute(*command)
        except _ERRORS as error:
            raise await self._told(error) from error

    async def send(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send several commands, one after the other, without waiting in between.

        Raises:
            BackendError: See `meaning`. Some of them may have been done.
        """
        try:
            async with self._calls.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                replies: list[Any] = await pipeline.execute()
                return replies
        except _ERRORS as error:
            raise await self._told(error) from error

    async def wait(self, streams: Sequence[str], ids: Sequence[bytes], seconds: float) -> None:
        """Wait until one of the streams holds something after its id, or the time is up. This takes nothing.

        Raises:
            BackendError: See `meaning`.
        """
        milliseconds = max(int(min(seconds, WAIT) * 1000), 1)
        try:
            await self._waits.execute_command("XREAD", "COUNT", 1, "BLOCK", milliseconds, "STREAMS", *streams, *ids)
        except _ERRORS as error:
            raise await self._told(error) from error

    async def aclose(self) -> None:
        """Close every connection."""
        for client in (self._calls, self._waits):
            with suppress(*_ERRORS):
                await client.aclose()

    async def _execute(self, *command: Any) -> Any:
        try:
            return await self._calls.execute_command(*command)
        except exceptions.ResponseError as error:
            if not _has_moved(error):
                raise
        # Nothing was done. Another node of the cluster has our slot now.
        await self._disconnect()
        return await self._calls.execute_command(*command)

    async def _told(self, error: Exception) -> Exception:
        told = meaning(error, self._address)
        if isinstance(told, BackendUnavailable):
            # The others may lead to the same server, that is no master any more.
            await self._disconnect()
            if isinstance(error, exceptions.TimeoutError) and await self._connector.is_without_tls():
                return BackendError(f"{self._address} speaks no TLS; write redis:// to do without")
        return told

    async def _disconnect(self) -> None:
        """Close what is not in use. New connections lead to where the server is then."""
        for client in (self._calls, self._waits):
            await client.connection_pool.disconnect(inuse_connections=False)


def meaning(error: Exception, address: Address) -> Exception:
    """Translate an error of the connection or the server into one of ours.

    Returns:
        NoGroup; BackendFull when the server's memory is full; BackendUnavailable when it may be better later;
        another BackendError when only a person can help.
    """
    if isinstance(error.__cause__, exceptions.RedisError):
        error = error.__cause__  # of finding the server, which redis-py takes for the network's
    text = _IN_SCRIPT.sub("", str(error))
    first = text.split(" ", 1)[0]
    if isinstance(error, _REFUSALS) or first in ("NOAUTH", "WRONGPASS", "NOPERM") or _REFUSED_IN_SCRIPT.search(text):
        who = f"the user {address.username!r}" if address.username else "the default user"
        return BackendError(f"{address} refuses {who}: {text}; check the user name, the password and the ACL")
    if (refused := _tls_refusal(error)) is not None:
        return BackendError(f"{address} and we cannot agree on TLS: {refused}; check the certificates and the name")
    if _has_moved(error) and address.topology != "cluster":
        return BackendError(f"{address} is a node of a cluster; write redis+cluster://")
    if first == "NOGROUP":
        return NoGroup(text)
    if isinstance(error, exceptions.OutOfMemoryError) or first == "OOM":
        return BackendFull(f"the memory of {address} is full, and nothing new was kept: {text}")
    if isinstance(error, _TRANSIENT_ERRORS) or first in _TRANSIENT:
        return BackendUnavailable(f"{address} is out of reach: {type(error).__name__}: {text}")
    return BackendError(f"{address} answered: {text}")


def _has_moved(error: Exception) -> bool:
    # redis-py 5 reads it only in its own client for a cluster.
    return isinstance(error, exceptions.MovedError) or str(error).startswith("MOVED ")


def _tls_refusal(error: BaseException) -> ssl.SSLError | None:
    """Find what one side did not like about the other's TLS. A connection that was cut is none of it."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLError) and _TLS_REFUSAL.search(found.reason or ""):
            return found
        found = found.__cause__ or found.__context__
    return None

"""Calls to the server, and what their errors mean."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis import exceptions

from necrostack.errors import BackendError, BackendFull, BackendUnavailable
from necrostack.log import logger
from necrostack_redis.address import Address
from necrostack_redis.connector import Connector
from necrostack_redis.scripts import Script

WAIT = 10.0
"""Seconds that one blocking read waits at the most. A server that is gone without a word is noticed so much later."""

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

# What later ones write behind it. The line is one of the script's text.
_WHERE = re.compile(r" script: (?:\w*, )?on @?user_script:(\d+)\.$|@?user_script:\s*(\d+):\s*")

# A refusal inside a script has another text on each server, and sometimes no first word.
_FORBIDDEN = re.compile(r"^NOPERM|script can't (run|access)|ACL failure in script|no permissions to")
_SHUT_OUT = re.compile(r"^(NOAUTH|WRONGPASS)|^Protocol error: unauthenticated")

# Of a command that is not known: to a server without it, or behind a proxy.
_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.DOTALL)

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
_REFUSALS = (exceptions.AuthenticationError, exceptions.AuthenticationWrongNumberOfArgsError)

# What a person can do, by the first word of a reply.
_ADVICE = {
    "WRONGTYPE": "; somebody else uses a key of this app: give the app another name, or delete the key",
    "WRONGVALUE": "; somebody else uses this key: give the app another name, or delete the key",
    "EXHAUSTED": "; let the groups drain, and delete it",
    "DB": "; name a database that there is, such as 0",
    "Protocol": "; is this a Redis?",
}

_ERRORS = (exceptions.RedisError, OSError)


class NoGroup(BackendUnavailable):
    """The group does not exist: not yet, or not any more. Whoever pulls makes it."""


class Link:
    """Talks to one server for one worker, from one event loop: a pool for calls, and a connection to wait on."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._address = connector.address
        self._calls = connector.client()
        # A read that waits would hold up calls, and may rightly be silent for longer than they may.
        self._waits = connector.client(silence=WAIT)
        # Whether it is a Redis that we reach, and we speak as it does.
        self._has_answered = False
        if connector.trusts_anybody:
            logger.warning("tls_not_verified", extra={"server": str(connector.address)})

    @property
    def trusts_anybody(self) -> bool:
        """See `Connector.trusts_anybody`."""
        return self._connector.trusts_anybody

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
            raise await self._told(error, script) from error

    async def run_all(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run a script several times, one after the other, without waiting in between.

        Returns:
            For each call its answer, or the error that it had: a BackendError, see `meaning`.

        Raises:
            BackendError: The connection was lost; each of them may have been done.
        """
        try:
            async with self._calls.pipeline(transaction=False) as pipeline:
                for keys, args in calls:
                    pipeline.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
                answers: list[Any] = await pipeline.execute(raise_on_error=False)
                self._has_answered = True
        except _ERRORS as error:
            raise await self._told(error, script) from error
        for number, (answer, (keys, args)) in enumerate(zip(answers, calls, strict=True)):
            if isinstance(answer, Exception):
                answers[number] = await self._again(answer, script, keys, args)
        return answers

    async def _again(self, error: Exception, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script alone that was refused among others, if it did not run; else return what was wrong."""
        if not (isinstance(error, exceptions.NoScriptError) or _has_moved(error)):
            return await self._told(error, script)
        try:
            return await self.run(script, keys, args)
        except BackendError as told:
            return told

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

    async def wait(self, streams: Sequence[str], ids: Sequence[bytes], seconds: float) -> Sequence[str]:
        """Wait until one of the streams holds something after its id, or the time is up. This takes nothing.

        Returns:
            The streams that do.

        Raises:
            BackendError: See `meaning`.
        """
        milliseconds = max(int(min(seconds, WAIT) * 1000), 1)
        try:
            news = await self._waits.execute_command(
                "XREAD", "COUNT", 1, "BLOCK", milliseconds, "STREAMS", *streams, *ids
            )
        except _ERRORS as error:
            raise await self._told(error) from error
        return [name.decode() for name, _ in news or ()]

    async def wait_and_call(
        self, streams: Sequence[str], ids: Sequence[bytes], seconds: float, *command: Any
    ) -> tuple[Sequence[str], Any]:
        """Wait as `wait` does, and let the server go on with a command the moment that ends.

        Returns:
            The streams that hold something, and what the command answered.

        Raises:
            NoGroup: The command needs a group that does not exist.
            BackendError: See `meaning`. The command may have been done.
        """
        milliseconds = max(int(min(seconds, WAIT) * 1000), 1)
        try:
            async with self._waits.pipeline(transaction=False) as pipeline:
                pipeline.execute_command("XREAD", "COUNT", 1, "BLOCK", milliseconds, "STREAMS", *streams, *ids)
                pipeline.execute_command(*command)
                answers = await pipeline.execute(raise_on_error=False)
                for answer in answers:
                    if isinstance(answer, Exception):
                        raise answer
        except _ERRORS as error:
            raise await self._told(error) from error
        news, answer = answers
        return [name.decode() for name, _ in news or ()], answer

    async def aclose(self) -> None:
        """Close every connection."""
        for client in (self._calls, self._waits):
            with suppress(*_ERRORS):
                await client.aclose()

    async def _execute(self, *command: Any) -> Any:
        try:
            answer = await self._calls.execute_command(*command)
            self._has_answered = True
            return answer
        except exceptions.ResponseError as error:
            if not _has_moved(error):
                raise
        # Nothing was done. Another node of the cluster has our slot now.
        await self._disconnect()
        return await self._calls.execute_command(*command)

    async def _told(self, error: Exception, script: Script | None = None) -> Exception:
        told = meaning(error, self._address, script)
        if isinstance(told, BackendUnavailable) and not isinstance(told, NoGroup):
            # The others may lead to the same server, that is no master any more.
            await self._disconnect()
            if isinstance(error, exceptions.TimeoutError) and await self._connector.is_without_tls():
                return BackendError(f"{self._address} speaks no TLS; write redis:// to do without")
        # Something that was never there before hangs up, or answers what no Redis does. What a Redis answers, such as
        # that the password is wrong, is of a class of its own.
        is_strange = type(error) in (exceptions.ConnectionError, exceptions.InvalidResponse)
        if is_strange and not self._has_answered and await self._connector.is_with_tls():
            return BackendError(f"{self._address} speaks TLS; write rediss://")
        return told

    async def _disconnect(self) -> None:
        """Close what is not in use. New connections lead to where the server is then."""
        for client in (self._calls, self._waits):
            with suppress(*_ERRORS):
                await client.connection_pool.disconnect(inuse_connections=False)


def meaning(error: Exception, address: Address, script: Script | None = None) -> Exception:
    """Translate an error of the connection or the server into one of ours.

    Args:
        error: What redis-py raised.
        address: The server's.
        script: The script that was run, if one was.

    Returns:
        NoGroup; BackendFull when the server's memory is full; BackendUnavailable when it may be better later;
        another BackendError when only a person can help.
    """
    hide_arguments(error)
    if isinstance(error.__cause__, exceptions.RedisError):
        error = error.__cause__  # of finding the server, which redis-py takes for the network's
    text = _IN_SCRIPT.sub("", str(error))
    place = _WHERE.search(text)
    text = _WHERE.sub("", text).strip().removeprefix("-")
    first = text.split(" ", 1)[0]
    who = f"the user {address.username!r}" if address.username else "the default user"
    if isinstance(error, exceptions.NoPermissionError) or _FORBIDDEN.search(text):
        done = _done_at(script, place)
        return BackendError(f"{address} refuses {who} {done}: {text}; the ACL must allow what the reference lists")
    if isinstance(error, _REFUSALS) or _SHUT_OUT.search(text):
        return BackendError(f"{address} refuses {who}: {text.rstrip('.')}; check the user name and the password")
    if (refused := _tls_refusal(error)) is not None:
        return BackendError(f"{address} and we cannot agree on TLS: {refused}; check the certificates and the name")
    if _has_moved(error) and address.topology != "cluster":
        return BackendError(f"{address} is a node of a cluster; write redis+cluster://")
    if first == "NOGROUP":
        return NoGroup(text)
    if isinstance(error, exceptions.OutOfMemoryError) or first == "OOM":
        return BackendFull(f"the memory of {address} is full, and nothing new was kept: {text}")
    if isinstance(error, _TRANSIENT_ERRORS) or first in _TRANSIENT or "Script killed by user" in text:
        return BackendUnavailable(f"{address} is out of reach: {type(error).__name__}: {text}")
    return BackendError(f"{address} answered: {text}{_ADVICE.get(first, '')}")


def hide_arguments(error: BaseException | None) -> None:
    """Take out of errors what a server quotes of a command that it does not know: a password, or what an event holds.

    They stay the causes of ours, and are shown with them.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if error.args and isinstance(error.args[0], str):
            error.args = (_ARGUMENTS.sub("", error.args[0]), *error.args[1:])
        error = error.__cause__ or error.__context__


def _done_at(script: Script | None, place: re.Match[str] | None) -> str:
    """Say what it was that is forbidden, as well as it is known."""
    if script is None:
        return "a command"
    line = script.text.splitlines()[int(place[1] or place[2]) - 1] if place else ""
    commands = re.findall(r"redis\.p?call\('(\w+)'", line)
    return f"{' or '.join(commands) or 'a command'} in {script.name}.lua"


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

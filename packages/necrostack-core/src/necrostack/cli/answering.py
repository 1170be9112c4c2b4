"""Answers over HTTP from a thread of its own, so that it answers also while the event loop of the run is held."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self
from urllib.parse import urlsplit

from necrostack.log import logger

CONVERSATION = 5.0
"""Seconds in which a client must have asked and got its answer."""

MOST_AT_ONCE = 100
"""Connections. Those that come beyond are closed; slow ones hold up nobody else until then."""

_LAST_WORDS = 0.2
"""Seconds that conversations get to come to their end when nobody else is heard any more."""

_LONGEST_REQUEST = 8192
"""Bytes of a request up to its empty line."""

_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said.

    Attributes:
        status: The status code.
        body: What there is to read.
        content_type: What that is.
    """

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"

    @classmethod
    def of(cls, value: Mapping[str, object], status: int = HTTPStatus.OK) -> Self:
        """Answer with a JSON object."""
        return cls(status=status, body=json.dumps(value).encode() + b"\n", content_type="application/json")


Page = Callable[[str], Awaitable[Answer]]
"""Answers whoever accepts what is given: the request's `Accept`."""


class Answering:
    """Serves pages from `begin` to `end`."""

    def __init__(self, sockets: Sequence[socket.socket], pages: Mapping[str, Page]) -> None:
        """Make it ready to serve.

        Args:
            sockets: Where to listen. They are closed in the end.
            pages: Each by its path.
        """
        self._sockets = sockets
        self._pages = pages
        self._conversations: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._is_serving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="necrostack-health", daemon=True)

    def begin(self) -> None:
        """Serve from now on."""
        self._thread.start()
        self._is_serving.wait()

    def end(self) -> None:
        """Serve nobody any more. To be called from a thread where a page may wait for the event loop."""
        assert self._loop is not None, "it has begun"
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(2 * CONVERSATION)

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # A signal that the system gives to this thread does not wake the main one, where Python answers it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            # Of its own kind, whatever the run uses.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        finally:
            for each in self._sockets:
                each.close()
            self._is_serving.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        servers = [
            await asyncio.start_server(self._converse, sock=each, limit=_LONGEST_REQUEST) for each in self._sockets
        ]
        self._is_serving.set()
        await self._stopping.wait()
        # Nobody is let in any more. Who was a moment ago must be seen before a server closes: asyncio trips over it.
        for each in self._sockets:
            self._loop.remove_reader(each)
        await _turns()
        for server in servers:
            server.close()
        if self._conversations:
            _, late = await asyncio.wait(self._conversations, timeout=_LAST_WORDS)
            for conversation in late:
                conversation.cancel()
        await _turns()  # their connections are closed

    # --- one client -----------------------------------------------------------------------------------------

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear one request, answer it, and be done with this client, in time."""
        conversation = asyncio.current_task()
        assert conversation is not None, "a server makes a task of it"
        self._conversations.add(conversation)
        try:
            if len(self._conversations) <= MOST_AT_ONCE:
                async with asyncio.timeout(CONVERSATION):
                    await self._hear(reader, writer)
        except (TimeoutError, OSError):
            pass  # it is too slow, or gone
        finally:
            self._conversations.discard(conversation)
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()  # the client does not take it
            else:
                writer.close()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(_END_OF_HEAD)
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            method, answer = "GET", _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            method, answer = await self._answer(head.decode("latin-1"))
        writer.write(_written(answer, with_body=method != "HEAD"))
        await writer.drain()

    async def _answer(self, head: str) -> tuple[str, Answer]:
        first, *lines = head.split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "GET", _refusal(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return method, _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        page = self._pages.get(_path(target))
        if page is None:
            there = ", ".join(self._pages)
            return method, Answer(status=HTTPStatus.NOT_FOUND, body=f"there are {there}\n".encode())
        accepts = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("accept:")]
        try:
            return method, await page(", ".join(accepts))
        except Exception:  # noqa: BLE001 -- metrics may be the application's own
            logger.exception("health_failed", extra={"path": _path(target)})
            return method, _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


async def _turns() -> None:
    """Let the event loop do what it is about to do."""
    for _ in range(5):
        await asyncio.sleep(0)


def _path(target: str) -> str:
    try:
        return urlsplit(target).path
    except ValueError:
        return ""


def _refusal(status: HTTPStatus) -> Answer:
    return Answer(status=status, body=f"{status.phrase}\n".encode())


def _written(answer: Answer, *, with_body: bool) -> bytes:
    status = HTTPStatus(answer.status)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode() + (answer.body if with_body else b"")

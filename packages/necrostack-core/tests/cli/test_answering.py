"""Answers over HTTP from a thread: bounded in time and size, for whoever asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from necrostack.cli import answering as answering_module
from necrostack.cli.address import Address, listen
from necrostack.cli.answering import Answer, Answering


async def hello(accepts: str) -> Answer:
    return Answer(status=200, body=f"hello, {accepts}".encode())


async def huge(_: str) -> Answer:
    return Answer(status=200, body=b"x" * 20_000_000)


async def broken(_: str) -> Answer:
    raise LookupError


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    sockets = listen(Address("127.0.0.1", 0), "--health")
    place = sockets[0].getsockname()
    answering = Answering(sockets, {"/hello": hello, "/huge": huge, "/broken": broken})
    answering.begin()
    yield place
    answering.end()


@pytest.fixture
def connect(address: tuple[str, int]) -> Iterator[Callable[[], socket.socket]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(address, timeout=30))


Connect = Callable[[], socket.socket]


def heard(client: socket.socket) -> bytes:
    """All that comes until the other side is done, or cuts it off."""
    found = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            found += part
    return found


def asked(client: socket.socket, request: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """The status line, the headers and the body that answer a request."""
    client.sendall(request)
    head, _, body = heard(client).partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    return status, headers, body


def test_a_page_is_answered_with_its_length_and_the_connection_ends(connect: Connect) -> None:
    request = b"GET /hello HTTP/1.1\r\nHost: a\r\nACCEPT: text/plain\r\nAccept:json\r\n\r\n"

    status, headers, body = asked(connect(), request)

    assert (status, body) == (b"HTTP/1.1 200 OK", b"hello, text/plain, json")
    assert (headers[b"Content-Length"], headers[b"Connection"]) == (b"23", b"close")


@pytest.mark.parametrize("target", [b"/hello?a=b", b"http://me.example/hello", b"/hello#x"])
def test_only_the_path_counts(connect: Connect, target: bytes) -> None:
    status, _, _ = asked(connect(), b"GET " + target + b" HTTP/1.0\r\n\r\n")

    assert status == b"HTTP/1.1 200 OK"


def test_head_gets_everything_but_the_body(connect: Connect) -> None:
    status, headers, body = asked(connect(), b"HEAD /hello HTTP/1.1\r\n\r\n")

    assert (status, headers[b"Content-Length"], body) == (b"HTTP/1.1 200 OK", b"7", b"")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /nowhere HTTP/1.1", b"404 Not Found"),
        (b"GET http://[ HTTP/1.1", b"404 Not Found"),
        (b"GET \xff\xfe HTTP/1.1", b"404 Not Found"),
        (b"POST /hello HTTP/1.1", b"405 Method Not Allowed"),
        (b"DELETE /nowhere HTTP/1.1", b"405 Method Not Allowed"),
        (b"GET /hello", b"400 Bad Request"),
        (b"GET /hello HTTP/2", b"400 Bad Request"),
        (b"GET  /hello HTTP/1.1", b"400 Bad Request"),
        (b"\x16\x03\x01\x02", b"400 Bad Request"),
        (b"", b"400 Bad Request"),
        (b"GET /broken HTTP/1.1", b"500 Internal Server Error"),
    ],
)
def test_what_cannot_be_answered_is_refused(connect: Connect, request_line: bytes, status: bytes) -> None:
    told, headers, body = asked(connect(), request_line + b"\r\n\r\n")

    assert told == b"HTTP/1.1 " + status
    assert body.endswith(b"\n")
    assert (b"Allow" in headers) == status.startswith(b"405")


def test_what_goes_wrong_with_a_page_is_logged(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    asked(connect(), b"GET /broken HTTP/1.1\r\n\r\n")

    (record,) = [record for record in caplog.records if record.getMessage() == "health_failed"]
    assert (vars(record)["path"], record.exc_info is not None) == ("/broken", True)


def test_a_request_that_is_too_long_is_refused_before_its_end(connect: Connect) -> None:
    status, _, _ = asked(connect(), b"GET /hello HTTP/1.1\r\nX: " + b"y" * 9000)

    assert status == b"HTTP/1.1 431 Request Header Fields Too Large"


def test_who_does_not_go_on_holds_up_nobody_and_is_let_go(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    silent, slow = connect(), connect()
    slow.sendall(b"GET /he")
    monkeypatch.setattr(answering_module, "CONVERSATION", 0.05)
    late, taking_nothing = connect(), connect()
    late.sendall(b"GET /hello HTTP/1.1\r\n")
    taking_nothing.sendall(b"GET /huge HTTP/1.1\r\n\r\n")

    status, _, _ = asked(connect(), b"GET /hello HTTP/1.1\r\n\r\n")

    assert status == b"HTTP/1.1 200 OK"
    assert heard(late) == b""
    silent.close()
    slow.close()
    assert len(heard(taking_nothing)) < 20_000_000


def test_more_than_it_can_serve_at_once_are_sent_away(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering_module, "MOST_AT_ONCE", 1)
    first = connect()
    first.sendall(b"G")

    assert heard(connect()) == b""

    status, _, _ = asked(first, b"ET /hello HTTP/1.1\r\n\r\n")
    assert status == b"HTTP/1.1 200 OK"


def test_when_it_is_left_nobody_listens_and_no_thread_is_there() -> None:
    sockets = listen(Address("127.0.0.1", 0), "--health")
    place = sockets[0].getsockname()
    answering = Answering(sockets, {})
    answering.begin()
    with socket.create_connection(place, timeout=30) as client:
        client.sendall(b"G")
        answering.end()
        assert heard(client) == b""

    with pytest.raises(OSError, match="refused"):
        socket.create_connection(place, timeout=30)
    assert "necrostack-health" not in {thread.name for thread in threading.enumerate()}

"""Where to listen, as it is written on a command line."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from necrostack.cli.address import Address, listen, listening_address
from necrostack.cli.failures import CommandError, Exit


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:8080", "::1", 8080),
        ("localhost:0", "localhost", 0),
        ("worker-1.example:65535", "worker-1.example", 65535),
    ],
)
def test_an_address_is_read_and_written_as_it_was(text: str, host: str, port: int) -> None:
    address = listening_address(text)

    assert (address.host, address.port, str(address)) == (host, port, text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", ":8080", "localhost", "localhost:", "localhost:http", "::1:8080", "[::1]", "127.0.0.1:65536"),
        *("a:-1", "http://localhost:8080", "me@host:80", "[]:80", "a b:80", "localhost:8080\n", "localhost:٨"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no HOST:PORT, such as 127\.0\.0\.1:8080 .* or \[::1\]"):
        listening_address(text)


def test_port_0_is_one_that_is_free_for_all_that_a_name_stands_for(opened: ExitStack) -> None:
    sockets = [opened.enter_context(each) for each in listen(Address("localhost", 0), "--health")]

    (port,) = {each.getsockname()[1] for each in sockets}
    assert port > 0
    for each in sockets:
        opened.enter_context(socket.create_connection(each.getsockname()[:2], timeout=30))


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_all_of_ipv6_is_all_of_ipv4_too(opened: ExitStack) -> None:
    (listening,) = [opened.enter_context(each) for each in listen(Address("::", 0), "--health")]

    for host in ("127.0.0.1", "::1"):
        opened.enter_context(socket.create_connection((host, listening.getsockname()[1]), timeout=30))


def test_a_port_that_is_taken_is_told_in_one_line(opened: ExitStack) -> None:
    (taken,) = [opened.enter_context(each) for each in listen(Address("127.0.0.1", 0), "--health")]
    port = taken.getsockname()[1]

    with pytest.raises(CommandError, match=rf"--health 127\.0\.0\.1:{port}: Address already in use; name") as refused:
        listen(Address("127.0.0.1", port), "--health")

    assert refused.value.code == Exit.FAILED


@pytest.mark.parametrize("host", ["203.0.113.1", "nowhere.invalid"])
def test_an_address_of_another_machine_is_told(host: str) -> None:
    with pytest.raises(CommandError, match=f"--health {host}:0: .*; name an address of this machine"):
        listen(Address(host, 0), "--health")

"""An address to listen on: `HOST:PORT`, as it is written on a command line."""

from __future__ import annotations

import argparse
import errno
import re
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass

from necrostack.cli.failures import CommandError

_WRITTEN = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^\[\]:/@\s]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where to listen.

    >>> Address("::1", 8080)
    [::1]:8080

    Attributes:
        host: A name, or an address of IPv4 or IPv6.
        port: 0 for any that is free.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    __repr__ = __str__


def listening_address(text: str) -> Address:
    """Read `HOST:PORT`, for argparse.

    >>> listening_address("127.0.0.1:8080")
    127.0.0.1:8080
    """
    found = _WRITTEN.fullmatch(text)
    if found is None or int(found["port"]) > 65_535:
        msg = (
            f"{text!r} is no HOST:PORT, such as 127.0.0.1:8080 for this machine alone, 0.0.0.0:8080 for everybody "
            "or [::1]:8080"
        )
        raise argparse.ArgumentTypeError(msg)
    return Address(found["six"] or found["host"], int(found["port"]))


def listen(address: Address, what: str) -> list[socket.socket]:
    """Listen on an address: on each one that its name stands for, and on one port.

    Args:
        address: Where.
        what: What the command line calls it.

    Raises:
        CommandError: That is not possible.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with ExitStack() as opened:
            sockets: list[socket.socket] = []
            missing: OSError | None = None
            for family, place in dict.fromkeys((entry[0], entry[4]) for entry in found):
                # The first one says which port it is, where any will do.
                port = sockets[0].getsockname()[1] if sockets else place[1]
                try:
                    sockets.append(opened.enter_context(_bound(family, (place[0], port, *place[2:]))))
                except OSError as error:
                    if error.errno not in _NOT_HERE:
                        raise
                    missing = error
            if missing is not None and not sockets:
                raise missing
            opened.pop_all()
            return sockets
    except OSError as error:
        why = error.strerror or str(error)
        msg = f"{what} {address}: {why}; name an address of this machine, and a port that is free, or 0 for any"
        raise CommandError(msg) from error


_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a machine says that knows an address of a name, as of `localhost`, and has no such network."""


def _bound(family: int, place: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let another process take the port as well
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # All of IPv6 is all of IPv4, too; a name that stands for both has a socket for each.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, place[0] != "::")
        made.bind(place)
        made.listen(64)
    except BaseException:
        made.close()
        raise
    return made

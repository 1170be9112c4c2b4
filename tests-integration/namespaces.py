"""A process in a network namespace of its own, with one interface, and that interface in our hands.

It is a TUN device: what the kernel sends over it there is read here, and what is written here comes in there. So
whatever a network can do to packets is done in plain Python; see `wire`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000  # linux/sched.h
_MAKE_DEVICE, _SET_CARRIER, _IS_TUN, _IS_BARE = 0x400454CA, 0x400454E2, 0x0001, 0x1000  # linux/if_tun.h
_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _SET_MASK = 0x8913, 0x8914, 0x8916, 0x891C  # linux/sockios.h
_UP = 0x1  # linux/if.h
_NAME = b"wire"


@dataclass(frozen=True)
class Address:
    """Where a process is to be: its IPv4 address, and the Unix socket over which it hands out its interface."""

    ip: str
    called_at: Path

    def move_in(self) -> None:
        """Put the process that calls this into a new namespace. It must have one thread."""
        # Who is not root may make the namespace in one of users, where that is allowed.
        _unshare(_NEW_NETWORK if os.geteuid() == 0 else _NEW_NETWORK | _NEW_USER)
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _MAKE_DEVICE, struct.pack("16sH22x", _NAME, _IS_TUN | _IS_BARE))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control, socket.socket(socket.AF_UNIX) as call:
            for request, ip in ((_SET_ADDRESS, self.ip), (_SET_MASK, "255.255.255.0")):
                of_family = struct.pack("16sHH4s16x", _NAME, socket.AF_INET, 0, socket.inet_aton(ip))
                fcntl.ioctl(control, request, of_family)
            for name in (b"lo", _NAME):
                _set_up(control, name, is_up=True)
            call.connect(str(self.called_at))
            socket.send_fds(call, [self.ip.encode()], [device, control.fileno()])
        os.close(device)


class Interface:
    """The interface of a process in a namespace of its own."""

    def __init__(self, device: int, control: socket.socket) -> None:
        self.device = device
        self._control = control

    @classmethod
    def received_by(cls, listener: socket.socket) -> Self:
        """Take it over from the next process that has moved in."""
        call, _ = listener.accept()
        with call:
            _, (device, control), _, _ = socket.recv_fds(call, 100, 2)
        return cls(device, socket.socket(fileno=control))

    def send(self, packet: bytes) -> None:
        """Let a packet come in."""
        os.write(self.device, packet)

    def set_up(self, is_up: bool) -> None:
        """Set it up, or down as an administrator does: the process finds no way out."""
        _set_up(self._control, _NAME, is_up=is_up)

    def set_carrier(self, is_there: bool) -> None:
        """Plug the cable in, or out: the process is told nothing."""
        fcntl.ioctl(self.device, _SET_CARRIER, struct.pack("i", is_there))

    def close(self) -> None:
        """Let go of it."""
        os.close(self.device)
        self._control.close()


def _unshare(kinds: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(kinds) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"a namespace cannot be made: {os.strerror(number)}")


def _set_up(control: socket.socket, name: bytes, *, is_up: bool) -> None:
    (flags,) = struct.unpack_from("16xH", fcntl.ioctl(control, _GET_FLAGS, struct.pack("16s24x", name)))
    fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH22x", name, flags | _UP if is_up else flags & ~_UP))


if __name__ == "__main__":
    ip, called_at, *command = sys.argv[1:]
    Address(ip, Path(called_at)).move_in()
    os.execvp(command[0], command)  # noqa: S606 -- there is no shell in it

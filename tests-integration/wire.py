"""A wire between two network namespaces, on which packets are lost, late, or refused, or which is cut."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import namespaces
from namespaces import Interface

NEAR, FAR = "10.77.0.1", "10.77.0.2"
_LONGEST = 65535
_TCP = 6
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10


@cache
def why_not() -> str | None:
    """Say why no process can have a network namespace of its own here; None if it can."""
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(called_at := f"{folder}/call")
        listener.listen()
        argv = [sys.executable, namespaces.__file__, NEAR, called_at, "true"]
        tried = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return None if tried.returncode == 0 else tried.stderr.strip().rpartition("\n")[2]


class Wire:
    """Carries packets between two namespaces, in the test's event loop, until it is told something else.

    Attributes:
        called_at: What processes that move in call.
        carried: How many packets it took over.
        dropped: How many of them it lost.
        refused: How many it answered with a reset.
        delay: Says for how many seconds the next packet is under way.
        loss: Which part of the packets gets lost.
        refuses: Whether each packet is answered with a reset, as by a firewall.
    """

    def __init__(self, folder: Path) -> None:
        self.called_at = folder / "call"
        self.carried = self.dropped = self.refused = 0
        self.clear()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.called_at))
        self._listener.listen()
        self._listener.settimeout(30.0)
        self._ends: list[Interface] = []

    def clear(self) -> None:
        """Carry everything, at once."""
        self.delay: Callable[[], float] = lambda: 0.0
        self.loss = 0.0
        self.refuses = False

    async def attach(self) -> Interface:
        """Attach the interface of the next process that has moved in."""
        end = await asyncio.to_thread(Interface.received_by, self._listener)
        self._ends.append(end)
        asyncio.get_running_loop().add_reader(end.device, self._carry, end)
        return end

    def close(self) -> None:
        """Let go of both ends."""
        for end in self._ends:
            asyncio.get_running_loop().remove_reader(end.device)
            end.close()
        self._ends.clear()
        self._listener.close()

    def _carry(self, source: Interface) -> None:
        packet = os.read(source.device, _LONGEST)
        self.carried += 1
        if self.refuses:
            if (answer := reset(packet)) is not None:
                self.refused += 1
                self._arrive(source, answer)
        elif random.random() < self.loss:
            self.dropped += 1
        else:
            for target in self._ends:
                if target is not source:
                    asyncio.get_running_loop().call_later(self.delay(), self._arrive, target, packet)

    def _arrive(self, target: Interface, packet: bytes) -> None:
        with suppress(OSError):  # it is down, or was closed meanwhile
            target.send(packet)


def reset(packet: bytes) -> bytes | None:
    """Make the answer of whoever takes no part in a connection: https://www.rfc-editor.org/rfc/rfc9293#section-3.5.2.

    Returns:
        The packet to send back, or None where there is nothing to answer.
    """
    size = (packet[0] & 0xF) * 4
    if packet[0] >> 4 != 4 or packet[9] != _TCP:
        return None
    source, target = packet[12:16], packet[16:20]
    port, other, sequence, acknowledged, offset, flags = struct.unpack_from("!HHIIBB", packet, size)
    if flags & _RST:
        return None
    length = len(packet) - size - (offset >> 4) * 4 + bool(flags & _SYN) + bool(flags & _FIN)
    numbers = (acknowledged, 0, _RST) if flags & _ACK else (0, (sequence + length) % 2**32, _RST | _ACK)
    header = struct.pack("!HHIIBBHHH", other, port, numbers[0], numbers[1], 5 << 4, numbers[2], 0, 0, 0)
    pseudo = target + source + struct.pack("!BBH", 0, _TCP, len(header))
    segment = header[:16] + _checksum(pseudo + header) + header[18:]
    outer = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, _TCP, 0, target, source)
    return outer[:10] + _checksum(outer) + outer[12:] + segment


def _checksum(data: bytes) -> bytes:
    """Add up what a header holds: https://www.rfc-editor.org/rfc/rfc1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)

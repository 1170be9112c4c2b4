"""A server whose disk is full when a test says so."""

from __future__ import annotations

import resource
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from redis_server import Server

_UNLIMITED = resource.RLIM_INFINITY


@dataclass
class DiskServer(Server):
    """A server whose disk can be filled."""

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself, or was killed."""
        return self.process is None or self.process.poll() is not None

    def make_disk(self) -> str | None:
        """Make the disk; return why that is not possible, or None."""
        return None

    def fill_disk(self) -> None:
        """Let what it writes fail."""
        raise NotImplementedError

    def free_disk(self) -> None:
        """Let it write again."""
        raise NotImplementedError


@dataclass
class LimitedServer(DiskServer):
    """None of its files may grow any more: writing fails, as on a full disk. Anybody may do that to their process."""

    def command_line(self) -> list[str]:
        # Else the first write that fails ends it.
        return ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", *super().command_line()]

    def fill_disk(self) -> None:
        """Let a write fail soon, in its middle."""
        largest = max(path.stat().st_size for path in self.directory.rglob("*") if path.is_file())
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (largest + 20, _UNLIMITED))

    def free_disk(self) -> None:
        """Let it write again. A process that was started anew may anyway."""
        if not self.has_ended:
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (_UNLIMITED, _UNLIMITED))


@dataclass
class SmallDiskServer(DiskServer):
    """It has a disk of 8 MiB to itself, which a test fills. That takes the right to mount."""

    def make_disk(self) -> str | None:
        """See `DiskServer.make_disk`."""
        argv = ["mount", "-t", "tmpfs", "-o", "size=8m", "necrostack-test", str(self.directory)]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
        except OSError as error:
            return str(error)
        return done.stderr.strip() or None

    def fill_disk(self) -> None:
        """Leave no byte for others."""
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(4096)):
                pass

    def free_disk(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink()

    def remove(self) -> None:
        """End it, and take its disk away."""
        self.kill()
        subprocess.run(["umount", str(self.directory)], capture_output=True, check=False, timeout=10)
        super().remove()

    @property
    def _ballast(self) -> Path:
        return self.directory / "ballast"

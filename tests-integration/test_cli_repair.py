"""Looking and repairing through the real command line, on a real server: terminals, pipes, signals, two operators."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from redis_server import Server, command, version_of

from necrostack import Event, Settlement
from necrostack.cli import main
from necrostack.delivery import DeadLetter, Failure
from necrostack_redis import RedisBackend

TIMEOUT = 50.0

NECROSTACK = (sys.executable, "-m", "necrostack")

ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}

APP = """\
from typing import Literal

from pydantic import BaseModel

from necrostack import Event, Organ, Spine


class Order(BaseModel, frozen=True):
    number: int


class Placed(Event):
    event_type: Literal["REPAIR_PLACED"] = "REPAIR_PLACED"
    payload: Order


class Billing(Organ[Placed]):
    listens_to = [Placed]

    def handle(self, event: Placed) -> None: ...


spine = Spine([Billing()])
"""


@pytest.fixture
def url(redis_url: str, app: str) -> str:
    """A backend of the test's own, on the shared server."""
    return f"{redis_url}?app={app}"


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process: to start one takes ten times as long as most of what is done here."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(argv)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


def run_apart(*argv: str, cwd: Path, editor: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which may import an application."""
    return subprocess.run(
        [*NECROSTACK, *argv],
        cwd=cwd,
        env={**ENVIRONMENT, "EDITOR": editor},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def start(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*NECROSTACK, *argv],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def bury(url: str, count: int) -> list[DeadLetter]:
    """Leave dead letters, and return them."""

    async def leave() -> None:
        async with RedisBackend(url) as backend:
            await backend.enqueue(*(Event(event_type="REPAIR_PLACED", payload={"number": n}) for n in range(count)))
            left = count
            while left:
                deliveries = await backend.pull(limit=left)
                failure = Failure(reason="attempts_exhausted", organ="Billing", error_type="ValueError", error="no")
                await backend.settle(*(Settlement(delivery, dead=[failure]) for delivery in deliveries))
                left -= len(deliveries)

    asyncio.run(leave())
    return waiting(url)


def waiting(url: str) -> list[DeadLetter]:
    """The dead letters that wait."""

    async def look() -> list[DeadLetter]:
        async with RedisBackend(url) as backend:
            return [letter async for letter in backend.admin.dead_letters()]

    return asyncio.run(look())


def queued(url: str) -> int:
    async def look() -> int:
        async with RedisBackend(url) as backend:
            return (await backend.admin.stats()).queued

    return asyncio.run(look())


def keys(server: Server) -> bytes:
    """All that the server holds: a digest of every key and value."""
    return command(server.port, "DEBUG", "DIGEST")


# --- looking --------------------------------------------------------------------------------------------


def test_looking_changes_nothing(make_server: Callable[..., Server], redis_binary: Path) -> None:
    # Redis 6.2 lets everybody ask for a digest, and does not know this setting.
    server = make_server(*(("--enable-debug-command", "yes") if version_of(redis_binary) >= (7,) else ()))
    url = f"{server.url}?app=looked-at"
    (letter, *_) = bury(url, 3)
    assert letter.event is not None
    before = keys(server)
    commands = (
        ["tail"],
        ["inspect"],
        ["inspect", str(letter.event.id)],
        ["inspect", "--chain", str(letter.event.id)],
        ["dlq", "list"],
        ["dlq", "show", letter.id],
        ["dlq", "redrive", "--all", "--dry-run"],
        ["replay", "--all", "--dry-run"],
        ["doctor"],
    )

    for argv in commands:
        done = run(*argv, "--backend", url, "--json")
        assert done.returncode == 0, done.stderr
        assert [json.loads(line) for line in done.stdout.splitlines()], argv

    print(f"{len(commands)} commands looked, and the server holds what it held")
    assert before.startswith(b"+")
    assert keys(server) == before


def test_a_closed_pipe_ends_a_list_quietly(url: str) -> None:
    bury(url, 300)

    piped = f"({sys.executable} -m necrostack dlq list --backend '{url}'; echo $? >&2) | head -n 2"
    done = subprocess.run(
        ["sh", "-c", piped], env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    with start("tail", "--backend", url, "--follow", "--last", "300") as following:
        assert following.stdout is not None
        assert following.stderr is not None
        first = following.stdout.readline()
        following.stdout.close()
        told = following.stderr.read()
        code = following.wait(TIMEOUT)

    assert done.stderr.strip() == "0"
    assert len(done.stdout.splitlines()) == 2
    assert first.startswith("kept")
    assert (code, told) == (0, "")


def test_what_comes_is_written_until_it_is_interrupted(url: str) -> None:
    async def emit(number: int) -> None:
        async with RedisBackend(url) as backend:
            await backend.enqueue(Event(event_type="REPAIR_PLACED", payload={"number": number}))

    asyncio.run(emit(0))
    following = start("tail", "--backend", url, "--follow", "--json")
    assert following.stdout is not None
    seen = [json.loads(following.stdout.readline())]
    asyncio.run(emit(1))
    seen.append(json.loads(following.stdout.readline()))
    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=TIMEOUT)

    assert [event["payload"]["number"] for event in seen] == [0, 1]
    assert (following.returncode, out, err) == (130, "", "necrostack: error: interrupted\n")


# --- repairing ------------------------------------------------------------------------------------------


def test_of_two_operators_each_letter_goes_once(url: str) -> None:
    bury(url, 200)

    both = [start("dlq", "redrive", "--backend", url, "--all", "--yes", "--rate", "100", "--json") for _ in range(2)]
    ended = [(process.communicate(timeout=TIMEOUT), process.returncode) for process in both]

    found = [json.loads(out) for (out, _), _ in ended]
    went = [outcome["redriven"] for outcome in found]
    print(f"200 letters, two operators redrove {went}")
    assert sum(went) == queued(url) == 200
    for outcome, (_, code) in zip(found, ended, strict=True):
        assert len(outcome["problems"]) == outcome["asked"] - outcome["redriven"]
        assert code == (0 if not outcome["problems"] else 7 if outcome["redriven"] else 1)


def test_what_is_interrupted_says_how_far_it_came(url: str) -> None:
    bury(url, 50)
    redriving = start("dlq", "redrive", "--backend", url, "--all", "--yes", "--rate", "5")
    deadline = time.monotonic() + TIMEOUT
    while not queued(url):
        assert time.monotonic() < deadline, "nothing went again"
        time.sleep(0.05)
    redriving.send_signal(signal.SIGINT)
    _, err = redriving.communicate(timeout=TIMEOUT)

    note, error = err.splitlines()
    done = int(note.removeprefix("necrostack: stopped: ").partition(" ")[0])
    assert redriving.returncode == 130
    assert error == "necrostack: error: interrupted"
    assert done <= queued(url) <= done + 1
    assert 0 < queued(url) < 50


def test_a_server_that_dies_midway_leaves_it_done_in_part(make_server: Callable[..., Server]) -> None:
    server = make_server()
    url = f"{server.url}?app=dies&call_timeout=1"
    bury(url, 50)
    replaying = start("replay", "--backend", url, "--all", "--yes", "--rate", "5", "--json")
    deadline = time.monotonic() + TIMEOUT
    while not queued(url):
        assert time.monotonic() < deadline, "nothing went again"
        time.sleep(0.05)
    server.kill()
    out, err = replaying.communicate(timeout=TIMEOUT)

    assert replaying.returncode == 7
    assert 0 < json.loads(out)["replayed"] < 50
    assert "of 50 events went again" in err


def test_a_letter_is_edited_and_redriven_as_its_class_says(url: str, tmp_path: Path) -> None:
    (tmp_path / "repair_app.py").write_text(APP)
    (letter,) = bury(url, 1)
    edit = ("dlq", "edit", "repair_app", letter.id, "--backend", url)

    refused = run_apart(*edit, cwd=tmp_path, editor="sed -i.bak 's/0/null/'")
    went = run_apart(*edit, cwd=tmp_path, editor="sed -i.bak 's/0/7/'")
    again = run_apart(*edit, cwd=tmp_path, editor="false")

    assert refused.returncode == 1
    assert "payload.number: Input should be a valid integer" in refused.stderr
    assert (went.returncode, went.stdout) == (0, f"{letter.id} redriven with the new payload\n"), went.stderr
    assert again.returncode == 1
    assert f"{letter.id} went again before" in again.stderr
    assert queued(url) == 1


def test_exported_letters_are_imported_into_another_app(url: str, tmp_path: Path) -> None:
    letters = bury(url, 300)
    file, other = str(tmp_path / "letters.ndjson"), f"{url}-other"
    assert run("dlq", "export", "--backend", url, "--output", file).returncode == 0

    done = run("dlq", "import", file, "--backend", other, "--yes", "--json")
    again = run("dlq", "import", file, "--backend", other, "--yes", "--json")
    here = run("dlq", "import", file, "--backend", url, "--yes", "--json")

    for ended, count in ((done, 300), (again, 0), (here, 0)):
        assert json.loads(ended.stdout) == {"asked": count, "imported": count, "problems": []}, ended.stderr
    restored = waiting(other)
    assert [replace(letter, id="") for letter in restored] == [replace(letter, id="") for letter in letters]
    went = run("dlq", "redrive", "--all", "--backend", other, "--yes", "--json")
    assert json.loads(went.stdout)["redriven"] == queued(other) == 300


# --- a terminal -----------------------------------------------------------------------------------------


def at_a_terminal(answer: bytes, question: bytes, *argv: str) -> tuple[int, bytes]:
    """Run a command at a terminal of its own, and answer a question."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover -- another process
        os.execve(sys.executable, [*NECROSTACK, *argv], ENVIRONMENT)  # noqa: S606 -- no shell is wanted
    shown, is_answered = b"", False
    deadline = time.monotonic() + TIMEOUT
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.5)[0]:
                continue
            try:
                part = os.read(terminal, 65536)
            except OSError:  # it has ended: EIO on Linux
                break
            if not part:
                break
            shown += part
            if question in shown and not is_answered:
                os.write(terminal, answer)
                is_answered = True
    finally:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown


@pytest.mark.parametrize(
    ("answer", "code", "told", "left"),
    [
        (b"y\n", 0, b"3 of 3 dead letters redriven", 0),
        (b"\n", 1, b"not confirmed; nothing was done", 3),
        (b"\x03", 130, b"interrupted", 3),
        (b"\x04", 1, b"not confirmed; nothing was done", 3),
    ],
    ids=["yes", "enter", "Ctrl-C", "Ctrl-D"],
)
def test_who_sits_at_a_terminal_is_asked(url: str, answer: bytes, code: int, told: bytes, left: int) -> None:
    bury(url, 3)

    ended, shown = at_a_terminal(answer, b"[y/N] ", "dlq", "redrive", "--backend", url, "--all")

    assert b"necrostack: 3 dead letters (3 Billing) to be redriven? [y/N] " in shown
    assert told in shown
    assert (ended, queued(url)) == (code, 3 - left)


def test_top_takes_the_whole_terminal_until_ctrl_c_and_gives_it_back(url: str) -> None:
    bury(url, 3)

    ended, shown = at_a_terminal(b"\x03", b"no worker is alive", "top", "--backend", url)

    assert ended == 130
    begun, _, left = shown.partition(b"\x1b[?1049h")  # the other screen, and back: xterm's ctlseqs, DECSET 1049
    assert begun == b""
    assert b"default" in left
    assert b"interrupted" in left.partition(b"\x1b[?1049l")[2]


# --- wrong moments --------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["tail"], ["inspect"], ["dlq", "list"], ["replay", "--all", "--yes"]], ids=str)
def test_a_server_that_is_not_there_is_told_in_one_line(argv: Sequence[str]) -> None:
    done = run(*argv, "--backend", "redis://127.0.0.1:1")

    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (4, "")
    assert line.startswith("necrostack: error: redis://127.0.0.1:1/0 is out of reach")


def test_who_may_not_look_is_told(make_server: Callable[..., Server]) -> None:
    server = make_server()
    command(server.port, "ACL", "SETUSER", "looker", "on", ">s3cret", "~*", "&*", "+@all", "-info")
    address = server.url.removeprefix("redis://")

    wrong = run("dlq", "list", "--backend", f"redis://looker:wr0ng@{address}")
    limited = run("doctor", "--backend", f"redis://looker:s3cret@{address}", "--json")

    (line,) = wrong.stderr.splitlines()
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "refuses the user 'looker'" in line
    assert "wr0ng" not in line
    assert limited.returncode == 0
    remedies = [found["remedy"] for found in json.loads(limited.stdout)["findings"]]
    assert any("+info +time" in remedy for remedy in remedies)


def test_a_server_that_would_delete_events_is_found(make_server: Callable[..., Server]) -> None:
    server = make_server("--maxmemory", "200mb", "--maxmemory-policy", "allkeys-lru")

    done = run("doctor", "--backend", server.url, "--json")

    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"]) == (6, False)
    (error,) = (finding for finding in found["findings"] if finding["severity"] == "error")
    assert error["what"].startswith("maxmemory-policy is allkeys-lru")
    assert error["remedy"] == "set maxmemory-policy noeviction"

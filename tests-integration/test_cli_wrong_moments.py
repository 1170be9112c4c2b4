"""Wrong moments at the command line: each gets one clear line, and the exit code that the reference says."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from redis_server import Server

from necrostack import Event, Settlement
from necrostack.cli import main
from necrostack.delivery import DeadLetter, Failure
from necrostack_redis import RedisBackend

TIMEOUT = 50.0

UNKNOWN = "6f1c2b52-0a53-4c5c-9d0e-2b8a1f0f7d11"


@pytest.fixture
def url(redis_url: str, app: str) -> str:
    """A backend of the test's own, on the shared server."""
    return f"{redis_url}?app={app}"


def bury(url: str, count: int) -> list[DeadLetter]:
    """Leave dead letters, and return them."""

    async def leave() -> list[DeadLetter]:
        async with RedisBackend(url) as backend:
            await backend.enqueue(*(Event(event_type="WRONG_MOMENT", payload={"number": n}) for n in range(count)))
            left = count
            while left:
                deliveries = await backend.pull(limit=left)
                failure = Failure(reason="attempts_exhausted", organ="Billing", error_type="ValueError", error="no")
                await backend.settle(*(Settlement(delivery, dead=[failure]) for delivery in deliveries))
                left -= len(deliveries)
            return [letter async for letter in backend.admin.dead_letters()]

    return asyncio.run(leave())


def queued(url: str) -> int:
    async def look() -> int:
        async with RedisBackend(url) as backend:
            return (await backend.admin.stats()).queued

    return asyncio.run(look())


# --- a table --------------------------------------------------------------------------------------------


NOT_THERE: list[tuple[str, int, str]] = [
    # What is named is not there.
    (f"inspect {UNKNOWN}", 5, f"error: nothing is kept of the event {UNKNOWN}: not in the history, not pending, no"),
    (f"inspect --chain {UNKNOWN}", 5, f"error: nothing is kept of the chain {UNKNOWN}: it is named by the id of its"),
    ("inspect 12-0", 2, "error: '12-0' is no id of an event, such as "),
    ("dlq show 12-0", 5, "error: there is no dead letter '12-0'; dlq list shows those that wait"),
    ("dlq show twelve", 2, "error: name one dead letter, not 0; 'twelve' is taken for APP; dlq list shows their ids"),
    ("dlq edit 12-0", 5, "error: there is no dead letter '12-0'; "),
    ("dlq redrive 12-0 --yes", 5, "error: there is no dead letter '12-0'; "),
    ("dlq discard 12-0 13-0 --yes", 5, "error: there is no dead letter '12-0'; "),
    ("dlq import absent.ndjson --yes", 5, "error: there is no file 'absent.ndjson'"),
    (f"replay --id {UNKNOWN} --yes", 5, "error: no event that is kept is as asked for"),
    ("emit WRONG_MOMENT @absent.json", 5, "error: there is no file 'absent.json'"),
    ("emit --file absent.ndjson", 5, "error: there is no file 'absent.ndjson'"),
    # There is nothing at all.
    ("tail", 0, "no event is kept"),
    ("tail --errors", 0, "there are no dead letters"),
    ("dlq list", 0, "there are no dead letters"),
    ("dlq list --group-by cause", 0, "there are no dead letters"),
    ("dlq list --organ Billing", 0, "no dead letter is as asked for"),
    ("dlq redrive --all", 0, "there are no dead letters"),
    ("dlq discard --all", 0, "there are no dead letters"),
    ("dlq export", 0, "there are no dead letters"),
    ("replay --all", 0, "no event that is kept is as asked for"),
    ("inspect", 0, "there is no group yet: no worker has pulled"),
    # It is not said what to do.
    ("replay", 2, "error: what is to go again? Say --from TIME, --to TIME, --type TYPE or --id ID, or --all"),
    ("dlq redrive --yes", 2, "error: which dead letters? Name their ids, or say --all, or what they have in common"),
    ("dlq redrive --all --yes 12-0", 2, "error: both ids and --all choose dead letters; give one of them"),
    ("emit", 2, "error: name a TYPE and its payload, [APP] TYPE [JSON|@FILE|-], or --file FILE; see emit --help"),
    ("emit WRONG_MOMENT [1]", 2, "error: the payload is [1]; it must be a JSON object, such as"),
    ("run", 2, "error: name an APP, such as shop.app:spine"),
]


@pytest.mark.parametrize(("words", "code", "told"), NOT_THERE, ids=[words for words, *_ in NOT_THERE])
def test_what_is_not_there_is_told_in_one_line(
    url: str,
    words: str,
    code: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    ended = main([*words.split(), "--backend", url])

    (line,) = capsys.readouterr().err.splitlines()
    assert (ended, line[: len("necrostack: ") + len(told)]) == (code, f"necrostack: {told}")


COMMANDS = [
    ["tail"],
    ["inspect"],
    ["top", "--once"],
    ["dlq", "list"],
    ["replay", "--all", "--yes"],
    ["emit", "A", "{}"],
]


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("redis://127.0.0.1:1", 4, "redis://127.0.0.1:1/0 is out of reach: "),
        ("redis://nobody.invalid:6379", 4, "redis://nobody.invalid:6379/0 is out of reach: "),
        ("redis//127.0.0.1", 2, "--backend: no backend for a URL without a scheme; installed are memory://, "),
        ("mysql://me:s3cret@example", 2, "--backend: no backend for mysql://; installed are memory://, "),
        ("redis://127.0.0.1:99999", 2, "--backend: the Redis URL cannot be read; write redis://"),
        ("redis://127.0.0.1:1?lesae=3", 2, "--backend: a Redis backend has no setting 'lesae'; there are app, "),
    ],
)
def test_a_backend_that_is_not_there_is_told_in_one_line(
    url: str, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in COMMANDS if code == 4 else COMMANDS[:1]:
        ended = main([*command, "--backend", url])

        out, err = capsys.readouterr()
        (line,) = err.splitlines()
        assert (ended, out, line[: len("necrostack: error: ") + len(told)]) == (code, "", f"necrostack: error: {told}")
        assert "s3cret" not in line


def test_a_wrong_password_or_database_or_no_tls_is_told_in_one_line(
    make_server: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    server = make_server("--requirepass", "s3cret")
    at = f"127.0.0.1:{server.port}"
    wrong = [
        (f"redis://:wr0ng@{at}", f"redis://{at}/0 refuses the default user: "),
        (f"redis://{at}", f"redis://{at}/0 refuses the default user: "),
        (f"redis://:s3cret@{at}/99", f"redis://{at}/99 answered: DB index is out of range; name a database that"),
        (f"rediss://:s3cret@{at}?connect_timeout=0.5", f"rediss://{at}/0 speaks no TLS; write redis:// to do without"),
    ]

    for url, told in wrong:
        for command in COMMANDS if url is wrong[0][0] else COMMANDS[:1]:
            ended = main([*command, "--backend", url])

            out, err = capsys.readouterr()
            (line,) = err.splitlines()
            assert (ended, out, line[: len("necrostack: error: ") + len(told)]) == (1, "", f"necrostack: error: {told}")
            assert "wr0ng" not in line
            assert "s3cret" not in line


def test_a_letter_that_somebody_else_redrove_or_discarded_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = bury(url, 3)

    async def somebody_else() -> None:
        async with RedisBackend(url) as backend:
            assert await backend.admin.redrive(first.id) == 1
            assert await backend.admin.discard(second.id) == 1

    asyncio.run(somebody_else())
    for words, code, told in (
        (["redrive", first.id, third.id, "--yes"], 7, f"necrostack: error: {first.id} went again before, at 2"),
        (["redrive", first.id, "--yes"], 1, f"necrostack: error: {first.id} went again before, at 2"),
        (["edit", first.id], 1, f"necrostack: error: {first.id} went again before, at 2"),
        (["discard", second.id, "--yes"], 5, f"necrostack: error: there is no dead letter '{second.id}'; dlq list"),
    ):
        assert main(["dlq", *words, "--backend", url]) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(told)

    assert queued(url) == 2


# --- a terminal that closes -----------------------------------------------------------------------------


class AtTerminal:
    """A command at a terminal of its own, which can be closed."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:  # pragma: no cover -- another process
            os.execv(sys.executable, [sys.executable, "-m", "necrostack", *argv])  # noqa: S606 -- no shell is wanted

    def wait_for(self, what: bytes) -> None:
        """Wait until it shows something."""
        shown, deadline = b"", time.monotonic() + TIMEOUT
        while what not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([self._terminal], [], [], 0.5)[0]:
                try:
                    shown += os.read(self._terminal, 65536)
                except OSError as error:  # EIO on Linux
                    pytest.fail(f"it ended, with {error}, having shown {shown!r}")

    def close(self) -> int:
        """Close the terminal, and return the command's exit code."""
        os.close(self._terminal)
        deadline = time.monotonic() + TIMEOUT
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.02)


def test_a_terminal_that_closes_ends_what_repairs_between_two_letters(url: str) -> None:
    bury(url, 30)
    redriving = AtTerminal(["dlq", "redrive", "--backend", url, "--all", "--yes", "--rate", "2"])
    redriving.wait_for(b" of 30 redriven, ")

    code = redriving.close()

    assert code == 130
    assert 0 < queued(url) < 30

"""The command line in processes of its own: signals, pipes, and feeds that are endless, huge or broken."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from cli_progress import is_progress

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")

TIMEOUT = 50.0

APP = '''\
import asyncio
import resource
import threading

from necrostack import Event, Organ, Spine


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Printer(Organ):
    listens_to = ["NUMBER"]

    def handle(self, event: Event) -> Event:
        print(event.payload["n"], flush=True)
        return Event(event_type="PRINTED", payload={})


class Counter(Organ):
    listens_to = ["PRINTED"]

    async def handle(self, event: Event) -> None:
        await asyncio.sleep(0)


class Hooks(Organ):
    listens_to = ["NOTHING"]

    def handle(self, event: Event) -> None: ...

    async def startup(self) -> None:
        print("started", flush=True)

    async def shutdown(self) -> None:
        print("shut down", flush=True)


class Waits(Organ):
    listens_to = ["NUMBER"]

    async def handle(self, event: Event) -> None:
        print("begun", flush=True)
        await asyncio.Event().wait()


class Holds(Organ):
    listens_to = ["NUMBER"]

    def handle(self, event: Event) -> None:
        print("begun", flush=True)
        threading.Event().wait()


class Exits(Organ):
    listens_to = ["NUMBER"]

    def handle(self, event: Event) -> None:
        if event.payload["n"] == 3:
            raise SystemExit(9)


class Peaks(Organ):
    """Prints how much memory was used at the most, in kilobytes: at the start, after some events, and at the end."""

    listens_to = ["NUMBER"]
    handled = 0

    async def startup(self) -> None:
        print(peak(), flush=True)

    async def handle(self, event: Event) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        self.handled += 1
        if self.handled in (2_000, 17_000):
            print(peak(), flush=True)

    async def shutdown(self) -> None:
        print(peak(), flush=True)


printer = Spine([Printer(), Counter()])
hooks = Spine([Hooks()])
waits = Spine([Waits()])
holds = Spine([Holds()])
exits = Spine([Exits()])
peaks = Spine([Peaks()])
'''

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the command line in the test's folder, where `app` is."""
    (tmp_path / "app.py").write_text(APP)
    started: list[subprocess.Popen[str]] = []

    def run(
        *argv: str, stdin: int | IO[bytes] | None = subprocess.DEVNULL, stderr: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "necrostack", *argv],
            cwd=tmp_path,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def number(n: int) -> str:
    return json.dumps({"event_type": "NUMBER", "payload": {"n": n}}) + "\n"


def feed(folder: Path, numbers: range) -> None:
    (folder / "numbers.ndjson").write_text("".join(map(number, numbers)))


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def rest_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for the end; what was not read of stdout, and all of stderr.

    Not `communicate()`: it does not see what a `readline()` before it has read ahead.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(TIMEOUT)
    return out, err


def told(err: str) -> list[str]:
    """The lines on stderr that are neither log nor progress, which a slow machine gets to see."""
    return [line for line in err.splitlines() if not (line.startswith("{") or is_progress(line))]


def logged(err: str, event: str) -> dict[str, object]:
    """The one line of the log with this event."""
    (line,) = [line for line in err.splitlines() if f'"event": "{event}"' in line]
    facts: dict[str, object] = json.loads(line)
    return facts


# --- signals --------------------------------------------------------------------------------------------


def test_a_feed_that_is_interrupted_and_gone_on_with_is_handled_once(start: Start, tmp_path: Path) -> None:
    feed(tmp_path, range(30_000))

    interrupted = start("run", "app:printer", "--feed", "numbers.ndjson", "--until-idle", "--json")
    assert first_line(interrupted) == "0"
    interrupted.send_signal(signal.SIGINT)
    out, err = rest_of(interrupted)
    *printed, report = out.splitlines()
    (note,) = told(err)
    found = re.fullmatch(r"necrostack: stopped by SIGINT: (\d+) lines are kept, --from-line (\d+) goes on", note)
    assert found is not None, note
    rest = start("run", "app:printer", "--feed", "numbers.ndjson", "--until-idle", "--from-line", found[2])
    rest_out, _ = rest_of(rest)
    numbers = ["0", *printed, *[line for line in rest_out.splitlines() if line.isdecimal()]]

    assert (interrupted.returncode, rest.returncode) == (130, 0)
    assert int(found[1]) < 30_000
    assert json.loads(report)["feed"]["next_line"] == int(found[2])
    assert numbers == [str(n) for n in range(30_000)]


def test_a_feed_from_stdin_is_stopped_while_it_waits_for_more(start: Start) -> None:
    process = start("run", "app:printer", "--feed", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    for n in range(3):
        process.stdin.write(number(n))
        process.stdin.flush()
        assert first_line(process) == str(n)

    process.send_signal(signal.SIGTERM)
    # stdin stays open until the process has ended.
    assert process.wait(TIMEOUT) == 0
    _, err = rest_of(process)

    assert told(err) == ["necrostack: stopped by SIGTERM: 3 lines are kept, --from-line 4 goes on"]


def test_sigterm_is_a_graceful_end(start: Start) -> None:
    process = start("run", "app:hooks")
    assert first_line(process) == "started"

    process.send_signal(signal.SIGTERM)
    out, err = rest_of(process)

    assert process.returncode == 0
    assert out.startswith("shut down\norgan ")
    assert told(err) == []


def test_ctrl_c_drains_and_ends_as_interrupted(start: Start) -> None:
    process = start("run", "app:hooks")
    assert first_line(process) == "started"

    process.send_signal(signal.SIGINT)
    out, _ = rest_of(process)

    assert process.returncode == 130
    assert out.startswith("shut down\n")


@pytest.mark.parametrize("app", ["app:waits", "app:holds"])
def test_a_second_signal_ends_what_does_not_end_by_itself(start: Start, tmp_path: Path, app: str) -> None:
    feed(tmp_path, range(5))
    process = start("run", app, "--feed", "numbers.ndjson")
    assert first_line(process) == "begun"

    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    _, err = rest_of(process)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert "gone with this process's memory; --from-line 1 goes on" in err


def test_what_the_drain_has_no_time_for_is_told_with_the_line_to_begin_again(start: Start, tmp_path: Path) -> None:
    feed(tmp_path, range(5))
    process = start("run", "app:waits", "--feed", "numbers.ndjson", "--drain-timeout", "0")
    assert first_line(process) == "begun"

    process.send_signal(signal.SIGTERM)
    _, err = rest_of(process)

    assert process.returncode == 0
    (note,) = told(err)
    assert re.fullmatch(
        r"necrostack: stopped by SIGTERM: \d events? not handled, and gone with this process's memory; "
        r"--from-line 1 goes on with the first line that was not finished",
        note,
    )


def test_a_handler_that_ends_the_process_does_not_hide_what_is_left(start: Start, tmp_path: Path) -> None:
    feed(tmp_path, range(5))

    process = start("run", "app:exits", "--feed", "numbers.ndjson", "--until-idle")
    _, err = process.communicate(timeout=TIMEOUT)

    assert process.returncode == 9
    assert "Traceback" not in err
    assert "--from-line 4 goes on with the first line that was not finished" in told(err)[0]


# --- a terminal -----------------------------------------------------------------------------------------


def test_on_a_terminal_it_shows_how_far_it_is_and_clears_that_away(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen, terminal = os.openpty()
    process = start("run", "app:printer", "--feed", "-", stdin=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    assert process.stdin is not None
    process.stdin.write(number(1) + number(2))
    process.stdin.flush()

    with os.fdopen(screen, "rb", buffering=0) as shown:
        seen = shown.read(4096)
        while b"2 lines kept, 4 handled" not in seen:
            seen += shown.read(4096)
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0
        with suppress(OSError):  # Linux ends a terminal that nobody writes to any more with EIO
            while more := shown.read(4096):
                seen += more

    # What comes after the status line begins on a clean line.
    *_, status, told_at_last = seen.rpartition(b"necrostack: stopped by SIGTERM")[0].rpartition(b"/s")
    assert status == b"/s"
    assert told_at_last.startswith(b"\r\x1b[K")


# --- pipes ----------------------------------------------------------------------------------------------


def test_a_reader_that_stops_early_is_no_trouble_and_the_work_is_done(start: Start, tmp_path: Path) -> None:
    feed(tmp_path, range(5_000))
    process = start("run", "app:printer", "--feed", "numbers.ndjson", "--until-idle")
    assert first_line(process) == "0"
    assert process.stdout is not None

    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()

    assert process.wait(TIMEOUT) == 0
    assert told(err) == []
    assert logged(err, "run_stopped")["handled"] == 10_000
    assert logged(err, "run_stopped")["failed"] == 0


@pytest.mark.parametrize("command", ["graph", "schema"])
def test_the_graph_of_the_example_fits_into_a_pipe_that_is_closed_at_once(start: Start, command: str) -> None:
    process = start(command, "app:printer")
    assert process.stdout is not None

    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()

    assert (process.wait(TIMEOUT), err) == (0, "")


# --- feeds ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
def test_memory_stays_bounded_while_an_endless_stdin_is_fed(start: Start) -> None:
    line = json.dumps({"event_type": "NUMBER", "payload": {"n": 1, "text": "x" * 2000}})
    endless = f"import sys\nwhile True: sys.stdout.write({line!r} + chr(10))"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", endless], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as writer:
        try:
            process = start("run", "app:peaks", "--feed", "-", stdin=writer.stdout)
            assert writer.stdout is not None
            writer.stdout.close()
            _, early, late = (int(first_line(process)) for _ in range(3))
            process.send_signal(signal.SIGTERM)
            _, err = rest_of(process)
        finally:
            writer.kill()  # or else it is waited for, for ever

    # 15,000 lines of 2 kB came in between: 30 MB, if they were kept.
    assert late - early < 10_000
    assert process.returncode == 0
    assert re.search(r"(\d+) lines are kept, --from-line", err)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
@pytest.mark.parametrize(("on_bad_line", "code", "handled"), [("stop", 1, 1), ("skip", 7, 2)])
@pytest.mark.parametrize("packed", [False, True])
def test_a_line_of_fifty_megabytes_is_never_held_in_memory(
    start: Start, tmp_path: Path, packed: bool, on_bad_line: str, code: int, handled: int
) -> None:
    long = b"x" * 50_000_000
    data = number(1).encode() + long + b"\n" + number(2).encode()
    (tmp_path / "feed").write_bytes(gzip.compress(data, 1) if packed else data)

    process = start("run", "app:peaks", "--feed", "feed", "--until-idle", "--on-bad-line", on_bad_line, "--json")
    out, err = process.communicate(timeout=TIMEOUT)

    at_first, at_last, report = out.splitlines()
    assert process.returncode == code
    assert int(at_last) - int(at_first) < 15_000
    assert json.loads(report)["handled"] == handled
    assert "feed, line 2: it is longer than the 1114112 bytes that a line may have" in told(err)[0]
    skipped = tmp_path / "feed.skipped.ndjson"
    assert (skipped.read_bytes() == long + b"\n") if on_bad_line == "skip" else not skipped.exists()


def test_an_example_of_everything_that_can_be_wrong_with_a_feed_is_told_line_by_line(
    start: Start, tmp_path: Path
) -> None:
    bad = {
        2: b"\xff\xfe",
        4: b"not json",
        5: b'{"event_type": "NUMBER", "payload": [1]}',
        7: b'{"event_type": "\\u0001"}',
        8: b'{"event_type": "NUMBER", "payload": ' + b'{"n":' * 500 + b"1" + b"}" * 501,
        9: b'{"event_type": "NUMBER", "payload": {"n": ' + b"9" * 5000 + b"}}",
        10: b'{"event_type": "NUMBER", "payload": {"n": "\\ud800"}}',
        11: b'{"event_type": "NUMBER", "payload": {}, "hops": -1}',
        12: b"\0\0\0",
    }
    lines = [bad.get(n, number(n).strip().encode()) for n in range(1, 14)]
    (tmp_path / "feed").write_bytes(b"\n".join(lines))

    process = start("run", "app:printer", "--feed", "feed", "--until-idle", "--on-bad-line", "skip", "--json")
    out, err = process.communicate(timeout=TIMEOUT)

    *printed, report = out.splitlines()
    assert process.returncode == 7
    assert printed == ["1", "3", "6", "13"]
    assert (json.loads(report)["feed"]["kept"], json.loads(report)["feed"]["skipped"]) == (4, 9)
    assert [int(found[1]) for line in told(err) if (found := re.match(r"necrostack: feed, line (\d+): ", line))] == [
        *bad
    ]
    assert (tmp_path / "feed.skipped.ndjson").read_bytes() == b"".join(line + b"\n" for line in bad.values())


def test_a_packed_feed_from_stdin_that_breaks_off_is_told(start: Start, tmp_path: Path) -> None:
    packed = gzip.compress("".join(map(number, range(2000))).encode())
    (tmp_path / "cut.gz").write_bytes(packed[:-20])

    with (tmp_path / "cut.gz").open("rb") as cut:
        process = start("run", "app:printer", "--feed", "-", "--until-idle", stdin=cut)
        out, err = process.communicate(timeout=TIMEOUT)

    printed = [line for line in out.splitlines() if line.isdecimal()]
    assert process.returncode == 1
    assert printed == [str(n) for n in range(len(printed))]
    assert f"stdin, after line {len(printed)}: its gzip data ends too early" in told(err)[0]


def test_skipped_lines_of_stdin_are_kept_in_the_working_folder(start: Start, tmp_path: Path) -> None:
    process = start("run", "app:printer", "--feed", "-", "--until-idle", "--on-bad-line", "skip", stdin=subprocess.PIPE)
    process.communicate("nope\n" + number(1), timeout=TIMEOUT)

    assert process.returncode == 7
    assert (tmp_path / "stdin.skipped.ndjson").read_text() == "nope\n"

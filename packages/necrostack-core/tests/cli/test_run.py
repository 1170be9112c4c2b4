"""`necrostack run`, in this process: what it handles, says, and ends with."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli.conftest import Run, Write


def test_a_feed_is_handled_to_its_end_and_summed_up(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write(1, 2, -3), "--until-idle")

    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[:6] == [
        "doubled 2",
        "doubled 4",
        "organ    handled  emitted  failed  retried  dead-lettered",
        "-------  -------  -------  ------  -------  -------------",
        "Doubler        3        2       1        0              1",
        "Printer        2        0       0        0              0",
    ]
    assert lines[6].startswith("5 deliveries handled in ")
    assert lines[7:] == ["3 lines of counts.ndjson kept", "1 dead letter: the log says why"]


def test_the_report_as_json_is_the_last_line(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write(1, "nope", 2), "--until-idle", "--json", "--on-bad-line", "skip")

    *printed, last = ended.out.splitlines()
    report = json.loads(last)
    assert printed == ["doubled 2", "doubled 4"]
    assert (report["handled"], report["emitted"], report["organs"]["Printer"]["handled"]) == (4, 2, 2)
    assert report["feed"] == {
        "name": "counts.ndjson",
        "kept": 2,
        "skipped": 1,
        "skipped_file": "counts.ndjson.skipped.ndjson",
        "next_line": 4,
        "complete": True,
        "error": None,
    }


def test_without_a_feed_it_ends_when_nothing_is_left(necrostack: Run, app: str) -> None:
    ended = necrostack("run", app, "--until-idle", "--json")

    assert ended.code == 0
    assert json.loads(ended.out)["handled"] == 0
    assert "feed" not in json.loads(ended.out)


def test_a_bad_line_stops_the_feed_and_says_how_to_go_on(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write(1, "", 2, "[]", 3), "--until-idle")

    assert ended.code == 1
    (told,) = ended.told
    assert told.startswith("necrostack: error: counts.ndjson, line 4: this is not an event: ")
    assert told.endswith("; 2 lines are kept, --from-line 4 goes on when it is mended")
    assert ended.out.startswith("doubled 2\ndoubled 4\norgan")


def test_it_goes_on_from_the_line_that_it_named(necrostack: Run, app: str, write: Write) -> None:
    name = write(1, "", 2, 7, 3)

    ended = necrostack("run", app, "--feed", name, "--until-idle", "--from-line", "4")

    assert ended.code == 0
    assert ended.out.splitlines()[:2] == ["doubled 14", "doubled 6"]


def test_skipped_lines_are_kept_beside_and_the_work_is_done_in_part(
    necrostack: Run, app: str, write: Write, folder: Path
) -> None:
    ended = necrostack("run", app, "--feed", write(1, "nope", b"\xff", 2), "--until-idle", "--on-bad-line", "skip")

    assert ended.code == 7
    assert (folder / "counts.ndjson.skipped.ndjson").read_bytes() == b"nope\n\xff\n"
    assert [line.split(": ")[1] for line in ended.told] == ["counts.ndjson, line 2", "counts.ndjson, line 3"]
    assert "2 lines of counts.ndjson kept, 2 skipped and kept in counts.ndjson.skipped.ndjson" in ended.out


def test_a_payload_that_its_class_refuses_is_a_bad_line(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write('{"event_type": "CLI_COUNTED", "payload": {"n": "x"}}'))

    assert ended.code == 1
    assert "line 1: this is not an event: payload.n: Input should be a valid integer" in ended.told[0]


def test_a_packed_feed_is_read_whatever_it_is_called(necrostack: Run, app: str, write: Write, folder: Path) -> None:
    name = write(1, 2)
    (folder / name).write_bytes(gzip.compress((folder / name).read_bytes()))

    assert necrostack("run", app, "--feed", name, "--until-idle").out.startswith("doubled 2\ndoubled 4\n")


def test_a_packed_feed_that_breaks_off_keeps_its_whole_lines(
    necrostack: Run, app: str, write: Write, folder: Path
) -> None:
    name = write(*range(5000))
    packed = gzip.compress((folder / name).read_bytes())
    (folder / name).write_bytes(packed[: len(packed) // 2])

    ended = necrostack("run", app, "--feed", name, "--until-idle", "--json")

    feed = json.loads(ended.out.splitlines()[-1])["feed"]
    kept = feed["kept"]
    assert ended.code == 1
    assert 0 < kept < 5000
    assert feed["next_line"] == kept + 1
    (told,) = ended.told
    assert f"counts.ndjson, after line {kept}: its gzip data ends too early" in told
    assert f"; {kept} lines are kept, --from-line {kept + 1} goes on when it is mended" in told
    assert ended.out.count("doubled") == kept


@pytest.mark.parametrize("name", ["absent.ndjson", "counts.ndjson/below", "."])
def test_a_feed_that_is_no_file_is_not_found(necrostack: Run, app: str, write: Write, name: str) -> None:
    write(1)

    ended = necrostack("run", app, "--feed", name)

    assert ended.code == 5
    assert repr(name) in ended.told[0]


@pytest.mark.parametrize(
    ("lines", "arguments", "note"),
    [
        ([], [], "counts.ndjson holds no events"),
        (["", " ", ""], [], "counts.ndjson holds no events"),
        ([1, 2], ["--from-line", "3"], "counts.ndjson holds no events from line 3 on"),
    ],
)
def test_a_feed_without_events_is_no_error_but_is_told(
    necrostack: Run, app: str, write: Write, lines: list[int | str], arguments: list[str], note: str
) -> None:
    ended = necrostack("run", app, "--feed", write(*lines), "--until-idle", *arguments)

    assert (ended.code, ended.told) == (0, [f"necrostack: {note}"])


def test_check_names_the_bad_lines_and_enqueues_nothing(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write(1, "nope", 2, "[]"), "--check", "--until-idle")

    assert (ended.code, ended.out) == (6, "")
    first, second, last = ended.told
    assert first.startswith("necrostack: error: counts.ndjson, line 2: ")
    assert second.startswith("necrostack: error: counts.ndjson, line 4: ")
    assert last == "necrostack: error: 2 of 4 lines of counts.ndjson are no events; nothing was enqueued"


def test_check_names_no_more_bad_lines_than_anybody_reads(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write(*["nope"] * 50), "--check")

    assert len(ended.told) == 21
    assert "50 of 50 lines" in ended.told[-1]


def test_check_finds_a_packed_feed_that_breaks_off(necrostack: Run, app: str, write: Write, folder: Path) -> None:
    name = write(*range(1000))
    (folder / name).write_bytes(gzip.compress((folder / name).read_bytes())[:-9])

    ended = necrostack("run", app, "--feed", name, "--check")

    assert (ended.code, ended.out) == (6, "")
    assert "its gzip data ends too early" in ended.told[0]


def test_a_checked_feed_without_bad_lines_is_run(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write(1), "--check", "--until-idle")

    assert ended.code == 0
    assert ended.told == ["necrostack: 1 line of counts.ndjson checked, nothing is wrong"]
    assert ended.out.startswith("doubled 2\n")


@pytest.mark.parametrize("arguments", [[], ["--feed", "-"]])
def test_check_needs_a_file(necrostack: Run, app: str, arguments: list[str]) -> None:
    ended = necrostack("run", app, "--check", *arguments)

    assert ended.code == 2
    assert "--check reads a feed twice; name a file with --feed FILE" in ended.told[0]


def test_max_steps_ends_the_run_with_its_report_and_how_to_go_on(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write(*range(10)), "--until-idle", "--max-steps", "4", "--json")

    assert ended.code == 1
    assert json.loads(ended.out.splitlines()[-1])["handled"] == 4
    assert "max_steps=4" in ended.told[0]
    assert "gone with this process's memory; --from-line 1 goes on" in ended.told[1]


def test_a_small_backend_is_waited_for(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack(
        "run", app, "--feed", write(*range(300)), "--until-idle", "--backend", "memory://?max_size=2", "--json"
    )

    report = json.loads(ended.out.splitlines()[-1])
    assert (ended.code, report["handled"], report["feed"]["kept"]) == (0, 600, 300)


def test_more_deliveries_at_once_is_a_setting(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write(*range(50)), "--until-idle", "--concurrency", "8", "--json")

    assert json.loads(ended.out.splitlines()[-1])["handled"] == 100


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("async def startup(self): raise OSError('no database')", "OSError: no database"),
        ("async def shutdown(self): raise OSError('not closed')", "OSError: not closed, in Faulty.shutdown()"),
    ],
)
def test_a_hook_that_fails_is_told_with_its_place(necrostack: Run, folder: Path, source: str, message: str) -> None:
    (folder / "cli_faulty.py").write_text(
        "from necrostack import Organ, Spine\n"
        "class Faulty(Organ):\n"
        "    listens_to = ['CLI_X']\n"
        "    def handle(self, event): pass\n"
        f"    {source}\n"
        "spine = Spine([Faulty()])\n"
    )

    ended = necrostack("run", "cli_faulty", "--until-idle")

    assert ended.code == 1
    (told,) = ended.told
    assert told.startswith(f"necrostack: error: {message} ({folder / 'cli_faulty.py'}, line 5, in ")


def test_events_that_nobody_listens_to_are_counted(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("run", app, "--feed", write('{"event_type": "CLI_UNHEARD", "payload": {}}'), "--until-idle")

    assert ended.code == 0
    assert "1 delivery that nobody listens to" in ended.out


def test_the_first_line_on_the_path_is_the_working_folder(necrostack: Run, app: str, folder: Path) -> None:
    necrostack("run", app, "--until-idle")

    assert sys.path[0] == str(folder)


def test_verbose_logs_each_delivery_and_shows_tracebacks(necrostack: Run, folder: Path) -> None:
    (folder / "cli_broken.py").write_text("1 / 0\n")

    ended = necrostack("run", "cli_broken", "-v")

    assert ended.code == 3
    assert "Traceback (most recent call last):" in ended.err
    assert ended.told[-1].startswith("necrostack: error: importing 'cli_broken' failed: ZeroDivisionError")


def test_a_backend_out_of_reach_has_its_own_exit_code(necrostack: Run, folder: Path) -> None:
    (folder / "cli_unreachable.py").write_text(
        "from necrostack import InMemoryBackend, Spine\n"
        "from necrostack.errors import BackendUnavailable\n"
        "class Gone(InMemoryBackend):\n"
        "    async def pull(self, *, limit=1, timeout=1.0): raise BackendUnavailable('no answer')\n"
        "spine = Spine([], Gone(), max_outage=0.0)\n"
    )

    ended = necrostack("run", "cli_unreachable", "--until-idle")

    assert ended.code == 4
    assert ended.told == [
        "necrostack: error: the backend was out of reach for 0.0 s, longer than max_outage=0 allows: no answer"
    ]


# --- several workers --------------------------------------------------------------------------------------


def test_workers_on_a_backend_of_each_process_alone_are_refused(necrostack: Run, app: str) -> None:
    ended = necrostack("run", app, "--backend", "memory://", "--workers", "2")

    assert ended.code == 2
    (told,) = ended.told
    assert told.startswith(
        "necrostack: error: --workers: 2 workers need a backend that processes share, and with InMem"
    )
    assert told.endswith("; name another with --backend redis://…, or use --concurrency")


def test_one_worker_is_this_process_itself(necrostack: Run, app: str) -> None:
    ended = necrostack("run", app, "--workers", "1", "--until-idle")

    assert (ended.code, ended.told) == (0, [])


@pytest.mark.parametrize("wanted", ["0", "-1", "two"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(necrostack: Run, app: str, wanted: str) -> None:
    ended = necrostack("run", app, f"--workers={wanted}")

    assert ended.code == 2
    assert f"{wanted!r} is no whole number, 1 or more" in ended.told[0]


STOPPED_BY_A_HANDLER = """
from necrostack import Event, Organ, Spine

class Third(Organ):
    listens_to = ["CLI_TOLD", "CLI_ASIDE"]
    seen = 0

    async def handle(self, event: Event) -> None:
        self.seen += 1
        if self.seen == 1:
            await spine.emit(Event(event_type="CLI_ASIDE"))
        if event.event_type == "CLI_ASIDE":
            print("stopped by", event.event_type)
            spine.stop()

spine = Spine(organs=[Third()])
"""


@pytest.mark.parametrize("more", [(), ("--backend", "memory://"), ("--concurrency", "2"), ("--health", "127.0.0.1:0")])
def test_a_handler_that_stops_the_spine_of_its_module_stops_the_run(
    necrostack: Run, folder: Path, more: tuple[str, ...]
) -> None:
    (folder / "cli_stopping.py").write_text(STOPPED_BY_A_HANDLER, encoding="utf-8")
    (folder / "told.ndjson").write_text('{"event_type": "CLI_TOLD", "payload": {}}\n' * 2, encoding="utf-8")

    ended = necrostack("run", "cli_stopping", "--feed", "told.ndjson", *more)

    assert ended.code == 0
    assert ended.out.startswith("stopped by CLI_ASIDE\n")

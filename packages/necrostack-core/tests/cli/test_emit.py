"""`necrostack emit`: check an event, enqueue it, print its id; and say so when nothing can be kept."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from necrostack import Event
from necrostack.backend import Admin, Backend
from necrostack.errors import BackendUnavailable

if TYPE_CHECKING:
    from cli.conftest import Run, Write


class Listing(Backend):
    """A backend of another kind, which keeps events in a list."""

    def __init__(self) -> None:
        self.kept: list[tuple[Event, float]] = []

    @property
    def admin(self) -> Admin:
        raise NotImplementedError

    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        self.kept += [(event, delay) for event in events]

    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> list[object]:  # type: ignore[override] # unused
        raise NotImplementedError

    async def settle(self, *settlements: object) -> list[bool]:
        raise NotImplementedError

    async def release(self, *deliveries: object) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> Listing:
    """What `--backend lasting://` names."""
    backend = Listing()
    monkeypatch.setattr("necrostack.cli.apps.open_backend", lambda url: backend)
    return backend


BACKEND = ("--backend", "lasting://")


def test_an_event_is_enqueued_as_its_class_and_its_id_is_printed(necrostack: Run, app: str, lasting: Listing) -> None:
    ended = necrostack("emit", app, "CLI_COUNTED", '{"n": 1}', *BACKEND)

    ((event, delay),) = lasting.kept
    assert (ended.code, ended.out, ended.err) == (0, f"{event.id}\n", "")
    assert (type(event).__name__, event.payload.n, delay) == ("Counted", 1, 0.0)


def test_without_an_app_any_event_type_will_do(necrostack: Run, lasting: Listing) -> None:
    ended = necrostack("emit", "a:b", "--delay", "2.5", *BACKEND)

    ((event, delay),) = lasting.kept
    assert ended.code == 0
    assert (event.event_type, dict(event.payload), delay) == ("a:b", {}, 2.5)


def test_json_prints_an_object_for_each_event(necrostack: Run, lasting: Listing) -> None:
    ended = necrostack("emit", "CLI_PLAIN", "{}", "--json", *BACKEND)

    assert json.loads(ended.out) == {"id": str(lasting.kept[0][0].id), "event_type": "CLI_PLAIN"}


def test_the_payload_may_come_from_a_file_or_stdin(
    necrostack: Run, folder: Path, lasting: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "payload.json").write_text('{\n  "from": "file"\n}\n')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"from": "stdin"}')))

    necrostack("emit", "CLI_PLAIN", "@payload.json", *BACKEND)
    necrostack("emit", "CLI_PLAIN", "-", *BACKEND)

    assert [dict(event.payload) for event, _ in lasting.kept] == [{"from": "file"}, {"from": "stdin"}]


def test_with_memory_it_says_that_nothing_was_kept(necrostack: Run, app: str) -> None:
    ended = necrostack("emit", app, "CLI_COUNTED", '{"n": 1}')

    assert ended.code == 0
    assert str(UUID(ended.out.strip())) == ended.out.strip()
    assert ended.told[0].startswith("necrostack: nothing was kept: memory:// ends with this process")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["CLI_COUNTED", '{"n": "x"}'], 1, "CLI_COUNTED: this is not an event: payload.n: Input should be a valid"),
        ([" ", "{}"], 1, "event_type"),
        (["CLI_PLAIN", "{n}"], 2, "the payload is not JSON"),
        (["CLI_PLAIN", "[1]"], 2, "the payload is [1]; it must be a JSON object"),
        (["CLI_PLAIN", '{"n": NaN}'], 1, "is nan, which JSON does not have"),
        (["CLI_PLAIN", '{"n": "' + "9" * 1_100_000 + '"}'], 1, "the payload is longer than the 1048576 bytes"),
        (["CLI_PLAIN", "@absent.json"], 5, "there is no file 'absent.json'"),
        (["CLI_PLAIN", "{}", "too", "many"], 2, "name a TYPE and its payload"),
    ],
)
def test_what_is_no_event_is_told(necrostack: Run, app: str, words: list[str], code: int, message: str) -> None:
    ended = necrostack("emit", app, *words)

    assert (ended.code, ended.out) == (code, "")
    (told,) = ended.told
    assert message in told


def test_without_any_word_it_says_what_it_needs(necrostack: Run) -> None:
    ended = necrostack("emit")

    assert (ended.code, ended.out) == (2, "")
    assert "name a TYPE and its payload" in ended.told[0]


def test_a_file_is_enqueued_line_by_line(necrostack: Run, app: str, write: Write, lasting: Listing) -> None:
    ended = necrostack("emit", "--file", write(1, "", 2), app, *BACKEND)

    assert ended.code == 0
    assert ended.out.split() == [str(event.id) for event, _ in lasting.kept]
    assert [event.payload.n for event, _ in lasting.kept] == [1, 2]
    assert ended.told == ["necrostack: 2 lines of counts.ndjson enqueued"]


def test_a_file_with_a_bad_line_is_enqueued_up_to_there(
    necrostack: Run, app: str, write: Write, lasting: Listing
) -> None:
    ended = necrostack("emit", "--file", write(1, 2, "nope", 3), app, *BACKEND)

    assert ended.code == 1
    assert [event.payload.n for event, _ in lasting.kept] == [1, 2]
    assert ended.told[0].endswith("; 2 lines are kept, --from-line 3 goes on when it is mended")


def test_a_file_may_be_enqueued_in_part(necrostack: Run, app: str, write: Write, lasting: Listing) -> None:
    ended = necrostack("emit", "--file", write(1, "nope", 3), app, "--on-bad-line", "skip", *BACKEND)

    assert ended.code == 7
    assert [event.payload.n for event, _ in lasting.kept] == [1, 3]


def test_a_file_is_only_checked_where_nothing_lasts(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("emit", "--file", write(*range(3000)), app, "--backend", "memory://?max_size=5")

    assert (ended.code, len(ended.out.split())) == (0, 3000)
    checked, note = ended.told
    assert checked == "necrostack: 3000 lines of counts.ndjson checked"
    assert note.startswith("necrostack: nothing was kept")


def test_a_file_takes_no_type(necrostack: Run, app: str, write: Write) -> None:
    ended = necrostack("emit", "--file", write(1), app, "CLI_COUNTED")

    assert ended.code == 2
    assert "with --file there is at most an APP" in ended.told[0]


@pytest.mark.parametrize("arguments", [["CLI_PLAIN"], ["--file", "counts.ndjson"]])
def test_a_backend_out_of_reach_has_its_own_exit_code(
    necrostack: Run, write: Write, lasting: Listing, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    write(1)

    async def enqueue(*events: Event, delay: float = 0.0) -> None:
        raise BackendUnavailable("no answer")

    monkeypatch.setattr(lasting, "enqueue", enqueue)
    ended = necrostack("emit", *arguments, *BACKEND)

    assert (ended.code, ended.out) == (4, "")
    assert "no answer" in ended.told[0]

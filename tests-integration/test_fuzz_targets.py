"""What reads bytes from outside answers as documented, soon, in bounded memory: kept inputs, and changes of them.

`nox -s fuzz` looks for more of them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fuzzing import bounds, finding
from fuzzing.__main__ import main
from fuzzing.corpus import CORPUS, mutated, seeds
from fuzzing.shapes import SHAPES
from fuzzing.targets import TARGETS, Target, Work
from hypothesis import example, given, settings
from hypothesis import strategies as st

from necrostack import Event
from necrostack.errors import EventError, NecroStackError

SLOW = ("arguments", "feed", "urls")
"""Those of which an input takes milliseconds."""

by_name = pytest.mark.parametrize("name", TARGETS)


def attempt(target: Target, data: bytes, told: str) -> None:
    """Try an input; what goes wrong says which one it was."""
    try:
        target.run(data)
    except Exception as error:
        error.add_note(f"{target.name} of {told}: {data[:500]!r}")
        raise


def test_every_target_has_inputs_whose_names_say_what_they_are() -> None:
    kept = {name: seeds(name) for name in TARGETS}

    assert {folder.name for folder in CORPUS.iterdir()} == {*TARGETS} == {*SHAPES}
    assert sum(map(len, kept.values())) >= 300
    assert all(re.fullmatch("[a-z0-9-]+", name) for names in kept.values() for name in names)


@by_name
def test_every_kept_input_is_answered_as_documented(name: str) -> None:
    for told, data in seeds(name).items():
        attempt(TARGETS[name], data, told)


@by_name
def test_changes_of_kept_inputs_are_answered_as_documented(name: str) -> None:
    for number, data in enumerate(mutated(name, 100 if name in SLOW else 300, seed=1)):
        attempt(TARGETS[name], data, f"change {number}")


@by_name
def test_any_bytes_are_answered_as_documented(name: str) -> None:
    @settings(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
    @example(b"")
    def answered(data: bytes) -> None:
        attempt(TARGETS[name], data, "any bytes")

    answered()


@by_name
def test_the_dearest_inputs_have_their_price(name: str) -> None:
    target = TARGETS[name]
    for told, shape in SHAPES[name].items():
        cost = bounds.check_cost(target, shape.of(2**13))  # `nox -s fuzz` goes on to the largest that there is
        print(f"{name} {told}: {cost.seconds_per_mib:.2f} s/MiB, {cost.times_its_size:.0f} bytes for one")


# --- the checks find something -----------------------------------------------------------------------------


def test_an_error_that_nobody_declared_is_found() -> None:
    def raises(data: bytes) -> None:
        finding.read_or_none(lambda: data.decode(), EventError)

    with pytest.raises(UnicodeDecodeError):
        raises(b"\xff")


def test_what_comes_back_as_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    to_json = Event.to_json
    monkeypatch.setattr(Event, "to_json", lambda event: to_json(event).replace(b'"n":1', b'"n":2'))

    with pytest.raises(finding.Finding, match="an event came back as another one"):
        TARGETS["event"].run(seeds("event")["plain"])


def test_a_password_that_shows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaks(url: str, options: object) -> None:
        raise NecroStackError(url)

    monkeypatch.setattr("fuzzing.asking.read_url", leaks)
    monkeypatch.setattr("fuzzing.asking.ConfigurationError", NecroStackError)

    with pytest.raises(finding.Finding, match="a password shows"):
        TARGETS["urls"].run(b"@host")


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (lambda data: [bytes(len(data)) for _ in range(200)], "100000 bytes take .* MiB, more than"),
        (lambda data: sum(data.count(data[-8:]) for _ in range(1000)), "100000 bytes take .* s, more than"),
    ],
    ids=["memory", "time"],
)
def test_what_takes_too_much_is_found(work: Work, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SECONDS_FOR_ANY", 0.02)
    monkeypatch.setattr(bounds, "SECONDS_PER_MIB", 0.02)

    with pytest.raises(finding.Finding, match=told):
        bounds.check_cost(Target("takes", work, work), bytes(100_000))


def test_a_found_input_is_shown_again_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "found").write_bytes(b"\xff\x1b[2J")

    code = main(["urls", "--replay", str(tmp_path / "found")])

    assert code == 0
    assert capsys.readouterr().out.startswith("urls: nothing found; Cost(size=5, ")

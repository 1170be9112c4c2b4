"""Times, spans, columns and progress: how they are written and shown."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

import pytest

from necrostack.cli.columns import Columns, cut
from necrostack.cli.meter import Meter
from necrostack.cli.printable import printable
from necrostack.cli.terminal import Terminal
from necrostack.cli.times import moment, span


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("2h", 7200), ("1d12h", 129_600), ("1w", 604_800), ("0s", 0)]
)
def test_a_time_may_be_so_long_ago(text: str, seconds: int) -> None:
    now = datetime.now(UTC)

    assert abs(now - moment(text) - timedelta(seconds=seconds)) < timedelta(seconds=30)


def test_a_time_before_all_times_is_the_first_one() -> None:
    assert moment("999999999d") == datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-03-01T12:00:00Z", "2026-03-01T14:00+02:00", "20260301T120000Z"])
def test_a_time_may_be_iso_with_its_offset(text: str) -> None:
    assert moment(text) == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "10", "10 minutes", "m", "-5m", "noon", "2026-13-01T00:00:00Z", "12:00"])
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time; write 2026-03-01T12:00:00Z, or so long ago"):
        moment(text)


@pytest.mark.parametrize("text", ["2026-03-01", "2026-03-01T00:00"])
def test_a_time_without_an_offset_is_refused_with_both_that_it_may_be(text: str) -> None:
    with pytest.raises(
        argparse.ArgumentTypeError, match=r"2026-03-01T00:00:00Z for UTC, or .*\+02:00 with your offset"
    ):
        moment(text)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0.0s"), (9.94, "9.9s"), (60, "1m"), (3600, "1h"), (90_061, "1d1h"), (1e6, "1w4d")]
)
def test_a_span_is_shown_in_its_two_largest_units(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_columns_are_as_wide_as_the_rows_that_came_first(capsys: pytest.CaptureFixture[str]) -> None:
    columns = Columns(Terminal(), "a", "b", "c")
    columns.row("日本", "x", "one\ntwo")
    columns.row("1", "long", "")
    columns.flush()
    columns.row("1", "longer", "z")

    assert capsys.readouterr().out.splitlines() == [
        "a     b     c",
        "日本  x     one\\ntwo",
        "1     long",
        "1     longer  z",
    ]


@pytest.mark.parametrize(
    ("width", "payload", "lines"),
    [
        (52, "日本" * 20, [f"12345678  {'日本' * 10}…"]),
        (20, "日本" * 20, ["12345678", f"    {'日本' * 3}日…"]),
        (20, "0123456789", ["12345678  0123456789"]),
    ],
)
def test_where_a_person_looks_the_last_column_is_cut_or_has_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, payload: str, lines: list[str]
) -> None:
    monkeypatch.setattr("necrostack.cli.columns.stdout_width", lambda: width)
    columns = Columns(Terminal(), "id", "payload")
    columns.row("12345678", payload)
    columns.flush()

    assert capsys.readouterr().out.splitlines()[1:] == lines


def test_what_moves_the_cursor_is_written_as_an_escape() -> None:
    assert printable("\x1b[31m\x9b \u202e\udc80\t") == "\\x1b[31m\\x9b \\u202e\\udc80\\t"
    assert cut("", 0) == ""
    assert cut("abc", 1) == "…"


def test_progress_is_shown_only_where_a_person_looks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 0.1, 1.0, 2.0])
    monkeypatch.setattr("necrostack.cli.meter.time.monotonic", lambda: next(moments))
    monkeypatch.setattr(Terminal, "is_watched", property(lambda _: True))
    monkeypatch.setenv("NO_COLOR", "1")
    meter = Meter(Terminal(), "redriven", 100)

    for count in (1, 10, 50):
        meter.at(count)

    shown = capsys.readouterr().err.split("\r")
    assert len(shown) == 3
    assert "10 of 100 redriven, 10/s, 9.0s left" in shown[1]
    assert "50 of 100 redriven, 25/s, 2.0s left" in shown[2]


def test_where_nobody_watches_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 5.0, 20.0, 25.0, 50.0])
    monkeypatch.setattr("necrostack.cli.meter.time.monotonic", lambda: next(moments))
    meter = Meter(Terminal(), "redriven", 100)

    for count in (10, 20, 30, 80):
        meter.at(count)

    assert capsys.readouterr().err.splitlines() == [
        "necrostack: 20%: 20 of 100 redriven, 1/s, 1m20s left",
        "necrostack: 80%: 80 of 100 redriven, 2/s, 12s left",
    ]


def test_what_is_left_is_known_by_how_much_of_a_file_was_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 30.0])
    monkeypatch.setattr("necrostack.cli.meter.time.monotonic", lambda: next(moments))

    Meter(Terminal(), "checked").at(600, 0.75)

    assert capsys.readouterr().err == "necrostack: 75%: 600 checked, 20/s, 10s left\n"

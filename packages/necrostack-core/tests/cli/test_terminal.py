"""What is shown: tables, a status line that never stays behind, colour only where a person looks."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path

import pytest

from necrostack.cli.terminal import CLEAR_LINE, Terminal, quiet_pipes


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def on_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Make stdout and stderr a terminal. No fixture: pytest sets both again before the test begins."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    return screen


ROWS = [["Billing", 10, 0], ["Shipping", 9, 1]]


def test_a_table_in_a_pipe_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().table(("organ", "handled", "failed"), ROWS)

    assert capsys.readouterr().out == (
        "organ     handled  failed\n--------  -------  ------\nBilling        10       0\nShipping        9       1\n"
    )


def test_a_table_on_a_terminal_shows_failures_in_red(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    monkeypatch.delenv("NO_COLOR", raising=False)

    Terminal().table(("organ", "handled", "failed"), ROWS)

    assert re.findall(r"\x1b\[31m *(\d+)", screen.getvalue()) == ["1"]


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")

    terminal = Terminal()
    terminal.table(("organ", "handled", "failed"), ROWS)
    terminal.status("half of it", 0.5)

    assert "\x1b[3" not in screen.getvalue().replace(CLEAR_LINE, "")


@pytest.mark.parametrize("rich", [True, False])
def test_the_status_line_is_cleared_before_anything_else_is_written(
    monkeypatch: pytest.MonkeyPatch, rich: bool
) -> None:
    screen = on_screen(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    if not rich:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    terminal = Terminal()

    terminal.status("1 line kept", 0.5)
    terminal.note("skipped one")
    terminal.status("2 lines kept", None)
    terminal.text("data")
    terminal.text("more")

    first, second, third, _ = screen.getvalue().split("\n")
    assert first.startswith(CLEAR_LINE)
    assert first.endswith(f" 50% 1 line kept{CLEAR_LINE}necrostack: skipped one")
    assert second == f"{CLEAR_LINE}2 lines kept{CLEAR_LINE}data"
    assert third == "more"


@pytest.mark.parametrize(("done", "bar"), [(0.0, "." * 22), (0.5, "#" * 11 + "." * 11), (1.0, "#" * 22)])
def test_without_rich_the_bar_is_made_of_characters(monkeypatch: pytest.MonkeyPatch, done: float, bar: str) -> None:
    screen = on_screen(monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    Terminal().status("text", done)

    assert screen.getvalue() == f"{CLEAR_LINE}[{bar}] {done:4.0%} text"


@pytest.mark.parametrize("columns", [1, 5, 20, 40])
def test_a_status_line_never_wraps(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    screen = on_screen(monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((columns, 24)))
    monkeypatch.setattr(screen, "fileno", lambda: 2)

    Terminal().status("x" * 100, 0.3)

    assert len(screen.getvalue().removeprefix(CLEAR_LINE)) < max(columns, 2)


def test_nobody_watches_a_pipe_or_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    on_screen(monkeypatch)
    assert Terminal().is_watched

    monkeypatch.setenv("TERM", "dumb")
    assert not Terminal().is_watched

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not Terminal().is_watched


def test_an_error_is_one_line_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().error("this\nis  wrong")

    assert capsys.readouterr().err == "necrostack: error: this is wrong\n"


def test_output_after_the_reader_has_gone_is_dropped_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(sys, "__stdout__", pipe)
        with quiet_pipes():
            print("read", flush=True)
            assert os.read(reading, 10) == b"read\n"
            os.close(reading)

            print("not read any more", flush=True)
            print("nor this", flush=True)


@pytest.mark.skipif(os.name == "nt", reason="makes a POSIX terminal")
def test_output_after_the_terminal_has_gone_is_dropped_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, terminal = os.openpty()
    with os.fdopen(terminal, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        monkeypatch.setattr(sys, "__stdout__", gone)
        with quiet_pipes():
            print("seen", flush=True)
            os.close(screen)

            print("not seen any more", flush=True)


def test_any_other_trouble_with_output_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as not_for_writing:
        monkeypatch.setattr(sys, "stdout", not_for_writing)
        monkeypatch.setattr(sys, "__stdout__", not_for_writing)

        with pytest.raises(OSError, match="Bad file descriptor"), quiet_pipes():
            print("nowhere to go", flush=True)


def test_a_status_line_of_another_process_is_cleared_away(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.shares_status = True

    terminal.note("beside it")

    assert capsys.readouterr().err == f"{CLEAR_LINE}necrostack: beside it\n"


def test_a_process_without_stdout_writes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)

    with quiet_pipes():
        print("nobody hears this", flush=True)

    assert sys.stdout is None

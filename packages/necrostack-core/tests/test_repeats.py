"""Errors that repeat: the first ones are written, all are counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack.errors import ConfigurationError
from necrostack.repeats import MAX_KINDS, LeftOut, Repeats, Sampling


class Told:
    """What was said of lines that were left out, and a time that stands still unless it is moved."""

    def __init__(self) -> None:
        self.all: list[LeftOut] = []
        self.time = 100.0

    def repeats(self, first: int = 2, window: float = 60.0) -> Repeats:
        return Repeats(Sampling(first=first, window=window), self.all.append, lambda: self.time)


KIND = ("dead_lettered", "Billing", "ValueError")


def test_the_first_lines_of_a_kind_are_written_and_the_others_counted() -> None:
    told = Told()
    repeats = told.repeats(first=2)

    written = [repeats.admit(KIND) for _ in range(5)]
    told.time += 30
    repeats.end()

    assert written == [True, True, False, False, False]
    assert told.all == [LeftOut("dead_lettered", "Billing", "ValueError", 3, 30.0)]


def test_a_kind_that_is_over_is_told_before_its_next_line_is_written() -> None:
    told = Told()
    repeats = told.repeats(first=1)
    repeats.admit(KIND)
    repeats.admit(KIND)

    told.time += 60

    assert repeats.admit(KIND)
    assert [left_out.count for left_out in told.all] == [1]


def test_kinds_do_not_take_from_each_other() -> None:
    told = Told()
    repeats = told.repeats(first=1)

    assert [repeats.admit(("dead_lettered", organ, error)) for organ in "AB" for error in ("X", "Y")] == [True] * 4
    repeats.end()
    assert told.all == []


def test_what_ended_is_told_once() -> None:
    told = Told()
    repeats = told.repeats(first=1)
    repeats.admit(KIND)
    repeats.admit(KIND)

    repeats.end()
    repeats.end()

    assert len(told.all) == 1


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0, 40)), max_size=60),
    st.integers(1, 4),
)
def test_what_is_written_and_what_is_told_is_all_there_was(lines: list[tuple[str, float]], first: int) -> None:
    told = Told()
    repeats = told.repeats(first=first, window=60.0)
    seen: Counter[str] = Counter()

    for organ, pause in lines:
        told.time += pause
        seen[organ] += repeats.admit(("retry_scheduled", organ, "ValueError"))
    repeats.end()
    for left_out in told.all:
        seen[str(left_out.organ)] += left_out.count

    assert seen == Counter(organ for organ, _ in lines)


def test_any_number_of_kinds_takes_a_bounded_amount_of_memory_and_nothing_is_lost() -> None:
    told = Told()
    repeats = told.repeats(first=1)

    for number in range(MAX_KINDS + 10):
        repeats.admit(("dead_lettered", "A", f"Error{number}"))
        repeats.admit(("dead_lettered", "A", f"Error{number}"))

    assert len(repeats._windows) == MAX_KINDS
    assert [left_out.error_type for left_out in told.all] == [f"Error{number}" for number in range(10)]


async def test_a_window_ends_by_itself_when_nothing_more_comes() -> None:
    ended = asyncio.Event()
    all_told: list[LeftOut] = []

    def tell(left_out: LeftOut) -> None:
        all_told.append(left_out)
        ended.set()

    repeats = Repeats(Sampling(first=1, window=0.01), tell)
    repeats.admit(KIND)
    repeats.admit(KIND)
    await ended.wait()

    assert [left_out.count for left_out in all_told] == [1]


@pytest.mark.parametrize("wrong", [{"first": 0}, {"first": True}, {"window": -1.0}, {"window": float("nan")}])
def test_figures_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong

    with pytest.raises(ConfigurationError, match=f"{name}="):
        Sampling(**wrong)

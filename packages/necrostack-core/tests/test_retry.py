"""The laws of RetryPolicy, and of what a handler may raise to be run again."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack.errors import ConfigurationError, RetryLater
from necrostack.retry import RetryPolicy

seconds = st.floats(0, 1e308) | st.integers(0, 10**300)
attempts = st.integers(1, 10**6)


@given(seconds, seconds, attempts)
def test_no_delay_is_negative_longer_than_the_longest_or_no_number(base: float, longest: float, attempt: int) -> None:
    policy = RetryPolicy(max_attempts=attempt + 1, base_delay=base, max_delay=longest)

    delay = policy.delay_after(attempt)

    assert delay is not None
    assert 0 <= delay <= float(longest)  # as a float: an integer may have more digits
    assert math.isfinite(delay)


@given(seconds, seconds, attempts)
def test_without_jitter_delays_never_get_shorter(base: float, longest: float, attempt: int) -> None:
    policy = RetryPolicy(max_attempts=10**9, base_delay=base, max_delay=longest, jitter=False)

    sooner, later = policy.delay_after(attempt), policy.delay_after(attempt + 1)

    assert sooner is not None
    assert later is not None
    assert sooner <= later <= float(longest)


@given(st.floats(0, 1000), attempts)
def test_a_drawn_delay_is_never_longer_than_the_one_without_jitter(base: float, attempt: int) -> None:
    drawn = RetryPolicy(max_attempts=10**9, base_delay=base)
    fixed = RetryPolicy(max_attempts=10**9, base_delay=base, jitter=False)

    longest = fixed.delay_after(attempt)

    assert longest is not None
    assert all((drawn.delay_after(attempt) or 0) <= longest for _ in range(5))


@given(st.integers(1, 100), st.integers(1, 200))
def test_there_are_exactly_as_many_attempts_as_allowed(most: int, attempt: int) -> None:
    assert (RetryPolicy(max_attempts=most).delay_after(attempt) is None) == (attempt >= most)


def test_delays_double_up_to_the_longest() -> None:
    policy = RetryPolicy(max_attempts=6, base_delay=0.5, max_delay=3, jitter=False)

    assert [policy.delay_after(n) for n in range(1, 7)] == [0.5, 1, 2, 3, 3, None]


def test_drawn_delays_fill_the_whole_range() -> None:
    policy = RetryPolicy(max_attempts=2, base_delay=1)
    drawn = [policy.delay_after(1) or 0 for _ in range(500)]

    assert min(drawn) < 0.1
    assert max(drawn) > 0.9


def test_one_attempt_means_no_retry() -> None:
    assert RetryPolicy(max_attempts=1).delay_after(1) is None


@pytest.mark.parametrize("name", ["max_attempts", "base_delay", "jitter"])
def test_a_policy_cannot_change(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(RetryPolicy(), name, 1)


def test_policies_that_say_the_same_are_equal_and_can_be_keys() -> None:
    assert {RetryPolicy(retry_on=[OSError]): 1} == {RetryPolicy(retry_on=(OSError,)): 1}  # type: ignore[arg-type]


class Fleeting(OSError):
    pass


@pytest.mark.parametrize(
    ("settings", "error", "again"),
    [
        ({}, ValueError(), True),
        ({}, asyncio.CancelledError(), True),
        ({"retry_on": (OSError,)}, Fleeting(), True),
        ({"retry_on": OSError}, Fleeting(), True),
        ({"retry_on": (OSError,)}, ValueError(), False),
        ({"retry_on": ()}, ValueError(), False),
        ({"give_up_on": (OSError,)}, Fleeting(), False),
        ({"give_up_on": [OSError]}, ValueError(), True),
        ({"retry_on": (OSError,), "give_up_on": (Fleeting,)}, OSError(), True),
        ({"retry_on": (OSError,), "give_up_on": (Fleeting,)}, Fleeting(), False),
    ],
    ids=range(10),
)
def test_what_is_worth_another_attempt_is_told_by_its_class(
    settings: dict[str, Any], error: BaseException, again: bool
) -> None:
    assert RetryPolicy(**settings).retries(error) is again


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", True, None], ids=repr)
def test_attempts_that_are_no_whole_number_from_1_are_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(max_attempts=value)

    assert str(caught.value) == (f"max_attempts={value!r} must be a whole number, 1 or more; 1 means no retry")


NO_SECONDS = [-1, -0.1, math.nan, math.inf, "1", True, None, 10**400]


@pytest.mark.parametrize("name", ["base_delay", "max_delay"])
@pytest.mark.parametrize("value", NO_SECONDS, ids=range(8))
def test_a_delay_that_is_no_number_of_seconds_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}=.* must be a number of seconds, 0 or more"):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("name", ["retry_on", "give_up_on"])
@pytest.mark.parametrize("value", [5, "OSError", (int,), (OSError(),), {OSError}], ids=range(5))
def test_what_are_no_exception_classes_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**{name: value})

    assert str(caught.value) == (
        f"{name}={value!r} must hold exception classes, such as (TimeoutError, ConnectionError)"
    )


@pytest.mark.parametrize("value", NO_SECONDS, ids=range(8))
def test_a_handler_can_only_ask_to_be_run_again_after_a_number_of_seconds(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"after=.* must be a number of seconds, 0 or more"):
        RetryLater(after=value)


def test_a_handler_may_say_why_it_wants_to_be_run_again() -> None:
    assert str(RetryLater(after=2)) == "asked to be run again after 2 s"
    assert str(RetryLater(after=2, reason="busy")) == "busy"
    assert RetryLater(after=2).after == 2.0

"""The tree of errors, and what is said of one in a log or a dead letter."""

from __future__ import annotations

import copy
import pickle
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

import necrostack
from necrostack import InMemoryBackend, Organ, Spine, errors
from necrostack.errors import NecroStackError, explain
from necrostack.event import Event
from necrostack.report import RunReport

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, NecroStackError)]


class Card(BaseModel):
    number: int
    owner: str
    year: int
    month: int


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (errors.EventError, ValueError),
        (errors.EventTooLarge, errors.EventError),
        (errors.EventTypeError, TypeError),
        (errors.OrganError, TypeError),
        (errors.OrganError, ValueError),
        (errors.HandlerResultError, TypeError),
        (errors.ConfigurationError, ValueError),
        (errors.MaxStepsExceeded, RuntimeError),
        (errors.BackendError, RuntimeError),
        (errors.BackendFull, errors.BackendError),
        (errors.BackendClosed, errors.BackendError),
        (errors.BackendUnavailable, errors.BackendError),
    ],
)
def test_an_error_can_be_caught_as_what_it_is(error: type[Exception], bases: type[Exception]) -> None:
    assert issubclass(error, bases)


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_drawn_in_the_tree_and_has_one_root(error: type[Exception]) -> None:
    assert issubclass(error, NecroStackError)
    assert error.__name__ in str(errors.__doc__)


@pytest.mark.parametrize(
    "error",
    [
        errors.MaxStepsExceeded("too many", RunReport(handled=3)),
        errors.RetryLater(after=2, reason="busy"),
        errors.RetryLater(after=2),
        errors.GiveUp("cancelled"),
        errors.EventError("no event"),
    ],
    ids=range(5),
)
def test_an_error_survives_copying_and_pickling(error: NecroStackError) -> None:
    copies: list[Any] = [copy.copy(error), pickle.loads(pickle.dumps(error))]  # noqa: S301 -- made here

    for other in copies:
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


def test_what_an_error_says_is_its_text() -> None:
    assert explain(KeyError("sku")) == "'sku'"
    assert explain(ValueError()) == ""


def test_what_pydantic_found_wrong_is_told_without_the_input() -> None:
    with pytest.raises(ValidationError) as caught:
        Card(number="4111-1111", owner="Ada", year=1, month=1)  # type: ignore[arg-type]

    assert explain(caught.value) == ("number: Input should be a valid integer, unable to parse string as an integer")


class Coin(BaseModel):
    kind: Literal["coin"]


class Note(BaseModel):
    kind: Literal["note"]


class Purse(BaseModel):
    content: Annotated[Coin | Note, Field(discriminator="kind")]


def test_not_even_the_tag_of_a_union_is_told() -> None:
    with pytest.raises(ValidationError, match="4111-1111' found") as caught:
        Purse.model_validate({"content": {"kind": "4111-1111' found using"}})

    assert explain(caught.value) == (
        "content: Input tag found using 'kind' does not match any of the expected tags: 'coin', 'note'"
    )


@pytest.mark.parametrize("size", [10, 4096, 4097, 10**6])
def test_what_an_error_says_is_cut_in_the_middle(size: int) -> None:
    told = explain(ValueError("a" * (size - 1) + "b"))

    assert len(told) == size if size <= 4096 else len(told) < 4200
    assert told.endswith("ab")
    assert (f"[{size - 4096} characters left out]" in told) == (size > 4096)


def test_of_many_problems_the_first_three_are_told() -> None:
    with pytest.raises(ValidationError) as caught:
        Card.model_validate({})

    assert explain(caught.value) == ("number: Field required; owner: Field required; year: Field required (and 1 more)")


def test_of_too_many_problems_none_is_told() -> None:
    # They would have to be made objects of, all of them: hundreds of times as many bytes as the event has.
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(list[int]).validate_python(["x"] * 1001)

    assert explain(caught.value) == "1001 values are not what they must be, too many to name one"


def test_what_a_validator_of_the_users_own_says_is_told() -> None:
    with pytest.raises(ValidationError) as caught:
        Event(event_type="X", payload={"when": b""})

    assert explain(caught.value) == (
        "payload: payload['when'] is a value of type bytes, which JSON does not have; send text, such as base64"
    )


def test_an_error_whose_text_cannot_be_had_is_told_all_the_same() -> None:
    assert explain(Mute()) == "its text cannot be had: KeyError"


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError


class Reader(Organ):
    listens_to = ["READ"]

    def handle(self, event: Event) -> None:
        if event.payload:
            Card.model_validate(event.payload)
        raise Mute


@pytest.mark.parametrize("payload", [{}, {"number": "4111-1111"}], ids=["mute", "pydantic"])
async def test_a_dead_letter_says_no_more_than_is_explained(payload: dict[str, Any]) -> None:
    backend = InMemoryBackend()

    await Spine([Reader()], backend).run_until_idle(Event(event_type="READ", payload=payload))
    [letter] = [letter async for letter in backend.admin.dead_letters()]

    told = [letter.error, letter.traceback, *(attempt.error for attempt in letter.attempts)]
    expected = "its text cannot be had" if not payload else "number: Input should be a valid integer"
    assert all(expected in text for text in told)
    assert not any("4111-1111" in text for text in told)


def test_the_errors_a_program_catches_are_importable_from_the_package() -> None:
    exported = {name for name in necrostack.__all__ if hasattr(errors, name)}

    assert exported >= {"BackendFull", "GiveUp", "MaxStepsExceeded", "NecroStackError", "RetryLater"}

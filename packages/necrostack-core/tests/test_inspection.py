"""Wrong declarations of an Organ, each with its own message; and unusual ones that are right."""

from __future__ import annotations

import asyncio
import functools
import sys
import types
import typing
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    MutableSequence,
    Sequence,
)
from typing import Annotated, Any, Generic, Literal, NewType, NoReturn, Optional, TypeVar, Union

import pytest
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from necrostack.errors import OrganError
from necrostack.event import Event
from necrostack.inspection import OrganSpec, inspect_organ
from necrostack.organ import Organ
from necrostack.retry import RetryPolicy
from necrostack.routing import Routes


class Note(BaseModel, frozen=True):
    text: str = ""


class Asked(Event):
    event_type: Literal["INSPECT_ASKED"] = "INSPECT_ASKED"
    payload: Note


class Answered(Event):
    event_type: Literal["INSPECT_ANSWERED"] = "INSPECT_ANSWERED"
    payload: Note


class AskedAgain(Asked):
    """Merely inherits its event type."""


class Either(Event):
    event_type: Literal["INSPECT_LEFT", "INSPECT_RIGHT"]
    payload: Note


AskedT = TypeVar("AskedT", bound=Asked)
AnyEventT = TypeVar("AnyEventT", Asked, Answered)
Question = NewType("Question", Asked)
Dialogue = TypeAliasType("Dialogue", Union[Asked, Answered])  # noqa: UP007 -- evaluated on 3.11 too
FIX = "such as listens_to = ['ORDER_PLACED']"
RETURN = "write None, an Event or a list of Events"


async def fine(self: object, event: Event) -> None: ...


def organ(handle: object = fine, *, listens_to: object = (Asked,), base: Any = Organ, **namespace: Any) -> Any:
    """An Organ of a class named Clerk."""
    body = {"__qualname__": "Clerk", "handle": handle, "listens_to": listens_to, **namespace}
    body = {name: value for name, value in body.items() if value is not ...}
    return types.new_class("Clerk", (base,), exec_body=lambda scope: scope.update(body))()


def refused(wrong: Callable[[], object]) -> str:
    with pytest.raises(OrganError) as caught:
        inspect_organ(wrong())
    return str(caught.value)


# --- what is no Organ ---------------------------------------------------------------------------------------


def test_a_class_in_place_of_an_organ_is_refused_with_the_fix() -> None:
    class Clerk(Organ):
        listens_to = ["A"]

        def handle(self, event: Event) -> None: ...

    assert refused(lambda: Clerk) == (
        f"{Clerk.__qualname__} is a class; register an Organ made from it: {Clerk.__qualname__}()"
    )


@pytest.mark.parametrize("value", [5, None, "Clerk"])
def test_what_is_no_organ_is_refused(value: object) -> None:
    assert refused(lambda: value) == (
        f"{value!r} is no Organ; write a class that derives from Organ, with listens_to and handle"
    )


# --- listens_to ---------------------------------------------------------------------------------------------

NOT_ITS_OWN = (
    "which does not fix an event_type of its own; "
    'declare event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED" on it, or listen to a string'
)
NO_TYPE = "is no event type; write 1 to 255 characters, no control characters"
WRONG_LISTENS_TO: dict[str, tuple[object, str]] = {
    "missing": (..., f"is missing or empty; write a list, {FIX}"),
    "empty": ([], f"is missing or empty; write a list, {FIX}"),
    "string": (
        "ORDER",
        "is the string 'ORDER', which would listen to each of its letters; write listens_to = ['ORDER']",
    ),
    "class": (Asked, "is the class Asked; write listens_to = [Asked]"),
    "none": (None, f"is None; write a list, {FIX}"),
    "number": (5, f"is 5; write a list, {FIX}"),
    "bytes": (b"A", f"is b'A'; write a list, {FIX}"),
    "dict": ({"A": 1}, "is {'A': 1}; write a list, " + FIX),
    "blank": ([" "], f"holds ' ' {NO_TYPE}"),
    "control": (
        ["a\n b"],
        f"holds 'a\\n b' {NO_TYPE}",
    ),
    "number_inside": (["A", 5], "holds 5 (int); write event types or Event classes"),
    "bytes_inside": ([b"A"], "holds b'A' (bytes); write event types or Event classes"),
    "other_class": ([Note], f"holds {Note!r} (ModelMetaclass); write event types or Event classes"),
    "event": ([Event], f"holds Event, {NOT_ITS_OWN}"),
    "open_class": ([Either], f"holds Either, {NOT_ITS_OWN}"),
    "inheriting_class": ([AskedAgain], f"holds AskedAgain, {NOT_ITS_OWN}"),
}


@pytest.mark.parametrize(("listens_to", "problem"), WRONG_LISTENS_TO.values(), ids=WRONG_LISTENS_TO)
def test_a_wrong_listens_to_is_refused_with_the_fix(listens_to: object, problem: str) -> None:
    assert refused(lambda: organ(listens_to=listens_to)) == f"Clerk.listens_to {problem}"


def test_listening_to_a_class_that_was_replaced_is_refused() -> None:
    def declare() -> type[Event]:
        class Local(Event):
            event_type: Literal["INSPECT_LOCAL"] = "INSPECT_LOCAL"
            payload: Note

        return Local

    old = declare()
    declare()

    assert refused(lambda: organ(listens_to=[old])) == (
        f"Clerk.listens_to holds a {old.__qualname__} that was replaced when 'INSPECT_LOCAL' was declared "
        f"again; run the definition of Clerk again too"
    )


@pytest.mark.parametrize(
    "listens_to",
    [
        [Asked],
        (Asked,),
        {Asked},
        frozenset([Asked]),
        ["INSPECT_ASKED"],
        [" INSPECT_ASKED\n"],
        [Asked, "INSPECT_ASKED", Asked, " INSPECT_ASKED"],
    ],
    ids=["list", "tuple", "set", "frozenset", "string", "blanks", "many_times"],
)
def test_an_event_type_counts_once_however_it_is_listed(listens_to: object) -> None:
    assert inspect_organ(organ(listens_to=listens_to)).event_types == ("INSPECT_ASKED",)


def test_the_order_of_what_is_listened_to_is_kept() -> None:
    assert inspect_organ(organ(listens_to=["B", Asked, "A"])).event_types == ("B", "INSPECT_ASKED", "A")


def test_an_organ_may_say_itself_what_it_listens_to() -> None:
    clerk = organ()
    clerk.listens_to = ["MINE"]

    assert inspect_organ(clerk).event_types == ("MINE",)


# --- handle: how it is called -------------------------------------------------------------------------------


def generator(self: object, event: Event) -> Iterator[Event]:
    yield event


async def async_generator(self: object, event: Event) -> AsyncIterator[Event]:
    yield event


def no_parameter(self: object) -> None: ...
def two_parameters(self: object, event: Event, other: int) -> None: ...
def keyword_only(self: object, *, event: Event) -> None: ...
def required_keyword(self: object, event: Event, *, strict: bool) -> None: ...
def keywords(self: object, **events: Event) -> None: ...


GENERATOR = "is a generator; return a list of events instead of yielding them"
MANY, WRITE = "(too many positional arguments)", "write handle(self, event)"
CALLED = "cannot be called with one event"
WRONG_HANDLE: dict[str, tuple[object, str]] = {
    "missing": (..., " is missing; write async def handle(self, event: Event) -> Event | None"),
    "none": (None, " is missing; write async def handle(self, event: Event) -> Event | None"),
    "number": (5, " is 5, which cannot be called; write async def handle(self, event)"),
    "generator": (generator, f" {GENERATOR}"),
    "async_generator": (async_generator, f" {GENERATOR}"),
    "wrapped_generator": (functools.wraps(generator)(lambda *given: generator(*given)), f" {GENERATOR}"),
    "partial_generator": (functools.partialmethod(generator), f" {GENERATOR}"),
    "no_parameter": (no_parameter, f"() -> 'None' {CALLED} {MANY}; {WRITE}"),
    "two_parameters": (
        two_parameters,
        f"(event: 'Event', other: 'int') -> 'None' {CALLED} (missing a required argument: 'other'); {WRITE}",
    ),
    "keyword_only": (keyword_only, f"(*, event: 'Event') -> 'None' {CALLED} {MANY}; {WRITE}"),
    "required_keyword": (
        required_keyword,
        (f"(event: 'Event', *, strict: 'bool') -> 'None' {CALLED} (missing a required argument: 'strict'); {WRITE}"),
    ),
    "keywords": (keywords, f"(**events: 'Event') -> 'None' {CALLED} {MANY}; {WRITE}"),
}


@pytest.mark.parametrize(("handle", "problem"), WRONG_HANDLE.values(), ids=WRONG_HANDLE)
def test_a_handle_that_cannot_take_one_event_is_refused_with_the_fix(handle: object, problem: str) -> None:
    told = refused(lambda: organ(handle))

    # 3.14 shows annotations without quotes, and names keyword-only arguments as such.
    told = told.replace("missing a required keyword-only argument", "missing a required argument")
    assert told.replace("'", "") == f"Clerk.handle{problem}".replace("'", "")


class Called:
    def __call__(self, event: Asked) -> Answered | None: ...


class AsyncCalled:
    async def __call__(self, event: Asked) -> Answered | None: ...


class GeneratorCalled:
    def __call__(self, event: Asked) -> Iterator[Asked]:
        yield event


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*given: Any) -> Any:
        return function(*given)

    return wrapper


def answer(self: object, event: Asked) -> Answered | None: ...
async def async_answer(self: object, event: Asked) -> Answered | None: ...
def prefixed(self: object, prefix: str, event: Asked) -> Answered | None: ...
def defaulted(self: object, event: Asked, loud: bool = False, *, often: int = 1) -> Answered | None: ...
def several(self: object, *events: Asked, **more: object) -> Answered | None: ...
def static(event: Asked) -> Answered | None: ...


RIGHT_HANDLE: dict[str, tuple[object, bool]] = {
    "sync": (answer, False),
    "async": (async_answer, True),
    "wrapped": (logged(answer), False),
    "wrapped_async": (logged(async_answer), True),
    "wrapped_twice": (logged(logged(async_answer)), True),
    "static": (staticmethod(static), False),
    "class": (classmethod(answer), False),
    "partial": (functools.partialmethod(prefixed, "a"), False),
    "partial_async": (functools.partialmethod(async_answer), True),
    "property": (property(lambda self: static), False),
    "callable": (Called(), False),
    "async_callable": (AsyncCalled(), True),
    "defaulted": (defaulted, False),
    "several": (several, False),
}


@pytest.mark.parametrize(("handle", "is_async"), RIGHT_HANDLE.values(), ids=RIGHT_HANDLE)
def test_an_unusual_handle_is_understood(handle: object, is_async: bool) -> None:
    spec = inspect_organ(organ(handle))

    assert spec.is_async is is_async
    assert spec.emits == (Answered,)


@pytest.mark.parametrize("handle", RIGHT_HANDLE.values(), ids=RIGHT_HANDLE)
def test_an_unusual_handle_is_held_to_its_annotations(handle: tuple[object, bool]) -> None:
    told = refused(lambda: organ(handle[0], listens_to=["OTHER"]))

    assert told == ("Clerk.handle takes only Asked, but Clerk.listens_to holds 'OTHER', which arrives as Event")


def test_a_callable_that_yields_is_a_generator_too() -> None:
    assert refused(lambda: organ(GeneratorCalled())) == f"Clerk.handle {GENERATOR}"


@pytest.mark.parametrize("handle", [print, lambda self, event: None, dict], ids=["builtin", "lambda", "type"])
def test_a_handle_that_says_nothing_about_itself_is_fine(handle: object) -> None:
    assert inspect_organ(organ(handle)).emits is None


# --- handle: what it takes ----------------------------------------------------------------------------------

MUST = "it must take Event or a subclass of it"
WRONG_EVENT: dict[str, tuple[Any, str]] = {
    "int": (int, f"takes int, by its annotation; {MUST}"),
    "model": (Note, f"takes Note, by its annotation; {MUST}"),
    "none": (None, f"takes NoneType, by its annotation; {MUST}"),
    "class": (type[Asked], f"takes type[{__name__}.Asked], by its annotation; {MUST}"),
    "list": (list[Asked], f"takes list[{__name__}.Asked], by its annotation; {MUST}"),
    "neither": (int | str, f"takes int | str, by its annotation; {MUST}"),
    "other_class": (
        Answered,
        "takes only Answered, but Clerk.listens_to holds 'INSPECT_ASKED', which arrives as Asked",
    ),
    "subclass": (
        AskedAgain,
        "takes only AskedAgain, but Clerk.listens_to holds 'INSPECT_ASKED', which arrives as Asked",
    ),
}


def taking(annotation: Any) -> Any:
    def handle(self: object, event: Any) -> None: ...

    handle.__annotations__ = {"event": annotation}
    return handle


@pytest.mark.parametrize(("annotation", "problem"), WRONG_EVENT.values(), ids=WRONG_EVENT)
def test_a_handle_that_takes_something_else_is_refused(annotation: Any, problem: str) -> None:
    assert refused(lambda: organ(taking(annotation))) == f"Clerk.handle {problem}"


def test_a_string_that_arrives_as_a_class_that_handle_does_not_take_is_refused() -> None:
    assert refused(lambda: organ(answer, listens_to=[Asked, "INSPECT_ANSWERED"])) == (
        "Clerk.handle takes only Asked, but Clerk.listens_to holds 'INSPECT_ANSWERED', which arrives as Answered"
    )


@pytest.mark.parametrize(
    "annotation",
    [
        Asked,
        Event,
        Any,
        object,
        Asked | Answered,
        Asked | None,
        Asked | str,
        Optional[Asked],  # noqa: UP045 -- the old spelling is what is tested
        Union[Asked, Answered],  # noqa: UP007
        Annotated[Asked, "a note"],
        AskedT,
        AnyEventT,
        Question,
        Dialogue,
        "Asked",
        "Asked | None",
        "Unheard | Of",
        "1 / 0",
    ],
    ids=range(18),
)
def test_whatever_includes_the_event_may_be_annotated(annotation: Any) -> None:
    assert inspect_organ(organ(taking(annotation))).event_types == ("INSPECT_ASKED",)


def test_an_annotation_that_cannot_be_resolved_does_not_hide_the_others() -> None:
    def handle(self: object, event: Unheard) -> Answered | None: ...  # type: ignore[name-defined]  # noqa: F821
    def other(self: object, event: Answered) -> Unheard: ...  # type: ignore[name-defined]  # noqa: F821

    assert inspect_organ(organ(handle)).emits == (Answered,)
    assert "takes only Answered" in refused(lambda: organ(other))


def test_classes_made_in_a_function_are_found_by_their_names() -> None:
    class Local(Event):
        event_type: Literal["INSPECT_FOUND"] = "INSPECT_FOUND"
        payload: Note

    class Reply(Event):
        event_type: Literal["INSPECT_REPLY"] = "INSPECT_REPLY"
        payload: Note

    class Clerk(Organ[Local]):
        listens_to = [Local]

        def handle(self, event: Local) -> Reply | None: ...

    class Confused(Organ):
        listens_to = ["INSPECT_FOUND"]

        def handle(self, event: Reply) -> None: ...  # type: ignore[override]

    assert inspect_organ(Clerk()).emits == (Reply,)
    assert "takes only" in refused(Confused)


# --- Organ[…] -----------------------------------------------------------------------------------------------


def unannotated(self: object, event):  # type: ignore[no-untyped-def]
    return None


class Base(Organ[AskedT], Generic[AskedT]):
    pass


class Middle(Base[AskedT]):
    pass


class Mixin:
    pass


@pytest.mark.parametrize(
    "base",
    [Organ[Asked], Organ[Asked | Answered], Organ[Any], Base, Base[Asked], Middle[Asked], Organ],
    ids=["one", "several", "any", "variable", "generic", "generic_twice", "bare"],
)
def test_what_an_organ_is_of_is_found_among_its_bases(base: Any) -> None:
    assert inspect_organ(organ(unannotated, base=base)).event_types == ("INSPECT_ASKED",)


@pytest.mark.parametrize("base", [Organ[Answered], Organ[AskedAgain], Middle[AskedAgain]], ids=str)
def test_what_an_organ_is_of_must_fit_what_it_listens_to(base: Any) -> None:
    told = refused(lambda: organ(unannotated, base=base))

    assert told.startswith("Clerk.handle takes only A")
    assert told.endswith("but Clerk.listens_to holds 'INSPECT_ASKED', which arrives as Asked")


def test_an_organ_of_no_event_is_refused() -> None:
    assert refused(lambda: organ(unannotated, base=Organ[int])) == (  # type: ignore[type-var]
        f"Clerk.handle takes int, by Organ[…]; {MUST}"
    )


def test_a_handle_that_takes_less_than_its_organ_is_refused() -> None:
    told = refused(lambda: organ(answer, listens_to=[Asked], base=Organ[Asked | Answered]))

    assert told == "Clerk is an Organ[Asked | Answered], but its handle takes only Asked"


def test_other_bases_do_not_get_in_the_way() -> None:
    class Clerk(Mixin, Base[Asked], Generic[AskedT]):
        listens_to = [Asked]

        def handle(self, event: Asked) -> None: ...

    assert inspect_organ(Clerk()).event_types == ("INSPECT_ASKED",)


# --- what handle returns ------------------------------------------------------------------------------------


def returning(annotation: Any) -> Any:
    def handle(self: object, event: Any) -> Any: ...

    handle.__annotations__ = {"return": annotation}
    return handle


RETURNED: dict[str, tuple[Any, tuple[type[Event], ...] | None]] = {
    "none": (None, ()),
    "never": (NoReturn, ()),
    "event": (Answered, (Answered,)),
    "optional": (Answered | None, (Answered,)),
    "several": (Asked | Answered | None, (Asked, Answered)),
    "list": (list[Answered], (Answered,)),
    "list_of_several": (list[Asked | Answered], (Asked, Answered)),
    "tuple": (tuple[Answered, Asked], (Answered, Asked)),
    "long_tuple": (tuple[Answered, ...], (Answered,)),
    "sequence": (Sequence[Answered], (Answered,)),
    "mutable_sequence": (MutableSequence[Answered], (Answered,)),
    "typing_list": (typing.List[Answered], (Answered,)),  # noqa: UP006 -- the old spelling is what is tested
    "list_or_one": (list[Asked] | Answered | None, (Asked, Answered)),
    "repeated": (list[Asked] | Asked, (Asked,)),
    "annotated": (Annotated[Answered | None, "a note"], (Answered,)),
    "alias": (Dialogue, (Asked, Answered)),
    "variable": (AskedT, (Asked,)),
    "event_itself": (Event, None),
    "event_or_more": (Answered | Event, None),
    "any": (Any, None),
    "bare_list": (list, None),
    "bare_tuple": (tuple, None),
    "open_class": (Either, (Either,)),
    "quoted": ("Answered | None", (Answered,)),
}
AWAITED: dict[str, Any] = {
    "awaitable": Awaitable[Answered | None],
    "coroutine": Coroutine[Any, Any, list[Answered]],
    "future": asyncio.Future[Answered],
    "either": Awaitable[Answered] | Answered,
}


@pytest.mark.parametrize(("annotation", "emits"), RETURNED.values(), ids=RETURNED)
def test_what_an_organ_emits_is_read_from_its_annotation(
    annotation: Any, emits: tuple[type[Event], ...] | None
) -> None:
    spec = inspect_organ(organ(returning(annotation)))

    assert spec.emits == emits
    assert not spec.is_async


@pytest.mark.parametrize("annotation", AWAITED.values(), ids=AWAITED)
def test_a_function_that_returns_something_to_await_is_async(annotation: Any) -> None:
    spec = inspect_organ(organ(returning(annotation), timeout=1))

    assert spec.emits == (Answered,)
    assert spec.is_async


def test_something_to_await_may_leave_open_what_comes_of_it() -> None:
    assert inspect_organ(organ(returning(Awaitable))).emits is None


WRONG_RETURN: dict[str, tuple[Any, str]] = {
    "int": (int, "int"),
    "text": (str, "str"),
    "bytes": (bytes, "bytes"),
    "bool": (bool, "bool"),
    "object": (object, "object"),
    "model": (Note, "Note"),
    "dict": (dict[str, Answered], f"dict[str, {__name__}.Answered]"),
    "set": (set[Answered], f"set[{__name__}.Answered]"),
    "class": (type[Answered], f"type[{__name__}.Answered]"),
    "iterator": (Iterator[Answered], f"collections.abc.Iterator[{__name__}.Answered]"),
    "iterable": (Iterable[Answered], f"collections.abc.Iterable[{__name__}.Answered]"),
    "generator": (
        Generator[Answered, None, None],
        f"collections.abc.Generator[{__name__}.Answered, None, None]",
    ),
    "list_of_texts": (list[str], "str"),
    "list_with_none": (list[Answered | None], "NoneType"),
    "list_of_lists": (list[list[Answered]], f"list[{__name__}.Answered]"),
    "event_or_int": (Answered | int, "int"),
    "awaited_int": (Awaitable[int], "int"),
}


@pytest.mark.parametrize(("annotation", "shown"), WRONG_RETURN.values(), ids=WRONG_RETURN)
def test_a_return_annotation_that_is_no_event_is_refused(annotation: Any, shown: str) -> None:
    told = refused(lambda: organ(returning(annotation)))

    assert told == f"Clerk.handle is annotated to return {shown}; {RETURN}"


# --- the rest -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"], ids=repr)
def test_a_timeout_that_is_no_number_of_seconds_is_refused(timeout: object) -> None:
    told = refused(lambda: organ(timeout=timeout))

    assert told == f"Clerk.timeout is {timeout!r}; write a number of seconds over 0"


def test_a_timeout_on_a_sync_handler_is_refused() -> None:
    assert refused(lambda: organ(answer, timeout=5)) == (
        "Clerk.timeout is 5, but Clerk.handle is not async and cannot be interrupted; write async def handle"
    )


def test_a_timeout_on_an_async_handler_is_kept_as_seconds() -> None:
    assert inspect_organ(organ(timeout=5)).timeout == 5.0


@pytest.mark.parametrize("retry", [3, RetryPolicy, "often"], ids=["number", "class", "text"])
def test_a_retry_that_is_no_policy_is_refused(retry: object) -> None:
    told = refused(lambda: organ(retry=retry))

    assert told == (f"Clerk.retry is {retry!r}; write a RetryPolicy, such as retry = RetryPolicy(max_attempts=5)")


@pytest.mark.parametrize("name", ["", " ", " a", "a\nb", "\ud800", "x" * 256, 5, None], ids=range(8))
def test_a_name_that_no_log_can_show_is_refused(name: object) -> None:
    class Clerk(Organ):
        listens_to = ["A"]

        @property
        def name(self) -> Any:
            return name

        def handle(self, event: Event) -> None: ...

    told = refused(Clerk)

    assert told.startswith(f"{Clerk.__qualname__}.name is {name!r:.80}; write a string of 1 to 255 characters")


def test_an_organ_that_is_right_is_described_in_full() -> None:
    policy = RetryPolicy(max_attempts=3)
    clerk = organ(async_answer, retry=policy, timeout=2)

    spec = inspect_organ(clerk)

    assert spec == OrganSpec(
        organ=clerk,
        name="Clerk",
        handle=clerk.handle,
        event_types=("INSPECT_ASKED",),
        emits=(Answered,),
        is_async=True,
        retry=policy,
        timeout=2.0,
    )


def test_nothing_is_checked_when_the_class_is_made() -> None:
    class Wrong(Organ):
        listens_to = "ORDER"  # type: ignore[assignment]

    with pytest.raises(OrganError):
        Routes([Wrong()])  # type: ignore[abstract]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement came with Python 3.12")
def test_the_type_statement_is_understood() -> None:
    scope: dict[str, Any] = {"Asked": Asked, "Answered": Answered}
    exec("type Reply = Answered | None", scope)  # noqa: S102 -- no syntax of Python 3.11

    assert inspect_organ(organ(returning(scope["Reply"]))).emits == (Answered,)

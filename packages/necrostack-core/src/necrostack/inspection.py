"""What an Organ's declaration says, and everything that can be wrong with it, found before anything runs."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import types
import typing
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, Union, cast, get_args, get_origin

import typing_extensions

from necrostack.errors import EventError, OrganError
from necrostack.event import (
    Event,
    check_event_type,
    declared_beside,
    declared_class,
    literal_event_type,
    own_annotations,
)
from necrostack.organ import Organ
from necrostack.retry import RetryPolicy
from necrostack.value import Value

_UNIONS = (Union, types.UnionType)
_NOTHING = (type(None), typing.NoReturn, typing.Never, typing_extensions.Never)
_ALIASES = tuple({typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType)})
_TYPE_VARIABLES = (TypeVar, typing_extensions.TypeVar)
_ABSENT: Any = inspect.Parameter.empty


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class OrganSpec(Value):
    """An Organ, as it was found to be declared.

    Attributes:
        organ: The Organ itself.
        name: Its name.
        handle: Its bound `handle`.
        event_types: What it listens to, each once, in order.
        emits: The event classes in its return annotation; None when it does not say.
        is_async: Whether `handle` must be awaited.
        retry: Its own policy, if any.
        timeout: Seconds that a call may take, if limited.
    """

    organ: Organ[Any]
    name: str
    handle: Callable[[Event], Any]
    event_types: tuple[str, ...]
    emits: tuple[type[Event], ...] | None
    is_async: bool
    retry: RetryPolicy | None
    timeout: float | None


def inspect_organ(organ: object) -> OrganSpec:
    """Find out what an Organ listens to, takes and emits.

    Raises:
        OrganError: Its declaration cannot work; the message names the class and says what to write.
    """
    if isinstance(organ, type):
        msg = f"{organ.__qualname__} is a class; register an Organ made from it: {organ.__qualname__}()"
        raise OrganError(msg)
    if not isinstance(organ, Organ):
        msg = f"{organ!r} is no Organ; write a class that derives from Organ, with listens_to and handle"
        raise OrganError(msg)
    where = type(organ).__qualname__
    listened = _listened(organ, where)
    handle = _handle(organ, where)
    hints = _hints(handle, type(organ), listened)
    accepts = _accepted(handle, type(organ), hints, where)
    event_types = tuple(dict.fromkeys(_event_type(item, where) for item in listened))
    _check_fit(listened, event_types, accepts, where)
    function = _function(handle)
    returned = hints.get("return", _ABSENT)
    is_async = inspect.iscoroutinefunction(function) or _is_awaitable(returned)
    return OrganSpec(
        organ=organ,
        name=_name(organ, where),
        handle=handle,
        event_types=event_types,
        emits=None if returned is _ABSENT else _emitted(returned, f"{where}.handle"),
        is_async=is_async,
        retry=_retry(organ, where),
        timeout=_timeout(organ, where, is_async=is_async),
    )


# --- listens_to ------------------------------------------------------------------------------------------


def _listened(organ: Organ[Any], where: str) -> Sequence[object]:
    listened: object = organ.listens_to
    if isinstance(listened, str):
        msg = (
            f"{where}.listens_to is the string {listened!r}, which would listen to each of its letters; "
            f"write listens_to = [{listened!r}]"
        )
        raise OrganError(msg)
    if isinstance(listened, type) and issubclass(listened, Event):
        name = listened.__qualname__
        msg = f"{where}.listens_to is the class {name}; write listens_to = [{name}]"
        raise OrganError(msg)
    if not isinstance(listened, list | tuple | set | frozenset):
        msg = f"{where}.listens_to is {listened!r}; write a list, such as listens_to = ['ORDER_PLACED']"
        raise OrganError(msg)
    if not listened:
        msg = f"{where}.listens_to is missing or empty; write a list, such as listens_to = ['ORDER_PLACED']"
        raise OrganError(msg)
    return list(listened)


def _event_type(item: object, where: str) -> str:
    if isinstance(item, str):
        try:
            return check_event_type(item)
        except EventError as error:
            msg = f"{where}.listens_to holds {error}"
            raise OrganError(msg) from error
    if not (isinstance(item, type) and issubclass(item, Event)):
        msg = f"{where}.listens_to holds {item!r} ({type(item).__name__}); write event types or Event classes"
        raise OrganError(msg)
    event_type = literal_event_type(item)
    if event_type is None or "event_type" not in own_annotations(item):
        msg = (
            f"{where}.listens_to holds {item.__qualname__}, which does not fix an event_type of its own; "
            f'declare event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED" on it, or listen to a string'
        )
        raise OrganError(msg)
    if declared_class(event_type) is not item:
        msg = (
            f"{where}.listens_to holds a {item.__qualname__} that was replaced when {event_type!r} was "
            f"declared again; run the definition of {where} again too"
        )
        raise OrganError(msg)
    return event_type


# --- handle ------------------------------------------------------------------------------------------------


def _handle(organ: Organ[Any], where: str) -> Callable[[Event], Any]:
    handle = getattr(organ, "handle", None)
    if handle is None:
        msg = f"{where}.handle is missing; write async def handle(self, event: Event) -> Event | None"
        raise OrganError(msg)
    if not callable(handle):
        msg = f"{where}.handle is {handle!r}, which cannot be called; write async def handle(self, event)"
        raise OrganError(msg)
    function = _function(handle)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        msg = f"{where}.handle is a generator; return a list of events instead of yielding them"
        raise OrganError(msg)
    signature = _signature(handle)
    try:
        signature.bind(object())
    except TypeError as error:
        msg = f"{where}.handle{signature} cannot be called with one event ({error}); write handle(self, event)"
        raise OrganError(msg) from None
    return cast("Callable[[Event], Any]", handle)


def _function(handle: Any) -> Any:
    """What runs in the end, under partials, decorators that say what they wrap, and callable objects."""
    while isinstance(handle, functools.partial):
        handle = handle.func
    if not (inspect.isroutine(handle) or inspect.isclass(handle)):
        handle = type(handle).__call__
    return inspect.unwrap(getattr(handle, "__func__", handle))


def _signature(handle: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(handle)
    except ValueError:  # some functions written in C do not tell
        return inspect.Signature([inspect.Parameter("event", inspect.Parameter.POSITIONAL_ONLY)])


def _hints(handle: Callable[..., Any], cls: type[Organ[Any]], listened: Iterable[object]) -> dict[str, Any]:
    """The annotations of `handle`; those that cannot be resolved count as absent."""
    function = _function(handle)
    # What is made inside a function is no global, but these are the classes that annotations likely name.
    known = [leaf for leaf in _leaves(_type_argument(cls)) if isinstance(leaf, type)]
    known += [item for item in listened if isinstance(item, type)]
    names = {item.__name__: item for item in [*declared_beside(cls), *known]}
    found: dict[str, Any] = {}
    for name, annotation in own_annotations(function).items() if inspect.isfunction(function) else ():

        def alone() -> None: ...

        alone.__annotations__ = {name: annotation}
        # Annotations are foreign code: they may raise whatever they like.
        with contextlib.suppress(Exception):
            found |= typing.get_type_hints(alone, function.__globals__, names)
    return found


def _accepted(
    handle: Callable[..., Any], cls: type[Organ[Any]], hints: dict[str, Any], where: str
) -> tuple[type[Event], ...] | None:
    """The event classes that `handle` takes; None when nothing says so."""
    parameter = next(iter(_signature(handle).bind(object()).arguments))
    accepts: tuple[type[Event], ...] | None = None
    for source, hint in (
        ("its annotation", hints.get(parameter, _ABSENT)),
        ("Organ[…]", _type_argument(cls)),
    ):
        leaves = _leaves(hint)
        if not leaves or Any in leaves or object in leaves:
            continue
        # Whatever else it takes does no harm.
        events = tuple(leaf for leaf in leaves if _is_kind_of(leaf, Event))
        if not events:
            msg = f"{where}.handle takes {_union(leaves)}, by {source}; it must take Event or a subclass of it"
            raise OrganError(msg)
        if accepts is None:
            accepts = events
        elif not all(issubclass(event, accepts) for event in events):
            msg = f"{where} is an Organ[{_union(events)}], but its handle takes only {_union(accepts)}"
            raise OrganError(msg)
    return accepts


def _check_fit(
    listened: Sequence[object],
    event_types: Sequence[str],
    accepts: tuple[type[Event], ...] | None,
    where: str,
) -> None:
    """What is listened to must be what `handle` takes."""
    if accepts is None:
        return
    arriving = [item for item in listened if isinstance(item, type)] + [declared_class(item) for item in event_types]
    for cls in arriving:
        if not issubclass(cls, accepts):
            names = [name for name in event_types if declared_class(name) is cls]
            what = f"{names[0]!r}, which arrives as {cls.__qualname__}" if names else cls.__qualname__
            msg = f"{where}.handle takes only {_union(accepts)}, but {where}.listens_to holds {what}"
            raise OrganError(msg)


def _type_argument(cls: type) -> Any:
    """What a class gives to `Organ[…]`, anywhere among its bases, with type variables filled in."""
    return _find_argument(cls, {})


def _find_argument(cls: type, given: dict[Any, Any]) -> Any:
    for base in typing_extensions.get_original_bases(cls):
        origin = get_origin(base) or base
        if origin is Generic or not isinstance(origin, type) or not issubclass(origin, Organ):
            continue
        arguments = [given.get(argument, argument) for argument in get_args(base)]
        if origin is Organ:
            return arguments[0] if arguments else _ABSENT
        parameters = getattr(origin, "__parameters__", ())
        found = _find_argument(origin, dict(zip(parameters, arguments, strict=False)))
        if found is not _ABSENT:
            return found
    return _ABSENT


def _leaves(hint: Any) -> list[Any]:
    """Take unions, Annotated, type variables and aliases apart, down to what they stand for."""
    if hint is _ABSENT or isinstance(hint, str | typing.ForwardRef):
        return []
    if isinstance(hint, _ALIASES):
        return _leaves(hint.__value__)
    origin = get_origin(hint)
    if origin is Annotated:
        return _leaves(get_args(hint)[0])
    if origin in _UNIONS:
        return [leaf for argument in get_args(hint) for leaf in _leaves(argument)]
    if isinstance(hint, _TYPE_VARIABLES):
        bounds = hint.__constraints__ or (hint.__bound__ or Any,)
        return [leaf for bound in bounds for leaf in _leaves(bound)]
    if isinstance(hint, typing.NewType):
        return _leaves(hint.__supertype__)
    return [type(None) if hint is None else hint]


def _is_awaitable(hint: Any) -> bool:
    return any(_is_kind_of(leaf, Awaitable) for leaf in _leaves(hint))


def _is_kind_of(leaf: Any, kind: type | types.UnionType) -> bool:
    """Whether an annotation, with or without arguments, is of a class or a protocol like `Sequence`."""
    origin = get_origin(leaf) or leaf
    return isinstance(origin, type) and issubclass(origin, kind)


def _emitted(hint: Any, where: str) -> tuple[type[Event], ...] | None:
    """The event classes in a return annotation; None when it leaves them open."""
    found: list[type[Event]] = []
    for leaf in _returned(hint, where):
        if leaf is Any or leaf is Event:
            return None
        found.append(leaf)
    return tuple(dict.fromkeys(found))


def _returned(hint: Any, where: str, *, nested: bool = False) -> Iterable[Any]:
    for leaf in _leaves(hint):
        origin = get_origin(leaf)
        if leaf in _NOTHING and not nested:
            continue
        if leaf is Any or (origin is None and _is_kind_of(leaf, Event)):
            yield leaf
        elif _is_kind_of(leaf, Awaitable) and not nested:
            yield from _returned((Any, *get_args(leaf))[-1], where)
        elif _is_kind_of(leaf, Sequence) and not _is_kind_of(leaf, str | bytes | bytearray) and not nested:
            items = [item for item in get_args(leaf) if item is not Ellipsis]
            for item in items or [Any]:
                yield from _returned(item, where, nested=True)
        else:
            msg = f"{where} is annotated to return {_shown(leaf)}; write None, an Event or a list of Events"
            raise OrganError(msg)


# --- the rest ----------------------------------------------------------------------------------------------


def _name(organ: Organ[Any], where: str) -> str:
    name: object = organ.name
    try:
        if isinstance(name, str) and check_event_type(name) == name:
            return name
    except EventError:
        pass
    msg = (
        f"{where}.name is {name!r:.80}; write a string of 1 to 255 characters, without control characters "
        f"and blanks around it"
    )
    raise OrganError(msg)


def _retry(organ: Organ[Any], where: str) -> RetryPolicy | None:
    retry: object = organ.retry
    if retry is not None and not isinstance(retry, RetryPolicy):
        msg = f"{where}.retry is {retry!r}; write a RetryPolicy, such as retry = RetryPolicy(max_attempts=5)"
        raise OrganError(msg)
    return retry


def _timeout(organ: Organ[Any], where: str, *, is_async: bool) -> float | None:
    timeout: object = organ.timeout
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        msg = f"{where}.timeout is {timeout!r}; write a number of seconds over 0"
        raise OrganError(msg)
    if not is_async:
        msg = (
            f"{where}.timeout is {timeout!r}, but {where}.handle is not async and cannot be interrupted; "
            f"write async def handle"
        )
        raise OrganError(msg)
    return float(timeout)


def _shown(leaf: Any) -> str:
    return leaf.__qualname__ if isinstance(leaf, type) and not get_args(leaf) else repr(leaf)


def _union(classes: Iterable[Any]) -> str:
    return " | ".join(_shown(cls) for cls in classes)

"""What an Organ's declaration says, and everything that can be wrong with it, found before anything runs."""

from __future__ import annotations

import collections.abc
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, Union, cast, get_args, get_origin

import typing_extensions

from necrostack.errors import EventError, OrganError
from necrostack.event import Event, check_event_type, declared_class, literal_event_type
from necrostack.organ import Organ
from necrostack.retry import RetryPolicy

_UNIONS = (Union, types.UnionType)
_SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.MutableSequence)
_AWAITABLES = (collections.abc.Awaitable, collections.abc.Coroutine, types.CoroutineType)
_NOTHING = (type(None), typing.NoReturn, typing.Never, typing_extensions.Never)
_ALIASES = tuple({typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType)})
_TYPE_VARIABLES = (TypeVar, typing_extensions.TypeVar)
_ABSENT: Any = inspect.Parameter.empty


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganSpec:
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
        msg = f"{organ!r} is no Organ; write a class that derives from necrostack.Organ, with listens_to and handle"
        raise OrganError(msg)
    where = type(organ).__qualname__
    listened = _listened(organ, where)
    handle = _handle(organ, where)
    hints = _hints(handle, type(organ), listened)
    accepts = _accepted(handle, type(organ), hints, where)
    event_types = tuple(dict.fromkeys(_event_type(item, where) for item in listened))
    _check_fit(listened, event_types, accepts, where)
    function = inspect.unwrap(getattr(handle, "__func__", handle))
    returned = hints.get("return", _ABSENT)
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(handle) or _is_awaitable(returned)
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
    if isinstance(listened, str | bytes):
        msg = (
            f"{where}.listens_to is the string {listened!r}, which would listen to each of its letters; "
            f"write listens_to = [{listened!r}]"
        )
        raise OrganError(msg)
    if isinstance(listened, type) and issubclass(listened, Event):
        msg = f"{where}.listens_to is the class {listened.__qualname__}; write listens_to = [{listened.__qualname__}]"
        raise OrganError(msg)
    if not isinstance(listened, list | tuple | set | frozenset):
        msg = f"{where}.listens_to is {listened!r}; write a list of event types, such as listens_to = ['ORDER_PLACED']"
        raise OrganError(msg)
    if not listened:
        msg = f"{where}.listens_to is missing or empty; write what it listens to, such as listens_to = ['ORDER_PLACED']"
        raise OrganError(msg)
    return list(listened)


def _event_type(item: object, where: str) -> str:
    if isinstance(item, str):
        try:
            return check_event_type(item)
        except EventError as error:
            msg = f"{where}.listens_to holds {item!r}, which no event can have as its type: {error}"
            raise OrganError(msg) from error
    if not (isinstance(item, type) and issubclass(item, Event)):
        msg = f"{where}.listens_to holds {item!r} ({type(item).__name__}); write event types or Event classes"
        raise OrganError(msg)
    event_type = literal_event_type(item)
    if event_type is None:
        msg = (
            f"{where}.listens_to holds {item.__qualname__}, which does not fix its event_type; declare "
            f'event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED" on it, or listen to a string'
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
        msg = f"{where}.handle is {handle!r}, which cannot be called; write async def handle(self, event: Event)"
        raise OrganError(msg)
    function = inspect.unwrap(getattr(handle, "__func__", handle))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        msg = f"{where}.handle is a generator; return a list of events instead of yielding them"
        raise OrganError(msg)
    try:
        inspect.signature(handle).bind(object())
    except TypeError as error:
        msg = f"{where}.handle{inspect.signature(handle)} cannot be called with one event ({error}); write handle(self, event)"
        raise OrganError(msg) from None
    return cast("Callable[[Event], Any]", handle)


def _hints(handle: Callable[..., Any], cls: type[Organ[Any]], listened: Iterable[object]) -> dict[str, Any]:
    """The annotations of `handle`; those that cannot be resolved count as absent."""
    function = inspect.unwrap(getattr(handle, "__func__", handle))
    # Classes made inside a function are no globals, but these name the ones that annotations are likely to mean.
    known = [leaf for leaf in _leaves(_type_argument(cls)) if isinstance(leaf, type)]
    known += [item for item in listened if isinstance(item, type)]
    names = {item.__name__: item for item in known}
    try:
        return typing.get_type_hints(function, localns=names, include_extras=True)
    except Exception:  # noqa: BLE001 -- annotations are foreign code: they may raise whatever they like
        return {}


def _accepted(
    handle: Callable[..., Any], cls: type[Organ[Any]], hints: dict[str, Any], where: str
) -> tuple[type[Event], ...] | None:
    """The event classes that `handle` takes; None when nothing says so."""
    parameter = next(iter(inspect.signature(handle).bind(object()).arguments))
    accepts: tuple[type[Event], ...] | None = None
    for source, hint in (("its parameter", hints.get(parameter, _ABSENT)), ("Organ[…]", _type_argument(cls))):
        leaves = _leaves(hint)
        if not leaves or Any in leaves or object in leaves:
            continue
        for leaf in leaves:
            if not (isinstance(leaf, type) and issubclass(leaf, Event)):
                msg = f"{where}.handle takes {_shown(leaf)} by {source}; it must take Event or a subclass of it"
                raise OrganError(msg)
        if accepts is None:
            accepts = tuple(leaves)
        elif not all(issubclass(leaf, accepts) for leaf in leaves):
            msg = f"{where} is an Organ[{_union(leaves)}], but its handle takes only {_union(accepts)}"
            raise OrganError(msg)
    return accepts


def _check_fit(
    listened: Sequence[object], event_types: Sequence[str], accepts: tuple[type[Event], ...] | None, where: str
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
    return any(get_origin(leaf) in _AWAITABLES for leaf in _leaves(hint))


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
        if leaf is Any or (isinstance(leaf, type) and origin is None and issubclass(leaf, Event)):
            yield leaf
        elif origin in _AWAITABLES and not nested:
            yield from _returned(get_args(leaf)[-1], where)
        elif (origin or leaf) in _SEQUENCES and not nested:
            items = [item for item in get_args(leaf) if item is not Ellipsis]
            for item in items or [Any]:
                yield from _returned(item, where, nested=True)
        else:
            msg = f"{where} is annotated to return {_shown(leaf)}; it returns None, an Event or a list of events"
            raise OrganError(msg)


# --- the rest ----------------------------------------------------------------------------------------------


def _name(organ: Organ[Any], where: str) -> str:
    name: object = organ.name
    if not isinstance(name, str) or not name.strip():
        msg = f"{where}.name is {name!r}; write a string that is not blank"
        raise OrganError(msg)
    return name


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
        msg = f"{where}.timeout is {timeout!r}, but its handle is not async and cannot be interrupted; write async def handle"
        raise OrganError(msg)
    return float(timeout)


def _shown(leaf: Any) -> str:
    return leaf.__qualname__ if isinstance(leaf, type) and not get_args(leaf) else repr(leaf)


def _union(classes: Iterable[Any]) -> str:
    return " | ".join(_shown(cls) for cls in classes)

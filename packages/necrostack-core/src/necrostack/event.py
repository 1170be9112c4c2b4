"""Events, and the registry of their declared classes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast, get_args, get_origin
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import core_schema, from_json
from typing_extensions import Self

from necrostack.errors import EventError, EventTooLarge, EventTypeError, explain
from necrostack.ids import new_id
from necrostack.payload import (
    FrozenDict,
    PayloadSchema,
    check_headers,
    freeze_json,
    freeze_typed,
    may_be_unreadable,
    payload_bytes,
)

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic._internal._model_construction import ModelMetaclass
    from pydantic import PrivateAttr
    from typing_extensions import dataclass_transform

    # Type checkers must believe that every subclass is frozen. pydantic's own transform has no `frozen_default`: with
    # `frozen=True` on the class each plain subclass would be an error, with `model_config` alone the Literal override
    # of `event_type` would be one in pyright. Nothing of this exists at run time.
    @dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field, PrivateAttr))
    class _FrozenModelMeta(ModelMetaclass): ...
else:
    _FrozenModelMeta = type(BaseModel)

MAX_EVENT_SIZE: Final = 1_048_576
"""Bytes of JSON that a payload may have unless a backend is told otherwise: 1 MiB."""

_EVENT_TYPE = StringConstraints(strip_whitespace=True, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")
EventType = Annotated[str, _EVENT_TYPE]
"""The routing key of an event: 1 to 255 characters after stripping, none of them a control character."""


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        msg = f"timestamp {moment.isoformat()} lies outside the years 1 to 9999 in UTC"
        raise ValueError(msg) from None


def _now() -> datetime:
    return datetime.now(UTC)


def _own_id(data: dict[str, Any]) -> UUID:
    return cast("UUID", data["id"])


class Event(BaseModel, metaclass=_FrozenModelMeta):
    """An immutable, validated statement that something happened.

    A plain event carries any JSON object; a subclass that fixes `event_type` carries a model:

    >>> Event(event_type="ORDER_PLACED", payload={"order_id": "1"}).payload["order_id"]
    '1'

    >>> class Paid(Event):
    ...     event_type: Literal["PAID"] = "PAID"
    ...     payload: dict[str, int]
    >>> type(Event.from_json(Paid(payload={"cents": 100}).to_json())).__name__
    'Paid'

    Attributes:
        id: Stable over redelivery, retry and replay: the idempotency key.
        timestamp: When it was made, UTC.
        event_type: The routing key, matched exactly.
        payload: A JSON object, deeply immutable: a dict on plain events, a frozen model on typed ones.
        correlation_id: The id of the first event of the chain; a root's own id.
        causation_id: The event whose handling emitted this one; None for a root.
        hops: 0 for a root, one more than its parent's for what a handler emits.
        headers: For tracing and tools, never for business data; not part of equality.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: UUID = Field(default_factory=new_id)
    correlation_id: UUID = Field(default_factory=_own_id)
    causation_id: UUID | None = None
    hops: int = Field(default=0, ge=0, lt=2**31)
    timestamp: Annotated[AwareDatetime, AfterValidator(_utc)] = Field(default_factory=_now)
    event_type: EventType
    if TYPE_CHECKING:
        payload: Any  # so that a subclass may narrow it to its model
    else:
        payload: Annotated[
            dict[str, Any],
            PlainValidator(freeze_json),
            WithJsonSchema({"type": "object", "additionalProperties": True}),
        ] = Field(default_factory=FrozenDict)
    headers: Annotated[Mapping[str, str], AfterValidator(check_headers)] = Field(default_factory=FrozenDict)

    def to_json(self) -> bytes:
        """Write the whole event as JSON, UTF-8.

        Raises:
            EventError: The payload holds what JSON cannot carry.
        """
        try:
            return self.__pydantic_serializer__.to_json(self)
        except ValueError as error:
            raise EventError(_unwritable(self, error)) from error

    @classmethod
    def from_json(cls, data: bytes | str, *, max_size: int = MAX_EVENT_SIZE) -> Self:
        """Read an event, as the class that is declared for its event type.

        Args:
            data: One JSON object, as `to_json` writes it.
            max_size: How many bytes (characters of a string) it may have.

        Raises:
            EventTooLarge: `data` is longer than `max_size`.
            EventError: It is no JSON, no event, or not what its event type says.
        """
        if len(data) > max_size:
            msg = f"an event of {len(data)} bytes is larger than the {max_size} that are allowed"
            raise EventTooLarge(msg)
        try:
            target = _class_for(data)
            event = target.__pydantic_validator__.validate_json(data)
        except ValidationError as error:
            msg = f"this is not an event: {explain(error)}"
            raise EventError(msg) from error
        except ValueError as error:
            msg = f"this is not JSON: {error}"
            raise EventError(msg) from error
        if not isinstance(event, cls):
            msg = f"{event.event_type!r} is declared by {_named(type(event))}, which is no {cls.__qualname__}; use Event.from_json"
            raise EventError(msg)
        return event

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self.__dict__, other.__dict__
        return all(mine[name] == theirs[name] for name in _COMPARED)

    def __hash__(self) -> int:
        return hash(self.id)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        schema = handler(source)
        if cls.__module__ == __name__:  # Event itself checks its payload as it freezes it
            return schema
        found = _payload_schema(schema, handler)
        if found.mutable_models:
            name = found.mutable_models[0]
            msg = (
                f"{cls.__qualname__}.payload holds {name}, whose objects can be changed, but events are immutable; "
                f"write class {name}(BaseModel, frozen=True)"
            )
            raise EventTypeError(msg)
        if not found.needs_check:
            return schema
        return core_schema.no_info_after_validator_function(_PayloadCheck(cls), schema)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        _declare(cls)


_COMPARED = [name for name in Event.model_fields if name != "headers"]


def _payload_schema(schema: Mapping[str, Any], handler: GetCoreSchemaHandler) -> PayloadSchema:
    """Look at the payload's part of an event class's schema."""
    inner: Mapping[str, Any] = handler.resolve_ref_schema(cast("Any", schema))
    while inner["type"] != "model-fields":
        inner = inner["schema"]
    payload = inner["fields"]["payload"]["schema"]
    return PayloadSchema(payload, lambda ref: cast("Any", handler.resolve_ref_schema(ref)))


class _PayloadCheck:
    """The extra step of event classes whose payload may hold what changes or does not survive JSON."""

    def __init__(self, cls: type[Event]) -> None:
        self._cls = cls
        self._declared: TypeAdapter[Any] | None = None

    def __call__(self, event: Event) -> Event:
        if self._declared is None:
            field = self._cls.model_fields["payload"]
            self._declared = TypeAdapter(cast("Any", Annotated[field.annotation, field]))
        # The event is being made and nobody has seen it yet.
        event.__dict__["payload"] = freeze_typed(event.payload, self._declared)
        return event


# --- the registry ------------------------------------------------------------------------------------

_declared_classes: dict[str, type[Event]] = {}
_declarations = 0


def declared_class(event_type: str) -> type[Event]:
    """Look up the class that is declared for an event type; `Event` when there is none."""
    return _declared_classes.get(event_type, Event)


def as_declared(event: Event) -> Event:
    """Return the event as the class that is declared for its event type, so that every backend hands over the same.

    Raises:
        EventError: Its payload is not what that class says.
    """
    target = _declared_classes.get(event.event_type, Event)
    if type(event) is target:
        return event
    # By way of JSON, as through a backend that keeps bytes: dates and decimals arrive there as strings.
    try:
        return target.model_validate_json(event.to_json())
    except ValidationError as error:
        msg = f"event {event.id} is no {_named(target)}, which declares {event.event_type!r}: {explain(error)}"
        raise EventError(msg) from error


def declarations() -> int:
    """Count the declarations made until now: where it changed, what was kept before may have a class now."""
    return _declarations


def literal_event_type(cls: type[Event]) -> str | None:
    """The event type that a class fixes by a single-valued Literal; None when it leaves it open."""
    annotation = cls.model_fields["event_type"].annotation
    values = get_args(annotation) if get_origin(annotation) is Literal else ()
    return values[0] if len(values) == 1 else None


def _declare(cls: type[Event]) -> None:
    _check_declaration(cls)
    event_type = literal_event_type(cls)
    is_generic_alias = cls.__pydantic_generic_metadata__["origin"] is not None
    if event_type is None or is_generic_alias or "event_type" not in _own_annotations(cls):
        return
    _check_literal(cls, event_type)
    older = _declared_classes.get(event_type)
    if older is not None and not _replaces(cls, older):
        msg = (
            f"{_named(cls)} declares the event type {event_type!r}, which {_named(older)} declares already; "
            f"give one of them another event_type"
        )
        raise EventTypeError(msg)
    global _declarations
    _declared_classes[event_type] = cls
    _declarations += 1


def _check_declaration(cls: type[Event]) -> None:
    added = [*(cls.model_fields.keys() - Event.model_fields.keys()), *cls.model_computed_fields]
    if added:
        msg = f"{_named(cls)} adds the field {added[0]!r} to the envelope; put it into the payload, or make it a property"
        raise EventTypeError(msg)
    for setting in ("frozen", "extra"):
        if cls.model_config.get(setting) != Event.model_config.get(setting):
            msg = f"{_named(cls)} sets {setting}={cls.model_config.get(setting)!r}; events keep {Event.model_config.get(setting)!r}"
            raise EventTypeError(msg)


def _check_literal(cls: type[Event], event_type: object) -> None:
    try:
        if type(event_type) is str and _EVENT_TYPES.validate_python(event_type) == event_type:
            default = cls.model_fields["event_type"].get_default(call_default_factory=False)
            if cls.model_fields["event_type"].is_required() or default == event_type:
                return
            problem = f"the default {default!r} is not the Literal {event_type!r}"
        else:
            problem = f"{event_type!r} is no plain string without surrounding blanks"
    except ValidationError as error:
        problem = explain(error)
    msg = f'{_named(cls)}.event_type: {problem}; write event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED"'
    raise EventTypeError(msg)


_EVENT_TYPES: TypeAdapter[str] = TypeAdapter(EventType)


def check_event_type(event_type: str) -> str:
    """Return an event type, stripped.

    Raises:
        EventError: It is blank, longer than 255 characters, or holds a control character.
    """
    try:
        return _EVENT_TYPES.validate_python(event_type)
    except ValidationError as error:
        msg = f"{event_type!r} is no event type: {explain(error)}"
        raise EventError(msg) from error


def _own_annotations(cls: type) -> Mapping[str, object]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return cast("Mapping[str, object]", cls.__dict__.get("__annotations__", {}))


def _replaces(new: type[Event], old: type[Event]) -> bool:
    """Whether both are one piece of source run again: a reload, a notebook cell, `__main__` imported by its name too."""
    if "<locals>" in new.__qualname__ and "<locals>" in old.__qualname__:
        return True
    if new.__qualname__ != old.__qualname__:
        return False
    if new.__module__ == old.__module__:
        return True
    return "__main__" in (new.__module__, old.__module__) and _source(new) is not None and _source(new) == _source(old)


def _source(cls: type) -> str | None:
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def _named(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _class_for(data: bytes | str) -> type[Event]:
    """Find the declared class of an event still in bytes, by reading its event type first."""
    if not _declared_classes:
        return Event
    found = from_json(data)
    event_type = found.get("event_type") if isinstance(found, dict) else None
    return _declared_classes.get(event_type.strip(), Event) if isinstance(event_type, str) else Event


# --- what a backend does with an event -------------------------------------------------------------------


def admit(event: Event, max_size: int) -> tuple[Event, bytes]:
    """Make an event ready to be kept: of its declared class, writable, readable, and not too large.

    Args:
        event: What was emitted.
        max_size: How many bytes of JSON its payload may have.

    Returns:
        The event as its declared class, and its payload as JSON.

    Raises:
        EventTooLarge: The payload has more than `max_size` bytes.
        EventError: It is not what its event type says, or JSON cannot carry it.
    """
    if type(event) is not _declared_classes.get(event.event_type, Event):
        event = as_declared(event)
    try:
        data = payload_bytes(event.payload)
    except ValueError as error:
        raise EventError(_unwritable(event, error)) from error
    if len(data) > max_size:
        msg = (
            f"event {event.id} ({event.event_type}) has a payload of {len(data)} bytes, more than the {max_size} that are "
            f"allowed; keep the data elsewhere and emit a reference to it"
        )
        raise EventTooLarge(msg)
    if may_be_unreadable(data):
        type(event).from_json(event.to_json(), max_size=sys.maxsize)
    return event, data


def _unwritable(event: Event, error: ValueError) -> str:
    return f"the payload of event {event.id} ({event.event_type}) cannot be written as JSON: {error}"


def caused_by(event: Event, parent: Event) -> Event:
    """Return the event as a child of `parent`: same correlation, one hop further.

    Raises:
        EventError: It carries its parent's own id.
    """
    if event.id.int == parent.id.int:
        msg = (
            f"{event.event_type} carries the id of the event it was emitted for ({parent.id}); "
            f"emit a new event, without id="
        )
        raise EventError(msg)
    # What model_copy(update=…) does, at a quarter of its cost: this runs once for every emitted event.
    child = _new(type(event))
    fields = event.__dict__.copy()
    fields["correlation_id"] = parent.correlation_id
    fields["causation_id"] = parent.id
    fields["hops"] = parent.hops + 1
    _set(child, "__dict__", fields)
    _set(child, "__pydantic_fields_set__", _ALL_FIELDS)  # as after a way through bytes, which hold every field
    _set(child, "__pydantic_extra__", None)
    _set(child, "__pydantic_private__", event.__pydantic_private__)
    return child


_new = object.__new__
_set = object.__setattr__
_ALL_FIELDS = set(Event.model_fields)

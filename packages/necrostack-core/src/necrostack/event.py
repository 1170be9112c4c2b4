"""Events, and the registry of their declared classes."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, cast, get_args, get_origin
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import SchemaValidator, core_schema, from_json

from necrostack.errors import EventError, EventTooLarge, EventTypeError, explain
from necrostack.ids import new_id
from necrostack.payload import NO_HEADERS, FrozenDict, check_headers, freeze_json, json_bytes, may_be_unreadable
from necrostack.typed_payload import PayloadCheck, PayloadSchema, field_read_by_alias_only, freeze_values

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, PrivateAttr
    from pydantic._internal._model_construction import ModelMetaclass
    from typing_extensions import TypeIs, dataclass_transform

    # Type checkers must believe that every subclass is frozen. pydantic's own has no `frozen_default`:
    # with `frozen=True` on the class each plain subclass would be an error, with `model_config` alone the
    # Literal override of `event_type` would be one in pyright. Nothing of this exists at run time.
    @dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field, PrivateAttr))
    class _FrozenModelMeta(ModelMetaclass): ...

    # The class that names the metaclass is itself neither frozen nor not (PEP 681), so it must not be Event.
    class _FrozenModel(BaseModel, metaclass=_FrozenModelMeta): ...
else:
    _FrozenModel = BaseModel

MAX_EVENT_SIZE: Final = 1_048_576
"""Bytes of JSON that payload and headers may have unless a backend is told otherwise: 1 MiB."""

_ENVELOPE_SIZE: Final = 2048
"""Bytes of JSON that all the rest of an event never exceeds."""

_EVENT_TYPE_RULES: Final[dict[str, Any]] = {
    "strip_whitespace": True,
    "min_length": 1,
    "max_length": 255,
    "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$",
}
EventType = Annotated[str, StringConstraints(**_EVENT_TYPE_RULES)]
"""The routing key of an event: 1 to 255 characters after stripping, none of them a control character."""


# What pydantic reads has a UTC of its own.
_UTC_AS_READ = SchemaValidator(core_schema.datetime_schema()).validate_json(b'"1970-01-01T00:00:00Z"').tzinfo


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is _UTC_AS_READ:
        return datetime.combine(moment, moment.time(), UTC)  # a fifth of what astimezone takes
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        msg = f"timestamp {moment.isoformat()} lies outside the years 1 to 9999 in UTC"
        raise ValueError(msg) from None


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A time that says its offset, in UTC."""


def _now() -> datetime:
    return datetime.now(UTC)


def _own_id(data: dict[str, Any]) -> UUID:
    # Without one when the id was refused, on versions of pydantic that call this all the same.
    return cast("UUID", data.get("id"))


def _no_headers() -> FrozenDict:
    return NO_HEADERS


class Event(_FrozenModel):
    """An immutable, validated statement that something happened.

    A plain event carries any JSON object; a subclass that fixes `event_type` carries a model:

    >>> Event(event_type="ORDER_PLACED", payload={"order_id": "1"}).payload["order_id"]
    '1'

    >>> class TipGiven(Event):
    ...     event_type: Literal["TIP_GIVEN"] = "TIP_GIVEN"
    ...     payload: dict[str, int]
    >>> type(Event.from_json(TipGiven(payload={"cents": 100}).to_json())).__name__
    'TipGiven'

    `model_dump(mode="json")` and `model_validate` are for looking and for tests, the bytes forms are the fast ones. A
    payload model that is strict, or that has computed fields and forbids extras, is read back from bytes only.

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

    # What a constructor refuses is often logged: its errors name the field and the reason, not the payload.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    id: UUID = Field(default_factory=new_id)
    correlation_id: UUID = Field(default_factory=_own_id)
    causation_id: UUID | None = None
    hops: int = Field(default=0, ge=0, lt=2**53)
    timestamp: UtcDatetime = Field(default_factory=_now)
    event_type: EventType
    if TYPE_CHECKING:
        payload: Any  # so that a subclass may narrow it to its model
    else:
        payload: Annotated[
            dict[str, Any],
            PlainValidator(freeze_json),
            WithJsonSchema({"type": "object", "additionalProperties": True}),
        ] = Field(default_factory=FrozenDict)
    headers: Annotated[Mapping[str, str], AfterValidator(check_headers)] = Field(default_factory=_no_headers)

    # What is left to look at when an event is made, and what its payload must be to be written; by class.
    _payload_check: ClassVar[PayloadCheck | None] = None
    _payload_models: ClassVar[frozenset[type]] = frozenset()
    # What reads its payload, where that is all there is to reading such an event; by class.
    _payload_reader: ClassVar[type[BaseModel] | None] = None
    # Its payload's model and its event type, where an object of that model is all there is to making one; by class.
    _made_of: ClassVar[tuple[type[BaseModel], str] | None] = None

    if not TYPE_CHECKING:  # type checkers derive from the fields which arguments it takes

        def __init__(self, /, **data: Any) -> None:
            made_of = self._made_of
            if made_of is None or len(data) != 1 or type(data.get("payload")) is not made_of[0]:
                __tracebackhide__ = True
                super().__init__(**data)
                return
            # Nothing is left to validate. This is what pydantic would make of it, at three quarters of the cost.
            fields = self.__dict__
            fields["id"] = fields["correlation_id"] = new_id()
            fields["causation_id"] = None
            fields["hops"] = 0
            fields["timestamp"] = _now()
            fields["event_type"] = made_of[1]
            fields["payload"] = data["payload"]
            fields["headers"] = NO_HEADERS
            _set_fields_set(self, _PAYLOAD_ALONE)
            _set_extra(self, None)
            _set_private(self, None)

        # pydantic calls an __init__ that does not say so whenever it validates.
        __init__.__pydantic_base_init__ = True

    def to_json(self) -> bytes:
        """Write the whole event as JSON, UTF-8.

        Raises:
            EventError: The payload holds what JSON cannot carry.
        """
        if self._payload_models and type(self.payload) not in self._payload_models:
            raise _foreign_payload(self)
        try:
            return self.__pydantic_serializer__.to_json(self, by_alias=False, round_trip=True)
        except ValueError as error:
            raise _unwritable(self, error) from error

    @classmethod
    def from_json(cls, data: bytes | str, *, max_size: int = MAX_EVENT_SIZE) -> Self:
        """Read an event, as the class that is declared for its event type.

        Args:
            data: One JSON object, as `to_json` writes it.
            max_size: How many bytes of JSON its payload and headers may have.

        Raises:
            EventTooLarge: `data` is longer than an event of that size can be.
            EventError: It is no JSON, no event, or not what its event type says.
        """
        try:
            data = data if isinstance(data, bytes) else data.encode()
        except UnicodeEncodeError as error:
            msg = "this is not an event: its text holds a lone surrogate, which no bytes can carry"
            raise EventError(msg) from error
        likely = _EVENT_TYPE_IN_JSON.search(data)
        event = event_from_json(data, likely[1].decode(errors="replace") if likely else "", max_size)
        if not isinstance(event, cls):
            msg = (
                f"{event.event_type!r} is read as a {_named(type(event))}, which is no {cls.__qualname__}; "
                f"use Event.from_json"
            )
            raise EventError(msg)
        return event

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, with changes that are validated like a constructor's arguments.

        Args:
            update: The fields that are to be different.
            deep: Of no effect: what cannot change can be shared.
        """
        if not update:
            return super().model_copy()
        copy = self.model_validate({name: getattr(self, name) for name in Event.model_fields} | dict(update))
        if self.__pydantic_private__:
            object.__setattr__(copy, "__pydantic_private__", self.__pydantic_private__.copy())
        return copy

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
        fields = _model_fields(schema, handler)
        by_alias = field_read_by_alias_only(fields, cls.model_config)
        if by_alias is not None:
            msg = f"{cls.__qualname__}.{by_alias} is read by an alias; the fields of an event keep their names"
            raise EventTypeError(msg)
        payload = PayloadSchema(fields["fields"]["payload"]["schema"], handler.resolve_ref_schema)
        if payload.problem:
            msg = f"{cls.__qualname__}.payload {payload.problem}"
            raise EventTypeError(msg)
        cls._payload_models = payload.models
        cls._payload_check = None
        cls._payload_reader = None if payload.needs_round_trip else _payload_reader(cls)
        cls._made_of = None if payload.revalidates else _made_of(cls)
        if not payload.needs_check:
            return schema
        cls._payload_check = PayloadCheck(cls._payload_type, round_trip=payload.needs_round_trip)
        return core_schema.no_info_after_validator_function(_frozen, schema)

    @classmethod
    def _payload_type(cls) -> Any:
        field = cls.model_fields["payload"]
        return Annotated[cast("Any", field.annotation), field]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not cls.__pydantic_complete__:  # what it inherits says nothing about it
            cls._payload_models, cls._payload_check = frozenset(), None
            cls._payload_reader = cls._made_of = None
        _declare(cls)


_COMPARED = [name for name in Event.model_fields if name != "headers"]


def _model_fields(schema: core_schema.CoreSchema, handler: GetCoreSchemaHandler) -> Mapping[str, Any]:
    """Find the part of an event class's schema that lists its fields."""
    inner: Mapping[str, Any] = handler.resolve_ref_schema(schema)
    while inner["type"] != "model-fields":
        inner = inner["schema"]
    return inner


def _payload_reader(cls: type[Event]) -> type[BaseModel] | None:
    """Return the model of a class's payload, where no event of that class is made by anything else."""
    decorators, event_type = cls.__pydantic_decorators__, cls.model_fields.get("event_type")
    if (
        event_type is None  # such a class is refused later
        or event_type.metadata
        or cls.model_config != Event.model_config
        or cls.__get_pydantic_core_schema__.__func__ is not Event.__get_pydantic_core_schema__.__func__  # type: ignore[attr-defined]
        or decorators.validators
        or decorators.field_validators
        or decorators.root_validators
        or decorators.model_validators
        or cls.__private_attributes__
        or cls.__pydantic_post_init__
        or cls.__pydantic_custom_init__
        or cls.__new__ is not object.__new__
    ):
        return None
    field = cls.model_fields["payload"]
    model: Any = field.annotation
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    return model if is_model and not field.metadata else None


def _made_of(cls: type[Event]) -> tuple[type[BaseModel], str] | None:
    """Return the model of a class's payload and its event type, where an event is made of nothing else."""
    model = cls._payload_reader
    if model is None or cls._payload_models != {model}:
        return None
    event_type = literal_event_type(cls)
    if event_type is None or cls.model_fields["event_type"].default != event_type:
        return None
    return model, event_type


def _frozen(event: Event) -> Event:
    """The extra step of event classes whose payload may hold what changes or does not survive JSON."""
    check = event._payload_check
    assert check is not None, "only the schema of a class with a check has this step"
    # The event is being made and nobody has seen it yet.
    event.__dict__["payload"] = check.freeze(event.payload)
    return event


def _foreign_payload(event: Event) -> EventError:
    """Refuse an object of a subclass of the payload's model: what the subclass adds would be lost in JSON."""
    expected = " | ".join(sorted(model.__qualname__ for model in event._payload_models))
    msg = (
        f"event {event.id} ({event.event_type}) has a {type(event.payload).__qualname__} as its payload, "
        f"but {type(event).__qualname__} declares {expected}; declare an event type for it"
    )
    return EventError(msg)


# --- the registry ------------------------------------------------------------------------------------

_declared_classes: dict[str, type[Event]] = {}
_declarations = 0


def declared_class(event_type: str) -> type[Event]:
    """Look up the class that is declared for an event type; `Event` when there is none."""
    return _declared_classes.get(event_type, Event)


def declared_beside(cls: type) -> list[type[Event]]:
    """List the declared classes that stand in the same module or function body as another class."""
    place = cls.__module__, cls.__qualname__.rpartition(".")[0]
    return [
        other
        for other in _declared_classes.values()
        if (other.__module__, other.__qualname__.rpartition(".")[0]) == place
    ]


def as_declared(event: Event) -> Event:
    """Return the event as the class that is declared for its event type; every backend hands over that.

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
    if event_type is None or is_generic_alias or "event_type" not in own_annotations(cls):
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
        msg = f"{_named(cls)} adds the field {added[0]!r} to the envelope; put it into the payload"
        raise EventTypeError(msg)
    hidden = Event.model_fields.keys() - cls.model_fields.keys()
    if hidden:
        msg = (
            f"{_named(cls)} makes {min(hidden)} a class variable, but it is a field of every event; write "
            f'event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED"'
        )
        raise EventTypeError(msg)
    redefined = [name for base in _bases(cls) for name in own_annotations(base) if name in _FIXED]
    if redefined:
        msg = f"{_named(cls)} redefines {redefined[0]}; a subclass may narrow event_type and payload only"
        raise EventTypeError(msg)
    for setting in ("frozen", "extra"):
        ours, theirs = Event.model_config.get(setting), cls.model_config.get(setting)
        if theirs != ours:
            msg = f"{_named(cls)} sets {setting}={theirs!r}; events keep {setting}={ours!r}"
            raise EventTypeError(msg)


_FIXED = Event.model_fields.keys() - {"event_type", "payload"}


def _bases(cls: type[Event]) -> list[type]:
    """The class and its bases, down to Event."""
    return [base for base in cls.__mro__ if base not in Event.__mro__]


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


_EVENT_TYPES = SchemaValidator(core_schema.str_schema(**_EVENT_TYPE_RULES))


def check_event_type(event_type: str) -> str:
    """Return an event type, stripped.

    Raises:
        EventError: It is blank, longer than 255 characters, or holds a control character.
    """
    try:
        stripped: str = _EVENT_TYPES.validate_python(event_type)
    except ValidationError as error:
        msg = f"{event_type!r:.80} is no event type; write 1 to 255 characters, no control characters"
        raise EventError(msg) from error
    return stripped


def own_annotations(owner: Any) -> Mapping[str, Any]:
    """The annotations of a class or function itself, as they are written; not those of a class's bases."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(owner)


def _replaces(new: type[Event], old: type[Event]) -> bool:
    """Whether both are one piece of source: after a reload, in a notebook, under another module's name."""
    if "<locals>" in new.__qualname__ and "<locals>" in old.__qualname__:
        return True
    if new.__qualname__ != old.__qualname__:
        return False
    return new.__module__ == old.__module__ or _source(new) == _source(old) is not None


def _source(cls: type) -> str | None:
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def _named(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


# Where an event type most likely stands in the JSON of an event. If it was not that, the event is read again.
_EVENT_TYPE_IN_JSON = re.compile(rb'"event_type"\s*:\s*"([^"\\]+)"')


def event_from_json(data: bytes, likely_type: str, max_size: int) -> Event:
    """Read an event, as the class that is declared for its event type.

    Args:
        data: One JSON object, as `Event.to_json` writes it.
        likely_type: What its event type most likely is; the right one saves reading it twice.
        max_size: How many bytes of JSON its payload and headers may have.

    Raises:
        EventTooLarge: `data` is longer than an event of that size can be.
        EventError: It is no JSON, no event, or not what its event type says.
    """
    if len(data) > max_size + _ENVELOPE_SIZE:
        msg = f"an event of {len(data)} bytes is too large: {max_size} are allowed for payload and headers"
        raise EventTooLarge(msg)
    target = declared_class(likely_type)
    try:
        try:
            return as_declared(target.__pydantic_validator__.validate_json(data))
        except ValueError:
            other = _class_in(data)
            if other is None or other is target:
                raise
            return as_declared(other.model_validate_json(data))
    except EventError:
        raise
    except ValueError as error:  # pydantic's; before 2.12 it lets a year 0 be refused by datetime itself
        msg = f"this is not an event: {explain(error)}"
        raise EventError(msg) from error


def can_be_read_from_parts(event: Event) -> bool:
    """Say whether `event_from_parts` can make an event again that is of its declared class."""
    return type(event) is Event or event._payload_reader is not None


def event_from_parts(
    event_type: str,
    payload: bytes,
    timestamp: datetime,
    event_id: UUID,
    correlation_id: UUID,
    causation_id: UUID | None,
    hops: int,
    headers: FrozenDict = NO_HEADERS,
) -> Event | None:
    """Read an event of which the payload alone is still JSON: at half the cost of `event_from_json`.

    Nothing but the payload and the event type is validated: the rest was read by whoever calls this, into what an event
    holds.

    Returns:
        The event as the class that is declared for its event type. None where that cannot be made from its parts, or
        the payload is none: `event_from_json` finds out.
    """
    cls = declared_class(event_type)
    try:
        read = _read_payload(cls, event_type, payload)
    except ValueError:
        return None
    if read is None:
        return None
    return _made(
        cls,
        # In the order of the fields: so they are written.
        {
            "id": event_id,
            "correlation_id": correlation_id,
            "causation_id": causation_id,
            "hops": hops,
            "timestamp": timestamp,
            "event_type": event_type,
            "payload": read,
            "headers": headers,
        },
    )


def _read_payload(cls: type[Event], event_type: str, data: bytes) -> Any | None:
    """Read what an event's payload was written as. None where that is not all there is to reading the event.

    Raises:
        ValueError: It is no payload of that class.
    """
    if cls is Event:
        return freeze_json(from_json(data)) if check_event_type(event_type) == event_type else None
    if cls._payload_reader is None:
        return None
    read = cls._payload_reader.__pydantic_validator__.validate_json(data)
    return read if cls._payload_check is None else cls._payload_check.freeze(read)


def _class_in(data: bytes) -> type[Event] | None:
    try:
        found = from_json(data)
    except ValueError:
        return None
    event_type = found.get("event_type") if isinstance(found, dict) else None
    return declared_class(event_type) if isinstance(event_type, str) else None


# --- what a backend does with an event -------------------------------------------------------------------


def admit(event: Event, max_size: int) -> tuple[Event, bytes]:
    """Make an event ready to be kept: of its declared class, writable, readable, and not too large.

    Args:
        event: What was emitted.
        max_size: How many bytes of JSON its payload and headers may have.

    Returns:
        The event as its declared class, and its payload as JSON.

    Raises:
        EventTooLarge: Payload and headers have more than `max_size` bytes.
        EventError: It is not what its event type says, or JSON cannot carry it.
    """
    if type(event) is not _declared_classes.get(event.event_type, Event):
        event = as_declared(event)
    data = payload_json(event)
    size = len(data) + (len(json_bytes(event.headers)) if event.headers else 0)
    if size > max_size:
        msg = (
            f"event {event.id} ({event.event_type}) has a payload and headers of {size} bytes, more than the "
            f"{max_size} that are allowed; keep the data elsewhere and emit a reference to it"
        )
        raise EventTooLarge(msg)
    if may_be_unreadable(data):
        try:
            freeze_values(event.payload)
        except ValueError as error:
            raise _unwritable(event, error) from error
    return event, data


def payload_json(event: Event) -> bytes:
    """Write an event's payload as JSON, UTF-8.

    Raises:
        EventError: It holds what JSON cannot carry.
    """
    payload, check, models = event.payload, event._payload_check, event._payload_models
    try:
        if type(payload) in models:
            data: bytes = payload.__pydantic_serializer__.to_json(payload, by_alias=False, round_trip=True)
            return data
        if check is not None:
            return check.write(payload)
        if not models:
            return json_bytes(payload)
    except (TypeError, ValueError) as error:
        raise _unwritable(event, error) from error
    raise _foreign_payload(event)


def _unwritable(event: Event, error: Exception) -> EventError:
    """Return the error that says where in the payload the trouble is, where that can be found."""
    problem: object = error
    try:
        freeze_values(event.payload)
    except ValueError as found:
        problem = found
    return EventError(f"event {event.id} ({event.event_type}) cannot be written as JSON: {problem}")


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
    cls = type(event)
    if cls.__private_attributes__:
        lineage = {"correlation_id": parent.correlation_id, "causation_id": parent.id, "hops": parent.hops + 1}
        return event.model_copy(update=lineage)
    # What model_copy does, at a fifth of its cost: this runs once for every emitted event.
    fields = event.__dict__.copy()
    fields["correlation_id"] = parent.correlation_id
    fields["causation_id"] = parent.id
    fields["hops"] = parent.hops + 1
    return _made(cls, fields)


def _made(cls: type[Event], fields: dict[str, Any]) -> Event:
    """Make an event of values that were validated before."""
    event = _new(cls)
    _set_dict(event, fields)
    _set_fields_set(event, _ALL_FIELDS)  # as after a way through bytes, which hold every field
    _set_extra(event, None)
    _set_private(event, None)
    return event


def is_event(value: object) -> TypeIs[Event]:
    """Say whether something is an Event: `isinstance`, without pydantic's detour of a microsecond."""
    return Event in type(value).__mro__


_new = object.__new__
# Where pydantic keeps what an object holds. Bound once, each takes half the time of object.__setattr__.
_set_dict = BaseModel.__dict__["__dict__"].__set__
_set_fields_set = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__
_ALL_FIELDS = set(Event.model_fields)
_PAYLOAD_ALONE = {"payload"}

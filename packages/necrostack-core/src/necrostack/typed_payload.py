"""Typed payloads: what a declared type promises about immutability and JSON, checked where it does not."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ValidationError

from necrostack.errors import explain
from necrostack.payload import (
    FrozenDict,
    FrozenList,
    FrozenSet,
    Refused,
    check_float,
    check_int,
    check_text,
    freeze_json,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Schema = Mapping[str, Any]
"""A core schema: what pydantic compiles a type to, https://docs.pydantic.dev/latest/api/pydantic_core_schema/."""


class PayloadSchema:
    """What a payload's declared type says, found out once, when its event class is declared.

    Attributes:
        problem: What keeps it from being the payload of an event, if anything does: "holds Order, whose …".
        needs_freezing: Whether its values may hold lists, dicts or sets, or NaN.
        needs_round_trip: Whether values may not come back equal from JSON: `Any`, bytes, ambiguous unions,
            validators and serializers of the user's own.
        models: The classes that a payload can be of, where no check is needed and it is always a model.
        revalidates: Whether a model that is given as payload is validated once more.
    """

    def __init__(self, schema: Schema, resolve: Callable[[Any], Schema]) -> None:
        self.problem = ""
        self.needs_freezing = False
        self.needs_round_trip = False
        self.revalidates = False
        self._resolve = resolve
        self._seen: set[str] = set()
        self._visit(schema, admits_nan=True)
        outermost = frozenset(self._outermost(schema))
        self.models = frozenset() if self.needs_check else outermost

    @property
    def needs_check(self) -> bool:
        """Whether an event pays for a look at its payload when it is made."""
        return self.needs_freezing or self.needs_round_trip

    def _visit(self, schema: Schema, *, admits_nan: bool) -> None:
        """Look at a schema and at everything inside it."""
        if schema["type"] == "definition-ref":
            if schema["schema_ref"] in self._seen:
                return
            self._seen.add(schema["schema_ref"])
            schema = self._resolve(schema)
        kind = schema["type"]
        config = schema["cls"].model_config if kind == "model" else schema.get("config") or {}
        if kind in ("model", "dataclass", "typed-dict"):
            admits_nan = config.get("allow_inf_nan", True)
            self._look_at_class(schema, kind, config)
        if kind == "float":
            self.needs_freezing |= schema.get("allow_inf_nan", admits_nan)
        if kind in ("list", "dict", "set", "typed-dict", "dataclass"):
            self.needs_freezing = True
        self.needs_round_trip |= _is_doubtful(schema, kind, config)
        for inner in _inner_schemas(schema):
            self._visit(inner, admits_nan=admits_nan)

    def _look_at_class(self, schema: Schema, kind: str, config: Mapping[str, Any]) -> None:
        cls = schema.get("cls", dict)
        name = cls.__name__.partition("[")[0]
        if kind == "model" and not config.get("frozen"):
            self._refuse(
                f"holds {name}, whose objects can be changed, but events are immutable; "
                f"write class {name}(BaseModel, frozen=True)"
            )
        if kind == "dataclass" and not cls.__dataclass_params__.frozen:
            self._refuse(
                f"holds {name}, whose objects can be changed, but events are immutable; write @dataclass(frozen=True)"
            )
        field = field_read_by_alias_only(schema, config)
        if field is not None:
            self._refuse(
                f"holds {name}, whose field {field!r} is read by its alias only, but events are written by "
                f"the names of fields; set populate_by_name=True in its configuration"
            )

    def _refuse(self, problem: str) -> None:
        self.problem = self.problem or problem

    def _outermost(self, schema: Schema) -> Iterator[type]:
        """The models that the payload as a whole can be; what is surely no JSON object is refused."""
        schema = self._resolve(schema) if schema["type"] == "definition-ref" else schema
        kind = schema["type"]
        if kind == "model" and not schema.get("root_model"):
            config = schema.get("config") or {}
            setting = schema.get("revalidate_instances", config.get("revalidate_instances", "never"))
            self.revalidates |= setting != "never"
            yield schema["cls"]
        elif kind in ("model", "default", "definitions") or (kind.startswith("function-") and "schema" in schema):
            yield from self._outermost(schema["schema"])
        elif kind in ("union", "tagged-union"):
            for choice in _inner_schemas(schema):
                yield from self._outermost(choice)
        elif kind in _NO_OBJECTS:
            self._refuse(
                f"may be a JSON {_NO_OBJECTS[kind]}, but a payload is an object; declare a frozen pydantic model"
            )


_NO_OBJECTS = (
    dict.fromkeys(["str", "bytes", "decimal", "date", "time", "datetime", "timedelta"], "string")
    | dict.fromkeys(["uuid", "url", "multi-host-url"], "string")
    | dict.fromkeys(["list", "tuple", "set", "frozenset"], "array")
    | dict.fromkeys(["int", "float"], "number")
    | {"bool": "boolean", "none": "null", "nullable": "null", "literal": "constant", "enum": "constant"}
)
# Kinds of core schemas whose values survive JSON, given that what they hold does. Values of the others (any,
# bytes, is-instance, functions …) are written and read back whenever an event is made.
_CERTAIN = (_NO_OBJECTS.keys() - {"bytes"}) | {
    "dict",
    "default",
    "definitions",
    "definition-ref",
    "union",
    "tagged-union",
    "model",
    "model-fields",
    "model-field",
    "dataclass",
    "dataclass-args",
    "dataclass-field",
    "typed-dict",
    "typed-dict-field",
}
# What a smart union chooses by the JSON value alone.
_TOLD_APART = {"none", "bool", "int", "float", "str", "literal"}
_PLAIN_VALUES = str | int | None


def _is_doubtful(schema: Schema, kind: str, config: Mapping[str, Any]) -> bool:
    """Whether a value may come back from JSON as something else, by what the schema itself says."""
    if _is_plain_payload(schema):
        return False
    if kind not in _CERTAIN or any(
        name.startswith("serialization") and name != "serialization_alias" for name in schema
    ):
        return True
    if any(name.startswith(("ser_json", "val_json", "json_encoders")) for name in config):
        return True
    if kind == "union":
        return any(choice["type"] not in _TOLD_APART for choice in _inner_schemas(schema))
    if kind == "tagged-union":
        return callable(schema["discriminator"])
    if kind == "dict":
        return schema.get("keys_schema", {}).get("type") not in ("str", "int", "uuid", "literal")
    if kind == "decimal":
        return bool(schema.get("allow_inf_nan"))
    if kind == "enum":
        return not all(isinstance(member.value, _PLAIN_VALUES) for member in schema["members"])
    if kind == "literal":
        return not all(isinstance(value, _PLAIN_VALUES) for value in schema["expected"])
    return config.get("extra") == "allow" or schema.get("extra_behavior") == "allow"


def _is_plain_payload(schema: Schema) -> bool:
    return schema["type"] == "function-plain" and schema["function"]["function"] is freeze_json


def field_read_by_alias_only(schema: Schema, config: Mapping[str, Any]) -> str | None:
    """Name a field of a model, dataclass or TypedDict that cannot be read back by its own name."""
    if config.get("populate_by_name") or config.get("validate_by_name"):
        return None
    return next((name for name, field in _fields(schema) if not _is_read_by_name(name, field)), None)


def _fields(schema: Schema) -> list[tuple[str, Schema]]:
    if schema.get("root_model"):
        return []
    if schema["type"] not in ("model-fields", "dataclass-args", "typed-dict"):
        return _fields(schema["schema"])
    fields = schema["fields"]
    return [(field["name"], field) for field in fields] if isinstance(fields, list) else list(fields.items())


def _is_read_by_name(name: str, field: Schema) -> bool:
    alias = field.get("validation_alias", name)
    # A string, one path, or several paths.
    choices = alias if isinstance(alias, list) else [alias]
    return name in choices or [name] in choices


def _inner_schemas(schema: Schema) -> Iterator[Schema]:
    """Every schema directly inside another one."""
    for name in _PLACES & schema.keys():
        value = schema[name]
        if isinstance(value, dict) and not isinstance(value.get("type"), str):
            value = list(value.values())
        for item in value if isinstance(value, list) else [value]:
            inner = item[0] if isinstance(item, tuple) else item  # a union's choice may have a label
            if isinstance(inner, dict):
                yield inner


# The keys under which core schemas hold others.
_PLACES = {
    "schema",
    "items_schema",
    "keys_schema",
    "values_schema",
    "extras_schema",
    "fields",
    "choices",
    "definitions",
    "steps",
    "lax_schema",
    "strict_schema",
    "json_schema",
    "python_schema",
}


class PayloadCheck:
    """Freezes the payloads of one event class, and checks what their type leaves open.

    Attributes:
        round_trip: Whether each payload is written to JSON and read back.
    """

    def __init__(self, annotation: Callable[[], Any], *, round_trip: bool) -> None:
        """Prepare the check.

        Args:
            annotation: Gives the payload's declared type, which need not be complete before the first event.
            round_trip: Whether to write each payload and read it back.
        """
        self._annotation = annotation
        self.round_trip = round_trip
        self._declared: TypeAdapter[Any] | None = None

    def freeze(self, payload: Any) -> Any:
        """Freeze the containers inside a payload, and check what has to be checked.

        Args:
            payload: The payload as pydantic validated it.

        Returns:
            An equal payload that shares no mutable container with it.

        Raises:
            ValueError: Something in it can change, or does not come back equal from JSON.
        """
        frozen = freeze_values(payload)
        if self.round_trip:
            self._check_round_trip(frozen)
        return frozen

    def write(self, payload: Any) -> bytes:
        """Write a payload as JSON, as its declared type says.

        Raises:
            ValueError: It holds what JSON cannot carry.
        """
        return self._adapter().dump_json(payload, by_alias=False, round_trip=True, warnings="error")

    def _check_round_trip(self, payload: Any) -> None:
        try:
            data = self.write(payload)
            back = self._adapter().validate_json(data)
        except ValidationError as error:
            msg = f"payload cannot be read back from the JSON it is written as: {explain(error)}"
            raise ValueError(msg) from error
        except ValueError as error:
            msg = f"payload cannot be written as JSON: {error}"
            raise ValueError(msg) from error
        if not data.startswith(b"{"):
            msg = "payload is no JSON object; declare a frozen pydantic model"
            raise ValueError(msg)
        if back != payload:
            what = _difference(payload, back)
            msg = f"{what} comes back from JSON as something else; give it a type that JSON can carry"
            raise ValueError(msg)

    def _adapter(self) -> TypeAdapter[Any]:
        if self._declared is None:
            from pydantic import TypeAdapter  # here, because most programs have no such payload, and it takes 0.5 ms

            self._declared = TypeAdapter(self._annotation())
        return self._declared


def _difference(payload: Any, back: Any) -> str:
    """Name the fields that come back different."""
    fields = payload if isinstance(payload, dict) else payload.__dict__
    returned = back if isinstance(back, dict) else back.__dict__
    names = [repr(name) for name, item in fields.items() if name not in returned or returned[name] != item]
    return ", ".join(f"payload[{name}]" for name in names) or "payload"


# --- freezing -----------------------------------------------------------------------------------------------


def freeze_values(payload: Any) -> Any:
    """Return an equal payload in which no container can change, after a look at every value.

    Raises:
        ValueError: It holds something that can change, or that JSON cannot carry; the message says where.
    """
    try:
        return _frozen(payload)
    except Refused as refused:
        raise refused.told() from None


def _frozen(value: Any) -> Any:
    """Return an equal value in which no container can change. The caller's own objects stay as they are."""
    if isinstance(value, str):
        check_text(value)
        return value
    if isinstance(value, int):
        check_int(value)
        return value
    if isinstance(value, float):
        check_float(value)
        return value
    if value is None or isinstance(value, FrozenDict | FrozenList | FrozenSet):
        return value
    if isinstance(value, BaseModel):
        return _frozen_model(value)
    if isinstance(value, tuple):
        return _frozen_tuple(value)
    if isinstance(value, dict):
        return FrozenDict(_frozen_items(value.items()))
    if isinstance(value, list):
        return FrozenList(_frozen_items(enumerate(value)).values())
    if isinstance(value, set):
        return FrozenSet(_frozen_items(enumerate(value)).values())
    if isinstance(value, frozenset):
        return frozenset(_frozen_items(enumerate(value)).values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _frozen_dataclass(value)
    if isinstance(value, MutableSequence | MutableMapping | MutableSet):
        raise Refused(f"is a {type(value).__name__}, which can be changed; use a list, dict, set or tuple")
    return value


def _frozen_items(items: Any) -> dict[Any, Any]:
    frozen = {}
    for key, item in items:
        try:
            frozen[key] = _frozen(item)
        except Refused as refused:
            refused.keys.append(key)
            raise
    return frozen


def _frozen_model(model: BaseModel) -> BaseModel:
    if not model.model_config.get("frozen"):
        name = type(model).__name__
        raise Refused(f"is a {name}, which can be changed; write class {name}(BaseModel, frozen=True)")
    fields = {**model.__dict__, **(model.__pydantic_extra__ or {})}
    changed = {name: item for name, item in _frozen_items(fields.items()).items() if item is not fields[name]}
    return model.model_copy(update=changed) if changed else model


def _frozen_dataclass(value: Any) -> Any:
    cls = type(value)
    if not cls.__dataclass_params__.frozen:
        raise Refused(f"is a {cls.__name__}, which can be changed; write @dataclass(frozen=True)")
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    changed = {name: item for name, item in _frozen_items(fields.items()).items() if item is not fields[name]}
    if not changed:
        return value
    made = copy.copy(value)
    for name, item in changed.items():
        object.__setattr__(made, name, item)
    return made


def _frozen_tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    items = list(_frozen_items(enumerate(value)).values())
    if all(item is old for item, old in zip(items, value, strict=True)):
        return value
    make = getattr(type(value), "_make", type(value))  # named tuples take their items one by one
    return cast("tuple[Any, ...]", make(items))

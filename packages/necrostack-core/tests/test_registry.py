"""The registry of declared classes: who may declare an event type, and who replaces whom."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar
from uuid import uuid4

import pytest
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, computed_field

from necrostack.errors import EventTypeError
from necrostack.event import Event, as_declared, declarations, declared_class, event_from_parts, literal_event_type

T = TypeVar("T")
SHIPPED = """
from __future__ import annotations
from typing import Literal
from pydantic import BaseModel
from necrostack import Event


class Parcel(BaseModel, frozen=True):
    number: int


class Shipped(Event):
    event_type: Literal["REGISTRY_SHIPPED"] = "REGISTRY_SHIPPED"
    payload: Parcel
"""


class Parcel(BaseModel, frozen=True):
    number: int


class Taken(Event):
    event_type: Literal["REGISTRY_TAKEN"] = "REGISTRY_TAKEN"
    payload: Parcel


class TakenToo(Taken):
    """Merely inherits."""


class Run(Protocol):
    def __call__(self, source: str, module: str) -> types.ModuleType: ...


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs source code in a module of a name, again and again as a notebook does."""

    def run(source: str, module: str) -> types.ModuleType:
        made = types.ModuleType(module)
        monkeypatch.setitem(sys.modules, module, made)
        exec(source, vars(made))  # noqa: S102 -- the source is written here
        return made

    return run


# --- what is registered -------------------------------------------------------------------------------------


def test_a_class_with_a_literal_of_one_value_is_declared() -> None:
    assert declared_class("REGISTRY_TAKEN") is Taken
    assert literal_event_type(Taken) == "REGISTRY_TAKEN"


def test_an_event_type_that_nobody_declared_belongs_to_event() -> None:
    assert declared_class("REGISTRY_UNHEARD_OF") is Event
    assert literal_event_type(Event) is None


def test_a_literal_without_a_default_declares_as_well() -> None:
    class Strict(Event):
        event_type: Literal["REGISTRY_STRICT"]
        payload: Parcel

    assert declared_class("REGISTRY_STRICT") is Strict


def test_a_class_that_merely_inherits_its_event_type_leaves_the_declaring_class_in_place() -> None:
    assert issubclass(TakenToo, Taken)
    assert declared_class("REGISTRY_TAKEN") is Taken


def test_a_subclass_with_an_event_type_of_its_own_is_declared_for_that() -> None:
    class Retaken(Taken):
        event_type: Literal["REGISTRY_RETAKEN"] = "REGISTRY_RETAKEN"  # type: ignore[assignment]

    assert declared_class("REGISTRY_RETAKEN") is Retaken
    assert declared_class("REGISTRY_TAKEN") is Taken


def test_a_class_that_leaves_its_event_type_open_is_not_registered() -> None:
    before = declarations()

    class Several(Event):
        event_type: Literal["REGISTRY_ONE", "REGISTRY_TWO"]
        payload: Parcel

    class Open(Event):
        event_type: str = "REGISTRY_OPEN"
        payload: Parcel

    assert [declared_class(name) for name in ("REGISTRY_ONE", "REGISTRY_TWO", "REGISTRY_OPEN")] == [Event] * 3
    assert literal_event_type(Several) is literal_event_type(Open) is None
    assert declarations() == before


def test_what_is_not_registered_arrives_as_event() -> None:
    class Several(Event):
        event_type: Literal["REGISTRY_ONE", "REGISTRY_TWO"]
        payload: Parcel

    raised = as_declared(Several(event_type="REGISTRY_ONE", payload=Parcel(number=1)))

    assert type(raised) is Event
    assert raised.payload == {"number": 1}


def test_of_a_generic_class_the_general_form_is_declared() -> None:
    class Wrapped(Event, Generic[T]):
        event_type: Literal["REGISTRY_WRAPPED"] = "REGISTRY_WRAPPED"
        payload: T

    event = Wrapped[Parcel](payload=Parcel(number=1))

    assert declared_class("REGISTRY_WRAPPED") is Wrapped
    assert event.payload.number == 1


def test_declarations_are_counted(run: Run) -> None:
    before = declarations()

    run(SHIPPED, "somewhere")

    assert declarations() == before + 1


# --- who replaces whom --------------------------------------------------------------------------------------


def test_the_same_source_run_again_as_a_notebook_does_replaces_quietly(run: Run) -> None:
    first, second = run(SHIPPED, "__main__"), run(SHIPPED, "__main__")

    assert declared_class("REGISTRY_SHIPPED") is second.Shipped is not first.Shipped


def test_an_event_of_the_class_that_was_replaced_becomes_one_of_the_new_class(run: Run) -> None:
    first, second = run(SHIPPED, "cell"), run(SHIPPED, "cell")
    event = first.Shipped(payload=first.Parcel(number=1))

    raised = as_declared(event)

    assert type(raised) is second.Shipped
    assert type(raised.payload) is second.Parcel


def test_a_reload_replaces_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reloaded_events.py").write_text(SHIPPED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_events")
    first = module.Shipped

    importlib.reload(module)

    assert declared_class("REGISTRY_SHIPPED") is module.Shipped is not first


def test_one_file_as_main_and_as_a_module_replaces_quietly(tmp_path: Path) -> None:
    program = tmp_path / "app.py"
    program.write_text(
        SHIPPED
        + """

if __name__ == "__main__":
    import app
    from necrostack.event import declared_class

    assert app.Shipped is not Shipped
    assert declared_class("REGISTRY_SHIPPED") is app.Shipped
    print("replaced")
""",
        encoding="utf-8",
    )

    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("replaced\n", "")


def test_of_two_classes_made_in_functions_the_later_wins() -> None:
    def first() -> type[Event]:
        class Local(Event):
            event_type: Literal["REGISTRY_LOCAL"] = "REGISTRY_LOCAL"
            payload: Parcel

        return Local

    def second() -> type[Event]:
        class Other(Event):
            event_type: Literal["REGISTRY_LOCAL"] = "REGISTRY_LOCAL"
            payload: Parcel

        return Other

    first()
    later = second()

    assert declared_class("REGISTRY_LOCAL") is later


def test_two_classes_for_one_event_type_are_an_error_that_names_both(run: Run) -> None:
    run(SHIPPED, "one")

    with pytest.raises(EventTypeError) as caught:
        run(SHIPPED.replace("class Shipped", "class Sent"), "two")

    assert str(caught.value) == (
        "two.Sent declares the event type 'REGISTRY_SHIPPED', which one.Shipped declares already; "
        "give one of them another event_type"
    )


def test_the_same_name_in_two_modules_is_an_error_too(run: Run) -> None:
    first = run(SHIPPED, "one")

    with pytest.raises(EventTypeError, match=r"two\.Shipped declares .* which one\.Shipped declares already"):
        run(SHIPPED, "two")

    assert declared_class("REGISTRY_SHIPPED") is first.Shipped


def test_a_class_in_a_function_does_not_take_the_event_type_of_one_in_a_module() -> None:
    with pytest.raises(EventTypeError, match=r"Thief declares the event type 'REGISTRY_TAKEN', which .*Taken"):

        class Thief(Event):
            event_type: Literal["REGISTRY_TAKEN"] = "REGISTRY_TAKEN"
            payload: Parcel

    assert declared_class("REGISTRY_TAKEN") is Taken


# --- what cannot be declared --------------------------------------------------------------------------------


class Kind(StrEnum):
    SENT = "REGISTRY_SENT"


FIX = 'write event_type: Literal["ORDER_PLACED"] = "ORDER_PLACED"'


def declare(**namespace: Any) -> None:
    annotations = {"payload": Parcel, **namespace.pop("annotations", {})}
    type(
        "Bad",
        (Event,),
        {"__module__": "m", "__qualname__": "Bad", "__annotations__": annotations, **namespace},
    )


@pytest.mark.parametrize(
    ("literal", "problem"),
    [
        (Literal[""], "String should have at least 1 character"),
        (Literal["a\nb"], "String should match pattern"),
        (Literal["x" * 256], "String should have at most 255 characters"),
        (Literal[" SENT "], "' SENT ' is no plain string without surrounding blanks"),
        (Literal[5], "5 is no plain string without surrounding blanks"),
        (Literal[Kind.SENT], "is no plain string without surrounding blanks"),
    ],
    ids=["empty", "control", "long", "blanks", "number", "enum"],
)
def test_a_literal_that_no_event_type_can_be_is_refused(literal: Any, problem: str) -> None:
    with pytest.raises(EventTypeError) as caught:
        declare(annotations={"event_type": literal})

    assert str(caught.value).startswith("m.Bad.event_type: ")
    assert problem in str(caught.value)
    assert str(caught.value).endswith(FIX)


def test_a_default_that_is_not_the_literal_is_refused() -> None:
    with pytest.raises(EventTypeError) as caught:
        declare(annotations={"event_type": Literal["A"]}, event_type="B")

    assert str(caught.value) == f"m.Bad.event_type: the default 'B' is not the Literal 'A'; {FIX}"


def test_an_event_type_that_is_a_class_variable_is_refused() -> None:
    with pytest.raises(EventTypeError) as caught:
        declare(annotations={"event_type": ClassVar[str]}, event_type="A")

    assert str(caught.value) == (f"m.Bad makes event_type a class variable, but it is a field of every event; {FIX}")


def test_a_field_beside_the_payload_is_refused() -> None:
    with pytest.raises(EventTypeError) as caught:
        declare(annotations={"amount": int})

    assert str(caught.value) == "m.Bad adds the field 'amount' to the envelope; put it into the payload"


def test_a_computed_field_on_the_envelope_is_refused() -> None:
    with pytest.raises(EventTypeError, match="adds the field 'double' to the envelope; put it into the payload"):

        class Computing(Event):
            payload: Parcel

            @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
            @property
            def double(self) -> int:
                return 2


@pytest.mark.parametrize("name", ["id", "timestamp", "correlation_id", "causation_id", "hops", "headers"])
def test_a_field_of_the_envelope_cannot_be_redefined(name: str) -> None:
    with pytest.raises(EventTypeError) as caught:
        declare(annotations={name: str}, **{name: "a"})

    assert str(caught.value) == f"m.Bad redefines {name}; a subclass may narrow event_type and payload only"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (ConfigDict(frozen=False), "sets frozen=False; events keep frozen=True"),
        (ConfigDict(extra="allow"), "sets extra='allow'; events keep extra='forbid'"),
    ],
    ids=["frozen", "extra"],
)
def test_a_class_cannot_make_events_changeable_or_open(config: ConfigDict, problem: str) -> None:
    with pytest.raises(EventTypeError, match=problem):
        declare(model_config=config)


def test_fields_of_the_envelope_have_no_aliases() -> None:
    with pytest.raises(EventTypeError, match=r"Bad\.\w+ is read by an alias; the fields of an event keep their"):
        declare(model_config=ConfigDict(alias_generator=str.upper))
    with pytest.raises(EventTypeError, match=r"Bad\.payload is read by an alias"):
        declare(payload=Field(alias="data"))


def test_a_class_that_cannot_be_declared_leaves_no_trace() -> None:
    with pytest.raises(EventTypeError):
        declare(annotations={"event_type": Literal["REGISTRY_TRACE"], "extra": int})

    assert declared_class("REGISTRY_TRACE") is Event


# --- annotations that are completed later -------------------------------------------------------------------

LATER = """
from __future__ import annotations
from typing import Literal
from pydantic import BaseModel
from necrostack import Event


class Delivered(Event):
    event_type: Literal["REGISTRY_DELIVERED"] = "REGISTRY_DELIVERED"
    payload: Receipt


class Receipt(BaseModel, frozen=FROZEN):
    lines: list[Line]


class Line(BaseModel, frozen=True):
    number: int
"""


def test_a_payload_may_be_defined_after_its_event(run: Run) -> None:
    module = run(LATER.replace("FROZEN", "True"), "later")
    module.Delivered.model_rebuild()

    event = Event.from_json(b'{"event_type":"REGISTRY_DELIVERED","payload":{"lines":[{"number":1}]}}')

    assert type(event) is module.Delivered
    with pytest.raises(TypeError, match="immutable"):
        event.payload.lines.append(1)


INHERITING = """
from __future__ import annotations
from typing import Literal
from pydantic import BaseModel
from necrostack import Event


class Parcel(BaseModel, frozen=True):
    number: int


class Sent(Event):
    event_type: Literal["REGISTRY_SENT"] = "REGISTRY_SENT"
    payload: Parcel


class Returned(Sent):
    event_type: Literal["REGISTRY_RETURNED"] = "REGISTRY_RETURNED"
    payload: Reason


class Reason(Parcel, frozen=True):
    text: str
"""


def test_a_class_that_waits_for_its_payload_takes_none_of_the_class_that_it_inherits_from(run: Run) -> None:
    module = run(INHERITING, "inheriting")
    moment, event_id = datetime.now(UTC), uuid4()
    parts = moment, event_id, event_id, None, 0

    read = event_from_parts("REGISTRY_SENT", b'{"number":1}', *parts)
    early = event_from_parts("REGISTRY_RETURNED", b'{"number":1}', *parts)
    with pytest.raises(ValidationError, match="payload"):
        module.Returned(payload=module.Parcel(number=1))
    late = event_from_parts("REGISTRY_RETURNED", b'{"number":1,"text":"broken"}', *parts)

    assert read is not None
    assert type(read.payload) is module.Parcel
    assert early is None
    assert late is not None
    assert type(late.payload) is module.Reason


def test_a_payload_that_turns_out_mutable_when_it_is_completed_is_refused_then(run: Run) -> None:
    module = run(LATER.replace("FROZEN", "False"), "later")

    with pytest.raises(EventTypeError, match=r"Delivered\.payload holds Receipt, whose objects can be changed"):
        module.Delivered.model_rebuild()


def test_an_event_whose_payload_is_never_defined_cannot_be_made(run: Run) -> None:
    module = run(LATER.partition("class Receipt")[0], "never")

    with pytest.raises(PydanticUserError, match="`Delivered` is not fully defined"):
        module.Delivered(payload={})

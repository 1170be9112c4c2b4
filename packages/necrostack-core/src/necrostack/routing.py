"""Which Organs get which events, and the graph of it: built once, read-only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from necrostack.errors import OrganError
from necrostack.event import literal_event_type
from necrostack.inspection import OrganSpec, inspect_organ
from necrostack.organ import Organ
from necrostack.topology import OrganNode, Topology


class Routes:
    """Event type to Organs, in registration order.

    Attributes:
        specs: Every Organ, in registration order.
        by_event_type: The Organs that listen to each event type.
        by_name: Every Organ by its name.
    """

    def __init__(self, organs: Iterable[Organ[Any]]) -> None:
        """Inspect the Organs and build the table.

        Raises:
            OrganError: One of them is declared wrongly, or two have one name.
        """
        self.specs: Sequence[OrganSpec] = tuple(inspect_organ(organ) for organ in organs)
        self.by_name: dict[str, OrganSpec] = {}
        self.by_event_type: dict[str, tuple[OrganSpec, ...]] = {}
        for spec in self.specs:
            self._add(spec)

    def _add(self, spec: OrganSpec) -> None:
        other = self.by_name.setdefault(spec.name, spec)
        if other is not spec:
            first, second = type(other.organ).__qualname__, type(spec.organ).__qualname__
            msg = (
                f"two Organs are named {spec.name!r} ({first} and {second}); "
                f"give one of them another name, such as {second}(name={spec.name + '2'!r})"
            )
            raise OrganError(msg)
        for event_type in spec.event_types:
            self.by_event_type[event_type] = (*self.by_event_type.get(event_type, ()), spec)


def topology_of(specs: Sequence[OrganSpec]) -> Topology:
    """Draw the graph of inspected Organs."""
    return Topology(
        tuple(
            OrganNode(name=spec.name, listens_to=spec.event_types, emits=_emits(spec), is_async=spec.is_async)
            for spec in specs
        )
    )


def _emits(spec: OrganSpec) -> tuple[str, ...] | None:
    if spec.emits is None:
        return None
    names = [literal_event_type(cls) for cls in spec.emits]
    # A class that leaves its event type open says as little as plain Event.
    return None if None in names else tuple(name for name in names if name is not None)

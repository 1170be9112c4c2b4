"""NecroStack: typed events, Organs that handle them, and a Spine that runs Organs on a backend.

This is the one documented import path. `necrostack.testing` has what tests need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from necrostack.backend import Backend
    from necrostack.backends import open_backend
    from necrostack.delivery import DeadLetter, Delivery, Settlement
    from necrostack.errors import BackendFull, GiveUp, MaxStepsExceeded, NecroStackError, RetryLater
    from necrostack.event import Event
    from necrostack.memory import InMemoryBackend
    from necrostack.organ import Organ
    from necrostack.report import RunReport
    from necrostack.retry import RetryPolicy
    from necrostack.spine import Spine

    __version__: str

__all__ = [
    "Backend",
    "BackendFull",
    "DeadLetter",
    "Delivery",
    "Event",
    "GiveUp",
    "InMemoryBackend",
    "MaxStepsExceeded",
    "NecroStackError",
    "Organ",
    "RetryLater",
    "RetryPolicy",
    "RunReport",
    "Settlement",
    "Spine",
    "open_backend",
]

# Where each name is at home. It is imported when it is asked for: a module that only declares events, or a command line
# that only prints its help, need not pay for asyncio and everything that runs on it.
_HOMES = {
    "backend": ["Backend"],
    "backends": ["open_backend"],
    "delivery": ["DeadLetter", "Delivery", "Settlement"],
    "errors": ["BackendFull", "GiveUp", "MaxStepsExceeded", "NecroStackError", "RetryLater"],
    "event": ["Event"],
    "memory": ["InMemoryBackend"],
    "organ": ["Organ"],
    "report": ["RunReport"],
    "retry": ["RetryPolicy"],
    "spine": ["Spine"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # a checker that saw this would take every misspelt name for one of ours

    def __getattr__(name: str) -> object:
        if name in _HOME_OF:
            value: object = getattr(import_module(f"necrostack.{_HOME_OF[name]}"), name)
            globals()[name] = value
            return value
        if name == "__version__":
            # Reading the installed metadata costs 30 ms.
            from importlib.metadata import version

            return version("necrostack-core")
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})

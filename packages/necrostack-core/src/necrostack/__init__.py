"""NecroStack: typed events, Organs that handle them, and a Spine that runs Organs on a backend.

This is the one documented import path. `necrostack.testing` has what tests need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
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


def __getattr__(name: str) -> str:
    # Reading the installed metadata costs 30 ms that an import need not pay.
    if name == "__version__":
        from importlib.metadata import version

        return version("necrostack-core")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

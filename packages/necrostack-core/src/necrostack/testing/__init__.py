"""What tests need: time that jumps, a Spine with its backend and recorder, and the contract of a backend.

Nothing in here needs pytest; with pytest installed, the plugin `necrostack.testing.plugin` brings fixtures.
The contract suite is `necrostack.testing.contract`.
"""

from __future__ import annotations

from necrostack.testing.clock import VirtualClock
from necrostack.testing.fixture import SpineFixture
from necrostack.testing.recorder import HandlerCall, Recorder

__all__ = ["HandlerCall", "Recorder", "SpineFixture", "VirtualClock"]

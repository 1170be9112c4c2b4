"""What is being handled right now, in this context: for whoever emits or logs from inside a handler."""

from __future__ import annotations

from contextvars import ContextVar

from necrostack.event import Event

now_handling: ContextVar[tuple[Event, str] | None] = ContextVar("necrostack_handling", default=None)
"""The event, and the name of the Organ that handles it; None outside a handler.

Tasks, and threads of `asyncio.to_thread`, that a handler starts have a copy of it.
"""

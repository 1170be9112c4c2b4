"""What is kept, as JSON-compatible values: what `--json` writes."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from necrostack.backend import BackendStats, Group, PendingDelivery, ScheduledDelivery
from necrostack.delivery import DeadLetter
from necrostack.event import Event


def event_facts(event: Event) -> dict[str, Any]:
    """An event, as `emit --file` and `run --feed` read it."""
    found: dict[str, Any] = event.model_dump(mode="json")
    return found


def letter_facts(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter. The bytes of one that cannot be read are in Base64."""
    raw = letter.raw
    return {
        "id": letter.id,
        "reason": letter.reason,
        "organ": letter.organ,
        "error_type": letter.error_type,
        "error": letter.error,
        "traceback": letter.traceback,
        "attempts": [
            {"time": attempt.time.isoformat(), "error": attempt.error, "delay": attempt.delay}
            for attempt in letter.attempts
        ],
        "dead_at": letter.dead_at.isoformat(),
        "redriven_at": None if letter.redriven_at is None else letter.redriven_at.isoformat(),
        "event": None if letter.event is None else event_facts(letter.event),
        "raw": None
        if raw is None
        else {name.decode(errors="backslashreplace"): b64encode(value).decode() for name, value in raw.items()},
    }


def pending_facts(pending: PendingDelivery) -> dict[str, Any]:
    """A delivery that is pulled and not settled."""
    return {
        "event": event_facts(pending.event),
        "attempt": pending.attempt,
        "organs": None if pending.organs is None else list(pending.organs),
        "worker": pending.consumer,
        "pending_for": pending.idle,
    }


def scheduled_facts(scheduled: ScheduledDelivery) -> dict[str, Any]:
    """A delivery that is due later."""
    return {
        "event": event_facts(scheduled.event),
        "attempt": scheduled.attempt,
        "organs": None if scheduled.organs is None else list(scheduled.organs),
        "due": scheduled.due.isoformat(),
    }


def stats_facts(stats: BackendStats) -> dict[str, Any]:
    """How much is kept."""
    return {
        "queued": stats.queued,
        "pending": stats.pending,
        "scheduled": stats.scheduled,
        "dead": stats.dead,
        "workers": stats.consumers,
        "oldest_pending": stats.oldest_pending,
        "history": stats.history,
    }


def group_facts(group: Group) -> dict[str, Any]:
    """A group, and how much is kept for it."""
    return {
        "name": group.name,
        **stats_facts(group.stats),
        "behind": group.behind,
        "ephemeral_after": group.ephemeral_after,
    }

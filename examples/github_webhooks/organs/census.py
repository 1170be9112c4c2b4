"""Counts every delivery, whatever its kind: the organ that needs no models."""

from pydantic import BaseModel

from examples.github_webhooks.kinds import KINDS
from examples.github_webhooks.tally import Tallied, tallied
from necrostack import Event, Organ

NO_REPOSITORY = "(no repository)"
"""Where deliveries about an organisation, an account or an app are counted."""


class Census(Organ[Event]):
    """Counts deliveries and their senders per repository."""

    listens_to = KINDS

    def handle(self, event: Event) -> list[Tallied]:
        payload = event.payload.model_dump() if isinstance(event.payload, BaseModel) else event.payload
        repository = payload["repository"]["full_name"] if "repository" in payload else NO_REPOSITORY
        counted = [tallied(repository, "deliveries", "total")]
        if "sender" in payload:
            counted.append(tallied(repository, "senders", payload["sender"]["login"]))
        return counted

"""Second row: the organ that has to wait. The page is retried, and nothing else."""

from examples.github_webhooks.facts import AlertOpened, TeamPaged
from examples.github_webhooks.outbox import Outbox, OutboxBusyError
from necrostack import Organ, RetryLater, RetryPolicy


class Pager(Organ[AlertOpened]):
    """Pages the owners of a repository about an open alert."""

    listens_to = [AlertOpened]
    retry = RetryPolicy(max_attempts=5)

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    async def handle(self, event: AlertOpened) -> TeamPaged:
        alert = event.payload
        try:
            # The event's id is the same on every attempt: whatever happens, one page goes out.
            await self._outbox.send(event.id, f"{alert.repository}: {alert.severity} alert, {alert.subject}")
        except OutboxBusyError as busy:
            raise RetryLater(after=busy.after) from busy
        return TeamPaged(payload=alert)

"""First row, security: three kinds of alert on three scales become one."""

from typing import Final

from examples.github_webhooks.facts import Alert, AlertOpened, AlertResolved, Severity
from examples.github_webhooks.security import (
    AlertReceived,
    CodeScanningReceived,
    DependabotReceived,
    VulnerabilityReceived,
)
from necrostack import GiveUp, Organ

SEVERITIES: Final[dict[str | None, Severity]] = {
    "note": "low",
    "low": "low",
    "warning": "medium",
    "moderate": "medium",
    "medium": "medium",
    "error": "high",
    "high": "high",
    "critical": "critical",
}
OPENING: Final = frozenset({"create", "created", "reopened", "reopened_by_user", "reintroduced"})
"""Actions after which somebody has work to do. After any other the alert is fixed or dismissed."""


class Alerts(Organ[AlertReceived]):
    listens_to = [CodeScanningReceived, DependabotReceived, VulnerabilityReceived]

    def handle(self, event: AlertReceived) -> AlertOpened | AlertResolved:
        subject, graded = subject_of(event)
        severity = SEVERITIES.get(graded)
        if severity is None:
            msg = f"the alert on {subject} has the severity {graded!r}, which is none of {[*SEVERITIES]}"
            raise GiveUp(msg)
        fact = Alert(repository=event.payload.repository.full_name, subject=subject, severity=severity)
        return AlertOpened(payload=fact) if event.payload.action in OPENING else AlertResolved(payload=fact)


def subject_of(event: AlertReceived) -> tuple[str, str | None]:
    """Name what an alert is about, and the severity that its source gave it."""
    match event:
        case CodeScanningReceived(payload=found):
            return found.alert.rule.id, found.alert.rule.severity
        case DependabotReceived(payload=found):
            return found.alert.security_advisory.ghsa_id, found.alert.security_advisory.severity
        case VulnerabilityReceived(payload=found):
            return found.alert.ghsa_id, found.alert.severity

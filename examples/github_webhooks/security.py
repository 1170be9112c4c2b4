"""What GitHub says of a repository's security: three kinds of delivery, with three scales of severity."""

from typing import Literal

from examples.github_webhooks.deliveries import Delivery, Recorded
from necrostack import Event


class Rule(Recorded):
    id: str
    severity: str | None  # "note", "warning" or "error"; GitHub documents that it may be null


class CodeScanningAlert(Recorded):
    rule: Rule


class CodeScanningDelivery(Delivery):
    action: str
    alert: CodeScanningAlert


class CodeScanningReceived(Event):
    event_type: Literal["GITHUB_CODE_SCANNING_ALERT"] = "GITHUB_CODE_SCANNING_ALERT"
    payload: CodeScanningDelivery


class Advisory(Recorded):
    ghsa_id: str
    severity: str  # "low", "medium", "high" or "critical"


class DependabotAlert(Recorded):
    security_advisory: Advisory


class DependabotDelivery(Delivery):
    action: str
    alert: DependabotAlert


class DependabotReceived(Event):
    event_type: Literal["GITHUB_DEPENDABOT_ALERT"] = "GITHUB_DEPENDABOT_ALERT"
    payload: DependabotDelivery


class VulnerabilityAlert(Recorded):
    ghsa_id: str
    severity: str  # "low", "moderate", "high" or "critical"


class VulnerabilityDelivery(Delivery):
    action: str
    alert: VulnerabilityAlert


class VulnerabilityReceived(Event):
    event_type: Literal["GITHUB_REPOSITORY_VULNERABILITY_ALERT"] = "GITHUB_REPOSITORY_VULNERABILITY_ALERT"
    payload: VulnerabilityDelivery


AlertReceived = CodeScanningReceived | DependabotReceived | VulnerabilityReceived

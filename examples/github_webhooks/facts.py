"""What it means: the facts that the first row of organs states, in our own words."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from necrostack import Event

Severity = Literal["low", "medium", "high", "critical"]


class Fact(BaseModel):
    """Something that happened in one repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str


class Code(Fact):
    ref: str
    commits: int
    deleted: bool


class CodePushed(Event):
    event_type: Literal["CODE_PUSHED"] = "CODE_PUSHED"
    payload: Code


class Release(Fact):
    tag: str
    action: str


class ReleaseChanged(Event):
    event_type: Literal["RELEASE_CHANGED"] = "RELEASE_CHANGED"
    payload: Release


class Change(Fact):
    """What was done to an issue or a pull request, and when: workers do not keep the order of deliveries."""

    number: int
    action: str
    open: bool
    moment: AwareDatetime


class Issue(Change): ...


class IssueChanged(Event):
    event_type: Literal["ISSUE_CHANGED"] = "ISSUE_CHANGED"
    payload: Issue


class PullRequest(Change): ...


class PullRequestChanged(Event):
    event_type: Literal["PULL_REQUEST_CHANGED"] = "PULL_REQUEST_CHANGED"
    payload: PullRequest


class Review(Fact):
    verdict: str


class ReviewGiven(Event):
    event_type: Literal["REVIEW_GIVEN"] = "REVIEW_GIVEN"
    payload: Review


class Workflow(Fact):
    conclusion: str


class WorkflowConcluded(Event):
    event_type: Literal["WORKFLOW_CONCLUDED"] = "WORKFLOW_CONCLUDED"
    payload: Workflow


class Alert(Fact):
    subject: str
    severity: Severity


class AlertOpened(Event):
    event_type: Literal["ALERT_OPENED"] = "ALERT_OPENED"
    payload: Alert


class AlertResolved(Event):
    event_type: Literal["ALERT_RESOLVED"] = "ALERT_RESOLVED"
    payload: Alert


class TeamPaged(Event):
    event_type: Literal["TEAM_PAGED"] = "TEAM_PAGED"
    payload: Alert

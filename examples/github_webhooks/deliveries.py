"""What GitHub says: typed events for the kinds of delivery that the organs look into.

Each payload model names the fields that somebody uses and ignores the hundreds of others. The kinds without a
class here arrive as plain Events, their payload the whole JSON object.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from necrostack import Event


class Recorded(BaseModel):
    """A part of a delivery: never changed, and larger in reality than here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Repository(Recorded):
    full_name: str


class Account(Recorded):
    login: str


class Delivery(Recorded):
    """What every delivery about a repository carries."""

    repository: Repository
    sender: Account


class Commit(Recorded):
    id: str


class Push(Delivery):
    ref: str
    deleted: bool
    commits: tuple[Commit, ...]


class PushReceived(Event):
    event_type: Literal["GITHUB_PUSH"] = "GITHUB_PUSH"
    payload: Push


class Issue(Recorded):
    number: int
    state: Literal["open", "closed"] | None = None  # some recorded deliveries lack it


class IssueDelivery(Delivery):
    action: str
    issue: Issue


class IssueReceived(Event):
    event_type: Literal["GITHUB_ISSUES"] = "GITHUB_ISSUES"
    payload: IssueDelivery


class PullRequest(Recorded):
    number: int
    state: Literal["open", "closed"]
    merged: bool


class PullRequestDelivery(Delivery):
    action: str
    pull_request: PullRequest


class PullRequestReceived(Event):
    event_type: Literal["GITHUB_PULL_REQUEST"] = "GITHUB_PULL_REQUEST"
    payload: PullRequestDelivery


class Review(Recorded):
    state: str


class ReviewDelivery(Delivery):
    action: str
    review: Review


class ReviewReceived(Event):
    event_type: Literal["GITHUB_PULL_REQUEST_REVIEW"] = "GITHUB_PULL_REQUEST_REVIEW"
    payload: ReviewDelivery


class Release(Recorded):
    tag_name: str


class ReleaseDelivery(Delivery):
    action: str
    release: Release


class ReleaseReceived(Event):
    event_type: Literal["GITHUB_RELEASE"] = "GITHUB_RELEASE"
    payload: ReleaseDelivery


class WorkflowRun(Recorded):
    id: int
    conclusion: str | None


class WorkflowRunDelivery(Delivery):
    action: str
    workflow_run: WorkflowRun


class WorkflowRunReceived(Event):
    event_type: Literal["GITHUB_WORKFLOW_RUN"] = "GITHUB_WORKFLOW_RUN"
    payload: WorkflowRunDelivery

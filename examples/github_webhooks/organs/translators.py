"""First row: each organ reads one kind of delivery and states, as a fact, what it means."""

from examples.github_webhooks.deliveries import (
    IssueReceived,
    PullRequestReceived,
    PushReceived,
    ReleaseReceived,
    ReviewReceived,
    WorkflowRunReceived,
)
from examples.github_webhooks.facts import (
    Code,
    CodePushed,
    Issue,
    IssueChanged,
    PullRequest,
    PullRequestChanged,
    Release,
    ReleaseChanged,
    Review,
    ReviewGiven,
    Workflow,
    WorkflowConcluded,
)
from necrostack import GiveUp, Organ


class Pushes(Organ[PushReceived]):
    listens_to = [PushReceived]

    def handle(self, event: PushReceived) -> CodePushed:
        push = event.payload
        commits = len(push.commits)
        fact = Code(repository=push.repository.full_name, ref=push.ref, commits=commits, deleted=push.deleted)
        return CodePushed(payload=fact)


class Releases(Organ[ReleaseReceived]):
    listens_to = [ReleaseReceived]

    def handle(self, event: ReleaseReceived) -> ReleaseChanged:
        told = event.payload
        fact = Release(repository=told.repository.full_name, tag=told.release.tag_name, action=told.action)
        return ReleaseChanged(payload=fact)


class Issues(Organ[IssueReceived]):
    """Gives up on an issue of which nobody can say whether it is open: a retry would read the same bytes."""

    listens_to = [IssueReceived]

    def handle(self, event: IssueReceived) -> IssueChanged:
        told, issue = event.payload, event.payload.issue
        if issue.state is None:
            msg = f"issue {issue.number} was {told.action}, but the delivery does not tell whether it is open"
            raise GiveUp(msg)
        fact = Issue(
            repository=told.repository.full_name,
            number=issue.number,
            action=told.action,
            open=issue.state == "open",
            moment=event.timestamp,
        )
        return IssueChanged(payload=fact)


class PullRequests(Organ[PullRequestReceived]):
    """Tells merged from closed, which share one action at GitHub."""

    listens_to = [PullRequestReceived]

    def handle(self, event: PullRequestReceived) -> PullRequestChanged:
        told, pull = event.payload, event.payload.pull_request
        action = "merged" if told.action == "closed" and pull.merged else told.action
        fact = PullRequest(
            repository=told.repository.full_name,
            number=pull.number,
            action=action,
            open=pull.state == "open",
            moment=event.timestamp,
        )
        return PullRequestChanged(payload=fact)


class Reviews(Organ[ReviewReceived]):
    listens_to = [ReviewReceived]

    def handle(self, event: ReviewReceived) -> ReviewGiven:
        told = event.payload
        return ReviewGiven(payload=Review(repository=told.repository.full_name, verdict=told.review.state))


class Workflows(Organ[WorkflowRunReceived]):
    """Waits for runs to complete; gives up on one that completed without a conclusion."""

    listens_to = [WorkflowRunReceived]

    def handle(self, event: WorkflowRunReceived) -> WorkflowConcluded | None:
        told, run = event.payload, event.payload.workflow_run
        if told.action != "completed":
            return None
        if run.conclusion is None:
            msg = f"workflow run {run.id} completed, but the delivery does not tell how"
            raise GiveUp(msg)
        fact = Workflow(repository=told.repository.full_name, conclusion=run.conclusion)
        return WorkflowConcluded(payload=fact)

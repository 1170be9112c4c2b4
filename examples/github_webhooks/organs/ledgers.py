"""Second row: each ledger knows which figures of the report a fact changes."""

from examples.github_webhooks.books import Books
from examples.github_webhooks.facts import (
    AlertOpened,
    AlertResolved,
    CodePushed,
    IssueChanged,
    PullRequestChanged,
    ReleaseChanged,
    ReviewGiven,
    TeamPaged,
    WorkflowConcluded,
)
from examples.github_webhooks.tally import Section, Tallied, tallied
from necrostack import Organ


class CodeLedger(Organ[CodePushed | ReleaseChanged]):
    listens_to = [CodePushed, ReleaseChanged]

    def handle(self, event: CodePushed | ReleaseChanged) -> list[Tallied]:
        repository = event.payload.repository
        if isinstance(event, ReleaseChanged):
            return [tallied(repository, "releases", event.payload.action)]
        counted = [
            tallied(repository, "code", "pushes"),
            tallied(repository, "code", "commits", event.payload.commits),
        ]
        if event.payload.deleted:
            counted.append(tallied(repository, "code", "deleted refs"))
        return counted


class WorkLedger(Organ[IssueChanged | PullRequestChanged | ReviewGiven]):
    """Counts what is done to issues and pull requests, and notes which of them are open.

    It says how things stand, never by how much that differs from before: a second worker has seen another before.
    """

    listens_to = [IssueChanged, PullRequestChanged, ReviewGiven]

    def __init__(self, books: Books) -> None:
        super().__init__()
        self._books = books

    def handle(self, event: IssueChanged | PullRequestChanged | ReviewGiven) -> Tallied:
        if isinstance(event, ReviewGiven):
            return tallied(event.payload.repository, "reviews", event.payload.verdict)
        fact = event.payload
        section: Section = "issues" if isinstance(event, IssueChanged) else "pull requests"
        self._books.note_state(fact.repository, section, fact.number, fact.moment, is_open=fact.open)
        return tallied(fact.repository, section, fact.action)


class HealthLedger(Organ[WorkflowConcluded | AlertOpened | AlertResolved | TeamPaged]):
    listens_to = [WorkflowConcluded, AlertOpened, AlertResolved, TeamPaged]

    def handle(self, event: WorkflowConcluded | AlertOpened | AlertResolved | TeamPaged) -> Tallied:
        repository = event.payload.repository
        match event:
            case WorkflowConcluded(payload=workflow):
                return tallied(repository, "workflows", workflow.conclusion)
            case AlertOpened(payload=alert):
                return tallied(repository, "alerts", f"{alert.severity} opened")
            case AlertResolved(payload=alert):
                return tallied(repository, "alerts", f"{alert.severity} resolved")
            case TeamPaged():
                return tallied(repository, "alerts", "paged")

"""What it adds up to: one figure of one repository changes by an amount."""

from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

from necrostack import Event

Section = Literal[
    "deliveries", "senders", "code", "releases", "issues", "pull requests", "reviews", "workflows", "alerts"
]
SECTIONS: Final[tuple[Section, ...]] = get_args(Section)


class Tally(BaseModel):
    """Add `amount` to a figure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    section: Section
    figure: str
    amount: int = 1


class Tallied(Event):
    event_type: Literal["TALLIED"] = "TALLIED"
    payload: Tally


def tallied(repository: str, section: Section, figure: str, amount: int = 1) -> Tallied:
    """State that a figure of a repository changed."""
    return Tallied(payload=Tally(repository=repository, section=section, figure=figure, amount=amount))

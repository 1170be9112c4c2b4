"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from necrostack.value import Value

Severity = Literal["error", "warning", "note"]
"""Something is wrong and must be mended; something may go wrong; something is good to know."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Finding(Value):
    """What a check found, and what to do about it.

    Attributes:
        severity: How bad it is.
        what: What is so, in one sentence.
        remedy: What to do; empty when there is nothing to do.
    """

    severity: Severity
    what: str
    remedy: str = ""

"""What a command says of how far it is, where nobody watches."""

import re

_PROGRESS = re.compile(r"necrostack: .*, [\d,.]+/s(, .* left)?")


def is_progress(line: str) -> bool:
    """Say whether a line tells how far something is.

    >>> is_progress("necrostack: 90%: 26897 lines kept, 53218 handled, 5317/s, 1.2s left")
    True
    """
    return _PROGRESS.fullmatch(line) is not None

"""The steps that must happen as one on the server, in Lua. Each file says at its top what it takes and returns.

They run on Redis 6.2 and later and on Valkey: by EVALSHA, with every key declared, on the server's own clock. A script
does not roll back, so each makes all its checks before its first write. When memory is full, a server lets a
script go on whose first write frees memory; so those that must work then begin with such a one.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the name that the server has for it.

    Attributes:
        name: Its file's, without the ending.
        text: All of it.
        sha: The SHA-1 of the text.
    """

    name: str
    text: str
    sha: str


def _script(name: str, *parts: str) -> Script:
    """Load a script, with the functions of `parts` before it."""
    texts = [files(__name__).joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in (*parts, name)]
    text = "\n".join(texts)
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


ENQUEUE = _script("enqueue", "parts/checks", "parts/time", "parts/schedule", "parts/of_group", "parts/queued")
PULL = _script("pull", "parts/checks", "parts/time")
SETTLE = _script("settle", "parts/checks", "parts/time", "parts/schedule")
RELEASE = _script("release")
STRAYS = _script("strays")
JOIN = _script("join", "parts/checks", "parts/time")
LEASE = _script("lease", "parts/time")
LEAVE = _script("leave", "parts/time")
STATS = _script("stats", "parts/time", "parts/of_group", "parts/queued")
PENDING = _script("pending", "parts/of_group")
CONSUMERS = _script("consumers", "parts/time", "parts/of_group")
REDRIVE = _script("redrive", "parts/time")
DISCARD = _script("discard")
TRIM = _script("trim", "parts/time")
REMOVE = _script("remove", "parts/time")

ALL = (
    ENQUEUE,
    PULL,
    SETTLE,
    RELEASE,
    STRAYS,
    JOIN,
    LEASE,
    LEAVE,
    STATS,
    PENDING,
    CONSUMERS,
    REDRIVE,
    DISCARD,
    TRIM,
    REMOVE,
)

"""Failpoints in the scripts, one before each of their calls: there a script stops for ever, or fails.

They are found in the text, so that a new call has its own. A script's calls are counted as they are made: the second
turn of a loop is a point besides the first. Which one is next is said from outside, by a script with another text.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha1
from importlib.resources import files
from pathlib import Path

import redis
from redis_server import Server, command
from redis_watched import Answer, Call, Watch

from necrostack.errors import BackendError, BackendUnavailable
from necrostack_redis import scripts
from necrostack_redis.scripts import ALL, Script

SERVER = ("--appendonly", "yes", "--appendfsync", "always", "--lua-time-limit", "5")
"""What a server is told that will be killed in a script: it is to say soon that it is busy."""

_CALL = re.compile(r"\bredis\.(p?call)\b")
_REACHED = re.compile(rb"failpoint (\w+) (\S+)")

# On the line on which the script begins: what the client makes of a line number must stay right.
_FAILPOINT = (
    "local failpoint; do local redis, passed, apart = redis, 0, {{{apart}}}; failpoint = function(where)"
    " if apart[where] then return redis end; passed = passed + 1; if passed ~= {number} then return redis end;"
    " redis.log(redis.LOG_WARNING, 'failpoint {script} ' .. where); {action} end end "
)
STOPS = "while true do end"
FAILS = (
    "local no = {err = 'ERR it fails here'}; return {call = function() error(no) end, pcall = function() return no end}"
)


def _texts() -> Mapping[str, tuple[str, str]]:
    """Read each file: its text as it is, and with a failpoint before each call."""
    folder = Path(str(files(scripts)))
    texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.lua")}
    return {name: (text, _with_points(name, text)) for name, text in sorted(texts.items())}


def _with_points(name: str, text: str) -> str:
    lines = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        places = [f"{name}:{number}{suffix}" for suffix in ("", *(f".{more}" for more in range(2, 10)))]
        lines.append(_CALL.sub(lambda call: f"failpoint('{places.pop(0)}').{call[1]}", line))  # noqa: B023
    return "".join(lines)


_TEXTS = _texts()

POINTS = frozenset(point for _, text in _TEXTS.values() for point in re.findall(r"failpoint\('([^']+)'\)", text))
"""Every call in every file, such as `settle.lua:75`; the second one of a line ends in `.2`."""


def _armed(script: Script, number: int, action: str, apart: Iterable[str]) -> str:
    """Write a script that does something else instead of the call with a number, counted from 1."""
    text = script.text
    for plain, with_points in _TEXTS.values():
        text = text.replace(plain.rstrip("\n"), with_points.rstrip("\n"))
    assert not _CALL.search(text), f"{script.name}.lua holds what is in none of the files"
    places = ", ".join(f"['{place}'] = true" for place in apart)
    return _FAILPOINT.format(number=number, script=script.name, action=action, apart=places) + text


@contextmanager
def armed(numbers: Mapping[str, int], action: str, apart: Iterable[str] = ()) -> Iterator[None]:
    """Arm the scripts of these names, wherever they are used.

    Args:
        numbers: For each the number of its call at which something happens.
        action: What does: `STOPS` or `FAILS`.
        apart: The places whose calls are not counted.
    """
    plain = {script: (script.text, script.sha) for script in ALL if script.name in numbers}
    texts = {script: _armed(script, numbers[script.name], action, apart) for script in plain}
    try:
        for script, text in texts.items():
            _write(script, text, sha1(text.encode(), usedforsecurity=False).hexdigest())
        yield
    finally:
        for script, (text, sha) in plain.items():
            _write(script, text, sha)


def _write(script: Script, text: str, sha: str) -> None:
    # Everybody holds this very object, and it is frozen.
    object.__setattr__(script, "text", text)
    object.__setattr__(script, "sha", sha)


# --- sweeps ----------------------------------------------------------------------------------------------


@dataclass
class _Sweep:
    """Goes from point to point.

    Attributes:
        server: Whose scripts they are.
        reached: How often something happened at each place.
    """

    server: Server
    reached: Counter[str] = field(default_factory=Counter)
    _read: int = 0

    def _begin(self) -> None:
        self._read = self._log.stat().st_size

    def _found(self) -> tuple[str, str] | None:
        """The script that reached its failpoint, and where that is, if one did."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            found = _REACHED.search(log.read())
        return (found[1].decode(), found[2].decode()) if found else None

    @property
    def _log(self) -> Path:
        return self.server.directory / "server.log"


@dataclass
class Killing(_Sweep):
    """Kills the server at each point in turn. Whoever called calls again when it is back.

    Attributes:
        app: Whose calls are made.
        is_brief: Whether to do so once at each place, and not at each call that is made there.
    """

    app: str = ""
    is_brief: bool = False

    async def __call__(self, call: Call[Answer], *names: str) -> Answer:
        """See `Swept`."""
        numbers, watch = _first_numbers(names), Watch(self.server, self.app)
        while True:
            killed_in: list[str] = []
            self._begin()
            with watch.on(), armed(numbers, STOPS, list(self.reached) if self.is_brief else ()):
                calling = asyncio.ensure_future(call())
                while not calling.done():
                    if (found := self._found()) is None:
                        await asyncio.wait({calling}, timeout=0.001)
                    else:  # and perhaps again, where the call goes on with another script
                        self._kill(found[1], watch)
                        killed_in.append(found[0])
            if not killed_in:
                return calling.result()
            for script in killed_in:
                numbers[script] += not self.is_brief
            with suppress(BackendUnavailable):  # some calls tell nobody
                calling.result()

    def _kill(self, place: str, watch: Watch) -> None:
        assert command(self.server.port, "PING").startswith(b"-BUSY"), f"the script does not stand at {place}"
        self.server.kill()
        self.server.start()
        self._begin()
        assert watch.look() == watch.before, f"killed at {place}: a part of the script was kept"
        self.reached[place] += 1


@dataclass
class Failing(_Sweep):
    """Lets one call of one script fail, the next one each time that all is done anew.

    Attributes:
        failed: The script and the place where that was this time, if it was anywhere.
        torn: Those at which a part of the script had been done before.
    """

    failed: tuple[str, str] | None = None
    torn: set[tuple[str, str]] = field(default_factory=set)
    _app: str = ""
    _numbers: dict[str, int] = field(default_factory=dict)
    _turn: int = 0
    _calls: int = 0

    def begin(self, app: str) -> None:
        """All is done anew, in an app of its own."""
        self._app, self.failed, self._calls = app, None, 0

    def has_more(self) -> bool:
        """Whether there may be another point, when all was done."""
        if not self.failed:
            self._turn, self._numbers = self._turn + 1, {}
        return self._turn < self._calls

    async def __call__(self, call: Call[Answer], *names: str) -> Answer:
        """See `Swept`."""
        number, self._calls = self._calls, self._calls + 1
        if number != self._turn:
            return await call()
        self._numbers, watch = self._numbers or _first_numbers(names), Watch(self.server, self._app)
        self._begin()
        with watch.on(), armed(self._numbers, FAILS):
            calling = asyncio.ensure_future(call())
            await asyncio.wait({calling})
            if (found := self._found()) is None:
                return calling.result()
            script, place = self.failed = found
            is_torn = dict(watch.refused).get(script, watch.look() != watch.before)
        self._numbers[script] += 1
        self.reached[place] += 1
        if is_torn:
            self.torn.add(self.failed)
        with suppress(BackendError, redis.ResponseError):
            calling.result()
        return await call()


def _first_numbers(names: Sequence[str]) -> dict[str, int]:
    return dict.fromkeys(names or [script.name for script in ALL], 1)

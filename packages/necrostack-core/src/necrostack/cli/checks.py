"""What `doctor` checks by itself: what is installed, the application, and its topology."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distributions, version

from necrostack.backend import Backend
from necrostack.cli.fleet import findings
from necrostack.cli.settings import Settings
from necrostack.cli.terminal import counted
from necrostack.errors import BackendError, BackendUnavailable
from necrostack.finding import Finding
from necrostack.memory import InMemoryBackend
from necrostack.spine import Spine

_CORE = "necrostack-core"


def installed() -> Iterator[Finding]:
    """Look at what is installed, and whether our distributions are of one version."""
    core = version(_CORE)
    others = {name: version(name) for name in ("pydantic", "redis", "hiredis", "rich") if _is_installed(name)}
    told = ", ".join(f"{name} {number}" for name, number in others.items())
    yield Finding("note", f"necrostack {core}, Python {platform.python_version()}, {told}")
    for distribution in distributions():
        name = str(distribution.metadata["Name"]).lower().replace("_", "-")
        if name.startswith("necrostack-") and distribution.version != core:
            what = f"{name} is {distribution.version}, but {_CORE} is {core}; they work only in one version"
            yield Finding("error", what, f"pip install --upgrade {_CORE} {name}")


def configured(settings: Settings) -> Iterator[Finding]:
    """Look at what is set elsewhere than on the command line, and by whom."""
    for told in settings.told_elsewhere():
        yield Finding("note", told)
    if settings.shows_password:
        what = "the backend's URL in pyproject.toml holds a password, and that file is everybody's to read"
        remedy = (
            "leave the password out there; set NECROSTACK_BACKEND, or NECROSTACK_BACKEND_FILE to a file with the URL"
        )
        yield Finding("warning", what, remedy)


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def topology(spine: Spine) -> Iterator[Finding]:
    """Look at who listens to what."""
    graph = spine.topology
    yield Finding("note", f"{counted(len(graph.organs), 'Organ')}, {counted(len(graph.event_types), 'event type')}")
    for event_type in graph.dead_ends:
        organs = " and ".join(organ.name for organ in graph.organs if event_type in (organ.emits or ()))
        what = f"{organs} may emit {event_type!r}, but nobody listens to it"
        yield Finding("warning", what, "let an Organ listen to it, or leave it out of the return annotation")
    for names in graph.cycles:
        limit = spine.settings.max_hops
        end = "nothing ends it" if limit is None else f"max_hops={limit} ends it"
        what = f"a loop: events of {' and '.join(names)} lead back to them; {end}"
        yield Finding(
            "error" if limit is None else "warning", what, "see necrostack graph; is it meant, and does it end?"
        )


async def backend(found: Backend) -> list[Finding]:
    """Look at what a backend says of itself, and whether it is there at all."""
    if isinstance(found, InMemoryBackend):
        remedy = "name one that lasts with --backend, such as redis://localhost:6379"
        return [
            Finding("warning", "events are kept in memory: they are gone with their process, and not shared", remedy)
        ]
    try:
        return [*await found.admin.check(), *findings(await found.admin.consumers(), datetime.now(UTC))]
    except BackendUnavailable as error:
        return [
            Finding("error", str(error), "is the server running, is the address right, may this machine connect to it?")
        ]
    except BackendError as error:
        return [Finding("error", str(error), "are user and password right, and may that user do what the worker does?")]

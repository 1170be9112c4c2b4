"""What a command looks at or repairs: the backend of APP, or of `--backend` alone."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from necrostack.backend import Admin, Backend
from necrostack.cli.apps import backend_of, load_app
from necrostack.cli.arguments import add_backend
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.logs import logging_as
from necrostack.cli.signals import ended_as_by_ctrl_c
from necrostack.cli.terminal import Terminal
from necrostack.memory import InMemoryBackend
from necrostack.spine import Spine

_FORGETS = (
    "events in memory are seen by their own process alone; name the backend of the workers, such as "
    "--backend redis://localhost:6379"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A backend.

    Attributes:
        backend: It.
        spine: The Spine that APP names; None when a URL alone does, and events come as plain ones.
    """

    backend: Backend
    spine: Spine | None

    @property
    def admin(self) -> Admin:
        """What all of this is done by."""
        return self.backend.admin


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add APP and `--backend`."""
    parser.add_argument("app", nargs="?", metavar="APP", help="a Spine: its backend, and the classes of its events")
    add_backend(parser)


def told_apart(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split words into APP, if the first one is, and ids: an id is no name of Python.

    >>> told_apart(["shop.app:spine", "1767225600000-0"])
    ('shop.app:spine', ['1767225600000-0'])
    """
    if words:
        module = words[0].partition(":")[0]
        if module.endswith(".py") or all(part.isidentifier() for part in module.split(".")):
            return words[0], list(words[1:])
    return None, list(words)


def with_target(arguments: argparse.Namespace, terminal: Terminal, do: Callable[[Target], Awaitable[int]]) -> int:
    """Do something with the backend that arguments name, and let go of it.

    Raises:
        CommandError: Nothing names one, or it forgets (exit code 2); or see `load_app`.
    """
    target = _target(arguments.app, arguments.backend)
    if isinstance(target.backend, InMemoryBackend):
        if target.spine is None:
            raise CommandError(_FORGETS, Exit.USAGE)
        terminal.note(_FORGETS)

    async def done() -> int:
        async with target.backend:
            return await do(target)

    with logging_as(arguments, terminal), ended_as_by_ctrl_c():
        return asyncio.run(done())


def check_organs(spine: Spine, names: Sequence[str]) -> None:
    """Refuse Organs that a Spine lacks.

    Raises:
        CommandError: There is one (exit code 5).
    """
    known = [organ.name for organ in spine.topology.organs]
    for name in names:
        if name not in known:
            msg = f"the Spine has no Organ {name!r}; there are {', '.join(known)}"
            raise CommandError(msg, Exit.NOT_FOUND)


def _target(app: str | None, url: str | None) -> Target:
    if app is not None:
        spine = load_app(app, url)
        return Target(spine.backend, spine)
    if url is None:
        msg = "name an APP, or where events are kept with --backend, such as redis://localhost:6379"
        raise CommandError(msg, Exit.USAGE)
    return Target(backend_of(url), None)

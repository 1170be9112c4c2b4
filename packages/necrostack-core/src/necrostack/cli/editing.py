"""Editing a dead letter's payload, and letting it go again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from necrostack.cli.asking import ask, can_ask
from necrostack.cli.facts import event_facts
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.letters import letter_of
from necrostack.cli.printable import json_text
from necrostack.cli.target import Target
from necrostack.cli.terminal import Terminal
from necrostack.cli.times import shown
from necrostack.errors import EventError


async def edit_letter(target: Target, name: str, terminal: Terminal, *, as_json: bool) -> int:
    """Open the payload in an editor; when it was changed, let the event go again with it.

    Raises:
        CommandError: There is no such letter (exit code 5) or no editor (2), or what was written is no payload.
    """
    letter = await letter_of(target.admin, name)
    if letter.redriven_at is not None:
        msg = f"{name} went again before, at {shown(letter.redriven_at)}; nothing was done"
        raise CommandError(msg)
    if letter.event is None:
        msg = f"{name} cannot be read, so there is no payload to edit; export or discard it"
        raise CommandError(msg)
    text = json_text(event_facts(letter.event)["payload"], indent=2) + "\n"
    folder = Path(tempfile.mkdtemp(prefix="necrostack-"))
    file = folder / f"{letter.event.event_type[:40].replace(os.sep, '_')}-{name}.json"
    file.write_text(text, encoding="utf-8")
    while True:
        _open_editor(file)
        edited = file.read_text(encoding="utf-8", errors="replace")
        if edited == text:
            shutil.rmtree(folder)
            terminal.note("the payload was not changed; nothing was done")
            return Exit.OK
        try:
            payload = _payload(edited)
            count = await target.admin.redrive(name, payload=payload)
            break
        except (EventError, ValueError) as error:
            terminal.error(str(error))
            if not (can_ask() and ask(terminal, "edit it again? [Y/n] ") in ("", "y", "yes")):
                msg = f"nothing was done; what you wrote is in {file}"
                raise CommandError(msg) from error
    if count == 0:
        msg = f"{name} was redriven or discarded by somebody else meanwhile; what you wrote is in {file}"
        raise CommandError(msg)
    shutil.rmtree(folder)
    if as_json:
        terminal.data({"id": name, "event": str(letter.event.id), "payload": payload})
    else:
        terminal.text(f"{name} redriven with the new payload")
    if target.spine is None:
        terminal.note("no APP was named, so the payload was not checked against a class; the worker will")
    return Exit.OK


def _payload(text: str) -> Mapping[str, Any]:
    try:
        payload = json.loads(text)
    except ValueError as error:
        msg = f"this is not JSON: {error}"
        raise ValueError(msg) from error
    if not isinstance(payload, dict):
        msg = f"a payload is a JSON object, not {json.dumps(payload)[:50]}"
        raise ValueError(msg)
    return payload


def _open_editor(file: Path) -> None:
    """Wait until the editor is closed.

    Raises:
        CommandError: There is none (exit code 2), or it failed.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        with _left_to_the_editor():
            code = subprocess.run([*shlex.split(command), str(file)], check=False).returncode
    except (OSError, ValueError) as error:
        msg = f"the editor {command!r} cannot be started: {error}; name one in the environment variable EDITOR"
        raise CommandError(msg, Exit.USAGE) from error
    if code != 0:
        msg = f"the editor {command!r} ended with {code}; nothing was done; what you wrote is in {file}"
        raise CommandError(msg)


@contextmanager
def _left_to_the_editor() -> Iterator[None]:
    """Leave Ctrl-C to the editor, which is in the same terminal and may use it for something else."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

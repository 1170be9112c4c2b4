"""Exit codes, and the errors that end a command with one clear line."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a command's exit code says. See `necrostack.cli`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_APP = 3
    NO_BACKEND = 4
    NOT_FOUND = 5
    CHECK_FAILED = 6
    IN_PART = 7
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command.

    Attributes:
        code: The exit code.
        setting: The name of the setting that is wrong, if one is: who set it is told, too.
    """

    def __init__(self, message: str, code: Exit = Exit.FAILED, *, setting: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.setting = setting

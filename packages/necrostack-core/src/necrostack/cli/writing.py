"""Files that are there only when they are whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from necrostack.cli.failures import CommandError


@contextmanager
def whole_file(path: str, *, is_private: bool) -> Iterator[BinaryIO]:
    """Write what `--output` names. When that fails or is interrupted, what was there before stays.

    Args:
        path: Where the file is to be.
        is_private: Whether nobody else may read it.

    Raises:
        CommandError: It cannot be written there.
    """
    whole = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=whole.parent, prefix=f".{whole.name}.")
    except OSError as error:
        msg = f"--output {path}: {error.strerror}"
        raise CommandError(msg) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        if not is_private:
            os.umask(umask := os.umask(0))
            Path(name).chmod(0o666 & ~umask)
        try:
            Path(name).replace(whole)
        except OSError as error:
            msg = f"--output {path}: {error.strerror}"
            raise CommandError(msg) from error
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()

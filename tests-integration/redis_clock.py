"""A wall clock that a test sets, for processes of its own: by libfaketime, which comes as a wheel."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path


def library() -> Path | None:
    """Find libfaketime in the wheel of that name."""
    try:
        found = files("libfaketime") or ()
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in found if file.name == "libfaketime.so.1"), None)


class Clock:
    """The wall clock of the processes that are started in its environment. Their monotonic clock is left alone."""

    def __init__(self, path: Path) -> None:
        """Make one that is right.

        Args:
            path: The file that says how wrong it is.
        """
        self._path = path
        self.set(0)

    def set(self, seconds: int) -> None:
        """Let it be so many seconds fast, or slow, from this moment on."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._path)  # it may be read at any time

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to go by this clock."""
        return {
            # The C library first: Debian's Redis allocates by jemalloc, which asks for the time as it is loaded.
            "LD_PRELOAD": os.pathsep.join((str(library()), "libc.so.6")),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

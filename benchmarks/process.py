"""What a case's process needs: its function by name, its own memory, and a way to hand over what it found."""

import json
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


def function(name: str) -> Any:
    """Import the function that `package.module:name` means."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def peak_rss() -> int:
    """Say how many bytes of memory this process has had at most."""
    # Not getrusage on Linux: there it starts at what the parent had.
    return _status_bytes("VmHWM")


def rss() -> int:
    """Say how many bytes of memory this process has now; where there is no /proc, the most it has had."""
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int:
    if not _STATUS.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def hand_over(*, exact: bool, **figures: float) -> None:
    """Print a measurement as the parent reads it."""
    print(json.dumps({"exact": exact, "figures": figures}))

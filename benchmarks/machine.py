"""Where and with what was measured, without which a figure says little."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from benchmarks.case import Case
from benchmarks.environments import version


def machine() -> str:
    """Name the processor, the system and the interpreter in one line."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} × {_processor()}, {platform.system()} {platform.release()}, {python}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def versions(cases: Sequence[Case]) -> dict[str, str]:
    """Look up the installed version of every distribution that some case needs.

    Where an environment has another one than the one that runs all this, its name says so: `redis (arq)`.
    """
    found = {}
    for name, environment in sorted({(name, case.environment) for case in cases for name in case.needs}):
        here, there = version(name, ""), version(name, environment)
        found[name if here in (None, there) else f"{name} ({environment})"] = there or ""
    return found

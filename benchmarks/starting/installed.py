"""What an installation brings: the distributions that some requirements need, and the size of their files."""

import json
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def distributions(requirements: Sequence[str]) -> list[metadata.Distribution]:
    """Find what some requirements need, and what that needs, each once."""
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        found.setdefault(name, metadata.distribution(name))
        for extra in {"", *wanted.extras} - {extra for of, extra in seen if of == name}:
            seen.add((name, extra))
            needed = [Requirement(text) for text in found[name].requires or ()]
            waiting += [need for need in needed if need.marker is None or need.marker.evaluate({"extra": extra})]
    return list(found.values())


def size(of: Sequence[metadata.Distribution]) -> int:
    """Add up the bytes of their files, without what Python compiles."""
    return sum(file.stat().st_size for one in of for file in _files(one) if file.suffix != ".pyc" and file.is_file())


def _files(distribution: metadata.Distribution) -> Iterator[Path]:
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):  # its own files say only where it is
        yield from (Path(unquote(urlsplit(origin["url"]).path)) / "src").rglob("*")
    for file in distribution.files or ():
        yield Path(str(file.locate()))

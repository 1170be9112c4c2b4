"""Rebuild deliveries.ndjson.gz from the npm package it was made from.

The package records what GitHub sent, kind by kind, and neither when nor under which id. A line's `timestamp`
is therefore the latest moment the payload itself tells of, its `id` a uuid5 of the place in the package, and
the lines stand in the order of those moments. The same package gives the same lines, byte for byte.

Run it as `python examples/github_webhooks/rebuild.py`, which asks `npm` for the package, or give it a `.tgz`.
"""

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

PACKAGE = "@octokit/webhooks-examples@7.6.1"
MEMBER = "package/api.github.com/index.json"
MEMBER_SHA256 = "09d8f0c617876ae9dad22e26fea5510bfcaad50ee7e602659f6db25b87b25815"
PUBLISHED = datetime(2024, 12, 13, tzinfo=UTC)
"""The day the package came out: the timestamp of the few deliveries that tell of no moment at all."""

FEED = Path(__file__).parent / "deliveries.ndjson.gz"


def moments(value: Any, key: str = "") -> Iterator[datetime]:
    """Yield every moment that a payload tells of: `created_at`, `updated_at`, a commit's `timestamp`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from moments(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from moments(inner, key)
    elif key.endswith("_at") or key == "timestamp":
        if isinstance(value, str):
            yield datetime.fromisoformat(value).astimezone(UTC)
        elif isinstance(value, int):
            yield datetime.fromtimestamp(value, UTC)


def events(kinds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn the package's kinds, each with its recorded payloads, into NecroStack events, oldest first."""
    found = [
        {
            "id": str(uuid5(NAMESPACE_URL, f"npm:{PACKAGE}/{kind['name']}/{index}")),
            "timestamp": max(moments(payload), default=PUBLISHED).isoformat(),
            "event_type": f"GITHUB_{kind['name'].upper()}",
            "payload": payload,
        }
        for kind in kinds
        for index, payload in enumerate(kind["examples"])
    ]
    return sorted(found, key=lambda event: (event["timestamp"], event["event_type"]))


def member_of(tarball: Path) -> bytes:
    """Read the recorded deliveries out of the package, and make sure that they are the ones we know."""
    with tarfile.open(tarball) as archive:
        member = archive.extractfile(MEMBER)
        content = b"" if member is None else member.read()
    digest = hashlib.sha256(content).hexdigest()
    if digest != MEMBER_SHA256:
        sys.exit(f"{tarball}: {MEMBER} has SHA-256 {digest}, not {MEMBER_SHA256}; give {PACKAGE}")
    return content


def write_feed(kinds: list[dict[str, Any]], feed: Path) -> int:
    """Write a line per delivery and return how many; no clock and no name goes into the gzip header."""
    lines = [json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n" for event in events(kinds)]
    with feed.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write("".join(lines).encode())
    return len(lines)


def main() -> None:
    """Fetch or open the package, and write the feed."""
    parser = argparse.ArgumentParser(description="Rebuild deliveries.ndjson.gz.")
    parser.add_argument("tarball", nargs="?", type=Path, help=f"the .tgz of {PACKAGE}; default: ask npm")
    tarball: Path | None = parser.parse_args().tarball
    with tempfile.TemporaryDirectory() as folder:
        if tarball is None:
            npm = ["npm", "pack", "--silent", PACKAGE]
            name = subprocess.run(npm, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
            tarball = Path(folder, name.strip())
        count = write_feed(json.loads(member_of(tarball)), FEED)
    print(f"{FEED}: {count} deliveries")


if __name__ == "__main__":
    main()

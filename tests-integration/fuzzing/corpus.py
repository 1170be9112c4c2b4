"""Inputs that were chosen by hand, or found: a file each, under a name that says what is special about it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")


def seeds(target: str) -> dict[str, bytes]:
    """The kept inputs of a target by name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}


def mutated(target: str, count: int, seed: int) -> Iterator[bytes]:
    """Small changes of kept inputs, and parts of two of them put together; the same ones for the same seed."""
    chance = random.Random(seed)
    kept = [data for data in seeds(target).values() if len(data) < 10_000]
    for _ in range(count):
        data = bytearray(chance.choice(kept))
        for _ in range(chance.choice((1, 1, 2, 4))):
            _change(data, chance, chance.choice(kept))
        yield bytes(data)


_ODD = (
    b"\0",
    b"\xff",
    b'"',
    b"\\",
    b"{",
    b"]",
    b",",
    b"-",
    b"9" * 30,
    b"\n",
    b"\r",
    b"\xe2\x80\xa8",
    b"NaN",
    b"1e999",
    b"@",
    b"%",
)


def _change(data: bytearray, chance: random.Random, other: bytes) -> None:
    at = chance.randrange(len(data) + 1)
    to = min(len(data), at + chance.choice((0, 1, 1, 2, 8, 64)))
    match chance.randrange(6):
        case 0:
            del data[at:to]
        case 1:
            data[at:to] = chance.choice(_ODD)
        case 2:
            data[at:at] = data[at:to] * chance.choice((1, 2, 30))
        case 3 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 4 if other:
            start = chance.randrange(len(other))
            data[at:to] = other[start : start + chance.choice((1, 4, 16, 64))]
        case _:
            data[at:] = other[min(at, len(other)) :]

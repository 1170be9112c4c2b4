"""The quick checks hold, and each mistake that is seeded into the real code is caught by the one that it names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import redis_checks
import redis_emitting
import redis_emitting_mutants
import redis_letters
import redis_letters_mutants
import redis_mutants
import redis_waiting
import redis_waiting_mutants
from redis_checks import Stand
from redis_mutants import Mutant
from redis_server import Server

Check = Callable[[Stand], Awaitable[None]]

CHECKS = (*redis_checks.CHECKS, *redis_letters.CHECKS, *redis_waiting.CHECKS, *redis_emitting.CHECKS)

MUTANTS = (
    *redis_mutants.MUTANTS,
    *redis_letters_mutants.MUTANTS,
    *redis_waiting_mutants.MUTANTS,
    *redis_emitting_mutants.MUTANTS,
)

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "proof.md"


@pytest.fixture(scope="module")
def server(redis_binary: Path) -> Iterator[Server]:
    """Nobody else's: a check fills its memory."""
    server = Server(redis_binary)
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def stand(server: Server, app: str) -> Stand:
    return Stand(server.url, app)


def words(check: Check) -> str:
    return check.__name__.replace("_", " ")


async def caught(check: Check, stand: Stand) -> str:
    """Say how a check failed, or nothing if it holds."""
    try:
        await check(stand)
    except AssertionError as error:
        return str(error).splitlines()[0]
    return ""


@pytest.mark.parametrize("check", CHECKS, ids=words)
async def test_a_check_holds(check: Check, stand: Stand) -> None:
    await check(stand)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
async def test_a_mistake_is_caught(mutant: Mutant, stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.seed(monkeypatch)

    how = await caught(mutant.caught_by, stand)

    print(f"\n{mutant.mistake}: caught, {words(mutant.caught_by)}: {how}")
    assert how, f"{mutant.mistake}: nobody noticed"


@pytest.mark.thorough
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
async def test_what_else_catches_a_mistake(mutant: Mutant, stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.seed(monkeypatch)
    found = []

    for number, check in enumerate(CHECKS, 100):
        try:
            async with asyncio.timeout(20):  # a mistake may also let somebody wait for ever
                await check(stand.part(number))
        except Exception:  # noqa: BLE001 -- beside the check that is there for it, a mistake may lead to anything
            found.append(check)

    print(f"\n{mutant.mistake}: caught by {len(found)} of {len(CHECKS)}: {', '.join(map(words, found))}")
    assert mutant.caught_by in found


def test_each_check_is_there_for_a_mistake() -> None:
    assert {mutant.caught_by for mutant in MUTANTS} == set(CHECKS)


def test_each_mistake_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert f"{len(CHECKS)} quick checks" in page
    assert f"{len(MUTANTS)} mistakes" in page
    for mutant in MUTANTS:
        assert f"| {mutant.mistake} | {words(mutant.caught_by)} |" in page

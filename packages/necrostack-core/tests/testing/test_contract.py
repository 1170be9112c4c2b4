"""The in-memory backend keeps the whole contract."""

from __future__ import annotations

import pytest

from necrostack.testing.contract import CONTRACT, Check, InMemoryFactory


@pytest.mark.parametrize("check", CONTRACT, ids=str)
async def test_the_in_memory_backend_keeps_the_contract(check: Check) -> None:
    factory = InMemoryFactory()
    if reason := check.not_applicable(factory):
        pytest.skip(reason)

    await check(factory)

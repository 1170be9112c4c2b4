"""What only a person can mend ends a run at once, says what it is, and leaves nothing half done."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Callable

import pytest
from redis_orders import chain, kept, lost_and_doubled, names, orders
from redis_server import Server
from redis_server import command as redis_command

from necrostack.errors import BackendError, BackendUnavailable
from necrostack_redis import RedisBackend
from necrostack_redis.scripts import ALL

SECRET = "correct-horse-battery"  # noqa: S105 -- it opens nothing but the servers made here

COMMANDS = sorted({command for script in ALL for command in re.findall(r"redis\.p?call\('([A-Z]+)'", script.text)})


async def refusal(backend: RedisBackend, log: pytest.LogCaptureFixture) -> str:
    """What a run ends with: at once, and saying nothing that is secret."""
    with pytest.raises(BackendError) as ended:
        async with chain(backend) as spine:
            await spine.run_until_idle(*orders(2))
    assert not isinstance(ended.value, BackendUnavailable)
    assert not names(log)["backend_unavailable"]
    assert SECRET not in "".join(traceback.format_exception(ended.value)) + log.text + repr(backend)
    return str(ended.value)


@pytest.mark.parametrize(
    ("user", "database", "told"),
    [
        (f":{SECRET}@", 0, "refuses the default user: .*; check the user name and the password"),
        ("", 0, "refuses the default user: .*; check the user name and the password"),
        (f"nobody:{SECRET}@", 0, "refuses the user 'nobody': .*; check the user name and the password"),
        (f"idle:{SECRET}@", 0, "refuses the user 'idle': .*; check the user name and the password"),
        (f"elsewhere:{SECRET}@", 0, "refuses the user 'elsewhere' .*; the ACL must allow what the reference lists"),
        (f"reader:{SECRET}@", 0, "refuses the user 'reader' .*; the ACL must allow what the reference lists"),
        (f"worker:{SECRET}@", 99, "/99 answered: DB index is out of range; name a database that there is, such as 0"),
    ],
)
async def test_a_server_that_lets_nobody_in_ends_the_run_and_says_why(
    user: str, database: int, told: str, make_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server("--requirepass", SECRET[::-1])
    for name, *rules in (
        ("idle", "off", "~*", "+@all"),
        ("elsewhere", "on", "~other:*", "+@all"),
        ("reader", "on", "~*", "+@read", "+@connection"),
        ("worker", "on", "~*", "+@all"),
    ):
        redis_command(server.port, "ACL", "SETUSER", name, f">{SECRET}", *rules, password=SECRET[::-1])

    said = await refusal(RedisBackend(f"redis://{user}127.0.0.1:{server.port}/{database}"), caplog)

    print(said)
    assert re.search(told, said)


async def test_a_missing_permission_is_named_and_nothing_is_half_done(
    make_server: Callable[..., Server], app: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each command that some script uses is forbidden in turn, and then allowed again."""
    server = make_server()
    refused = 0
    for command in COMMANDS:
        redis_command(server.port, "ACL", "SETUSER", command, "on", f">{SECRET}", "~*", "&*", "+@all", f"-{command}")
        url = f"redis://{command}:{SECRET}@127.0.0.1:{server.port}"
        async with RedisBackend(server.url, app=f"{app}-{command}") as full:
            await full.enqueue(*orders(8))
            async with chain(RedisBackend(url, app=f"{app}-{command}")) as spine:
                running = asyncio.create_task(spine.run_until_idle())
                await asyncio.wait({running})
                if (ended := running.exception()) is not None:
                    what = rf"(.*\b{command}\b.*|a command)"
                    assert re.search(rf"refuses the user '{command}' {what} in \w+.lua: ", str(ended))
                    assert isinstance(ended, BackendError)
                    assert not isinstance(ended, BackendUnavailable)
                    refused += 1
                    redis_command(server.port, "ACL", "SETUSER", command, "+@all")
                    await spine.run_until_idle()
            assert await lost_and_doubled(full, 8) == (0, 0), command

    print(f"{len(COMMANDS)} commands, {refused} of them missed")
    assert refused > 20
    assert not names(caplog)["backend_unavailable"]


KINDS = {
    "events": "stream",
    "schedule": "zset",
    "bell": "stream",
    "sequence": "string",
    "groups": "hash",
    "inbox:default": "stream",
    "retries:default": "zset",
    "dead:default": "stream",
    "leases:default": "zset",
    "topologies:default": "hash",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_of_a_foreign_type_is_named_and_nothing_is_half_done(
    kind: str, make_server: Callable[..., Server], app: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    key = f"necrostack:{{{app}}}:{kind}"
    redis_command(server.port, "SET", key, "foreign")

    said = await refusal(RedisBackend(server.url, app=app), caplog)

    print(said)
    assert (
        f"{key} {'must be a whole number' if kind == 'sequence' else f'is a string and must be a {KINDS[kind]}'}"
        in said
    )
    assert "give the app another name, or delete the key" in said
    redis_command(server.port, "DEL", key)
    async with chain(RedisBackend(server.url, app=app)) as spine:
        if not await kept(spine.backend):  # else it was noticed later: when the first was settled
            await spine.backend.enqueue(*orders(2))
        await spine.run_until_idle()
        assert await lost_and_doubled(spine.backend, 2) == (0, 0)

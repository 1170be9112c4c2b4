"""Use what was installed as a user would: run by `nox -s build` in an environment that holds nothing else.

Its arguments are the requirement that was installed and the version that it must have.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import Literal

import necrostack
from necrostack import Event, InMemoryBackend, Organ, Spine


class Heard(Event):
    event_type: Literal["HEARD"] = "HEARD"


class Ear(Organ[Event]):
    listens_to = ["SAID"]

    def handle(self, event: Event) -> Heard:
        return Heard(payload=event.payload)


class Memory(Organ[Heard]):
    listens_to = [Heard]

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    async def handle(self, event: Heard) -> None:
        self.kept.append(event.payload["words"])


def main(requirement: str, version: str) -> None:
    assert Path(necrostack.__file__).is_relative_to(sys.prefix), f"not the installed one: {necrostack.__file__}"
    assert necrostack.__version__ == version
    installed = {dist.name for dist in importlib.metadata.distributions()}
    for name in {"necrostack-core", requirement.partition("[")[0]}:
        assert importlib.metadata.version(name) == version, name
    if "necrostack" in installed:
        meta = importlib.metadata.files("necrostack") or []
        assert {path.parts[0] for path in meta} == {f"necrostack-{version}.dist-info"}, "the meta-package has code"
    assert ("rich" in installed) == ("[cli]" in requirement)
    assert (importlib.util.find_spec("prometheus_client") is not None) == ("[metrics]" in requirement)
    has_redis = "redis" in requirement
    assert (importlib.util.find_spec("redis") is not None) == has_redis
    if has_redis:
        assert importlib.metadata.version("necrostack-redis") == version
        backend = necrostack.open_backend("redis://127.0.0.1:1/0?app=smoke")
        assert type(backend).__module__.partition(".")[0] == "necrostack_redis"

    memory = Memory()
    spine = Spine(organs=[Ear(), memory], backend=InMemoryBackend())
    report = asyncio.run(spine.run_until_idle(Event(event_type="SAID", payload={"words": "rise"})))
    assert (report.handled, report.emitted, memory.kept) == (2, 1, ["rise"]), report


if __name__ == "__main__":
    main(*sys.argv[1:])

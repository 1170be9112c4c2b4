"""Failpoints in a worker's program: before and after each `await` of ours, each command, and each handler.

They are found in the source, and on the wire, so that a new step has its own. A worker runs in a process of its own,
which kills itself at the point that it was told: it gets no chance to clean up.
"""

from __future__ import annotations

import ast
import gc
import inspect
import marshal
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, wraps
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import redis.asyncio
import redis.connection
from redis_proxy import SCRIPTS

import necrostack
import necrostack_redis
from necrostack import Backend
from necrostack_redis import RedisBackend, connector

Result = TypeVar("Result")


@dataclass
class Points:
    """Where a worker passes.

    Attributes:
        fatal: Where it dies; nowhere if that is empty.
        passed: Where it was, in the order in which it came there first.
    """

    fatal: str = ""
    passed: dict[str, None] = field(default_factory=dict)

    def __call__(self, name: str) -> None:
        """Be there."""
        self.passed.setdefault(name)
        if name == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self, code: bytes) -> None:
        """Lead whatever this process does past them, by the code that `with_points` made."""
        for name, functions in marshal.loads(code).items():  # noqa: S302 -- it was made a moment ago
            _instrument(import_module(name), functions, self)
        for name, member in vars(Backend).items():
            if inspect.isfunction(member) and not name.startswith("_") and not inspect.iscoroutinefunction(member):
                setattr(RedisBackend, name, self.around(f"RedisBackend.{name}", getattr(RedisBackend, name)))
        _instrument_connections(self)

    def around(self, name: str, function: Callable[..., Result]) -> Callable[..., Result]:
        """Put one before and one after a function that is not awaited."""

        @wraps(function)
        def passing(*args: Any, **kwargs: Any) -> Result:
            self(f"before {name}")
            result = function(*args, **kwargs)
            self(f"after {name}")
            return result

        return passing


# --- in the source ---------------------------------------------------------------------------------------


_BESIDE = re.compile(
    r"necrostack\.(cli|testing|memory|clock|store|metrics)|necrostack_redis\.(admin|checkup|discovery|connector)"
)
"""What no worker does again and again: it looks, repairs, connects, or belongs to another backend."""


def _modules() -> Sequence[ModuleType]:
    """The modules that a worker is made of."""
    ours = (necrostack.__name__, necrostack_redis.__name__)
    found = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ours}
    return [module for name, module in sorted(found.items()) if not _BESIDE.match(name)]


class _Awaits(ast.NodeTransformer):
    """Puts a call before and after each `await`, and counts them in each function."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self.names: list[str] = []

    def _enter(self, node: Any) -> Any:
        self._path.append(node.name)
        self.generic_visit(node)
        self._path.pop()
        return node

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _enter  # noqa: N815 -- as ast calls them

    def visit_Await(self, node: ast.Await) -> Any:
        self.generic_visit(node)
        function = ".".join(self._path)
        number = 1 + sum(name.rpartition("#")[0] == function for name in self.names)
        self.names.append(f"{function}#{number}")
        waited = ast.Await(_call("_before_await", self.names[-1], node.value))
        return ast.copy_location(_call("_after_await", self.names[-1], waited), node)


def _call(function: str, name: str, value: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(function, ast.Load()), [ast.Constant(name), value], [])


@cache
def _with_points(module: ModuleType) -> tuple[ast.Module, Sequence[str]]:
    awaits = _Awaits()
    gc.disable()  # what it finds may have a traceback to show, which is parsed, too: not in the midst of this
    try:
        tree = awaits.visit(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")))
    finally:
        gc.enable()
    return ast.fix_missing_locations(tree), awaits.names


def awaits() -> set[str]:
    """Every `await`, such as `Run._pull#1`: the first one in that method."""
    return {name for module in _modules() for name in _with_points(module)[1]}


@cache
def with_points() -> bytes:
    """Make code that leads past a point before and after each `await`, for processes of which each is to run it."""
    made = {}
    for module in _modules():
        tree, names = _with_points(module)
        if names:
            made[module.__name__] = dict(_codes(compile(tree, str(module.__file__), "exec", dont_inherit=True)))
    return marshal.dumps(made)


def _instrument(module: ModuleType, functions: Mapping[str, CodeType], points: Points) -> None:
    """Give the functions of a module other code, wherever they are used."""

    def before(name: str, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        points(f"before {name}")
        return awaitable

    def after(name: str, result: Any) -> Any:
        points(f"after {name}")
        return result

    vars(module).update(_before_await=before, _after_await=after)
    for function in _functions(module):
        function.__code__ = functions.get(function.__qualname__, function.__code__)


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    """Find the code of each function that is no other function's."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and "<locals>" not in constant.co_qualname:
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for owner in (module, *(member for member in vars(module).values() if inspect.isclass(member))):
        for member in vars(owner).values():
            function = inspect.unwrap(member) if callable(member) else None
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                yield function


# --- on the wire -----------------------------------------------------------------------------------------


def _instrument_connections(points: Points) -> None:
    """Be there before a command is sent, and when its reply has come and nobody has looked at it."""
    _instrument_connection(connector._Sending, redis.asyncio.connection.AbstractConnection, points)
    _instrument_connection(redis.connection.AbstractConnection, redis.connection.AbstractConnection, points)


def _instrument_connection(sender: Any, kind: Any, points: Points) -> None:
    send, read, disconnect = sender.send_packed_command, kind.read_response, kind.disconnect

    def sending(self: Any, command: Any) -> None:
        names = _names(command)
        self.__dict__.setdefault("_sent", deque()).extend(names)
        points(f"before {' '.join(names)} is sent")

    def answered(self: Any) -> None:
        if sent := self.__dict__.get("_sent"):
            points(f"after {sent.popleft()} was answered")

    if inspect.iscoroutinefunction(read):

        async def send_async(self: Any, command: Any, *args: Any, **kwargs: Any) -> None:
            sending(self, command)
            await send(self, command, *args, **kwargs)

        async def read_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return await read(self, *args, **kwargs)
            finally:
                answered(self)

        async def disconnect_async(self: Any, *args: Any, **kwargs: Any) -> None:
            self.__dict__.pop("_sent", None)
            await disconnect(self, *args, **kwargs)

        sender.send_packed_command, kind.read_response, kind.disconnect = send_async, read_async, disconnect_async
        return

    def send_sync(self: Any, command: Any, *args: Any, **kwargs: Any) -> None:
        sending(self, command)
        send(self, command, *args, **kwargs)

    def read_sync(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return read(self, *args, **kwargs)
        finally:
            answered(self)

    def disconnect_sync(self: Any, *args: Any) -> None:
        self.__dict__.pop("_sent", None)
        disconnect(self, *args)

    sender.send_packed_command, kind.read_response, kind.disconnect = send_sync, read_sync, disconnect_sync


def _names(command: Any) -> list[str]:
    """The names of packed commands: a script's, or the command's own."""
    packed = (
        command
        if isinstance(command, bytes)
        else b"".join(part.encode() if isinstance(part, str) else bytes(part) for part in command)
    )
    names, at = [], 0
    while at < len(packed):
        count, at = _number(packed, at)
        words = []
        for _ in range(count):
            size, at = _number(packed, at)
            words.append(packed[at : at + size])
            at += size + 2
        name = words[0].decode().upper()
        names.append(f"{SCRIPTS[words[1].decode()]}.lua" if name in ("EVALSHA", "EVAL") else name)
    return names


def _number(packed: bytes, at: int) -> tuple[int, int]:
    """Read a number behind its sign, and where the next line begins."""
    end = packed.index(b"\r\n", at)
    return int(packed[at + 1 : end]), end + 2

"""What data must never do: run code, import by a name of its own, or take memory and time beyond what it is."""

from __future__ import annotations

import ast
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack.errors import EventError
from necrostack.event import Event, admit
from necrostack.payload import MAX_INT_DIGITS, may_be_unreadable

# --- what no source may do ----------------------------------------------------------------------------------

PACKAGES = Path(__file__).parents[2]

MODULES = {
    **dict.fromkeys(("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "jsonpickle"), "reading it runs code"),
    **dict.fromkeys(("marshal", "shelve", "dbm"), "reading it may run code, or crash"),
    **dict.fromkeys(("yaml", "ruamel"), "reading it may make any object"),
    **dict.fromkeys(("xml", "lxml", "xmlrpc"), "a few bytes of it may become gigabytes"),
    **dict.fromkeys(("code", "codeop", "runpy", "imp", "ctypes", "cffi"), "it runs what it is given"),
    **dict.fromkeys(("http.server", "socketserver", "wsgiref", "aiohttp", "uvicorn"), "nobody shall connect to us"),
}
CALLS = {
    **dict.fromkeys(("eval", "exec", "compile"), "it runs what it is given"),
    **dict.fromkeys(
        ("__import__", "importlib.import_module", "importlib.__import__", "pkgutil.resolve_name"),
        "the name of what is imported must stand in the source",
    ),
    **dict.fromkeys(("os.system", "os.popen", "pty.spawn"), "a shell reads what it is given"),
    **dict.fromkeys(("subprocess.getoutput", "subprocess.getstatusoutput"), "a shell reads what it is given"),
    "asyncio.create_subprocess_shell": "a shell reads what it is given",
    **dict.fromkeys(
        ("subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call", "subprocess.check_output"),
        "a program is started",
    ),
    **dict.fromkeys(
        ("asyncio.create_subprocess_exec", "os.execv", "os.execve", "os.posix_spawn"), "a program is started"
    ),
    "asyncio.wait_for": "before Python 3.12 it may swallow a cancellation; write asyncio.timeout",
    "tempfile.mktemp": "somebody else may make the file first",
    **dict.fromkeys(("asyncio.start_server", "asyncio.start_unix_server", "socket.create_server"), "it listens"),
}
METHODS = {
    "load": "an entry point imports what it names",
    "exec_module": "it runs what it is given",
    "listen": "it listens",
}
RANDOM = "it can be foreseen, so it must not make what is secret"
UNVERIFIED = "TLS with whoever answers"

ALLOWED = {
    ("necrostack.__init__", "__getattr__"): "names of our own modules, from a table in the same file",
    ("necrostack.cli.arguments", "build_parser"): "names of our own modules, from the table of commands",
    ("necrostack.cli.apps", "_module"): "APP is the program that the user tells us to run",
    ("necrostack.backends", "_maker"): "an installed distribution names it; the URL's scheme only chooses among those",
    ("necrostack.cli.editing", "_open_editor"): "$EDITOR, with a file name of ours and without a shell",
    ("necrostack.cli.child", "Child.start"): "this very program, without a shell",
    ("necrostack.cli.address", "_bound"): "`run --health` listens, where it is told to",
    ("necrostack.cli.answering", "Answering._serve"): "that it answers there",
    ("necrostack.cli.worker", "Worker._led"): "a method of our own that is called so: nothing is opened",
    ("necrostack.retry", "RetryPolicy.delay_after"): "jitter",
    ("necrostack_redis.discovery", "_shuffled"): "whom to ask first",
    ("necrostack_redis.connector", "Connector.trusts_anybody"): "asks for it, to warn of it",
    ("necrostack_redis.connector", "Connector.is_with_tls"): "asks whether TLS is spoken, and says nothing there",
}
"""Where it is done all the same, and why it may."""


@dataclass(frozen=True)
class Found:
    """Something that source must not do.

    Attributes:
        module: Where.
        function: In which function, or empty.
        line: In which line of the file.
        what: What is done.
        why: Why not.
    """

    module: str
    function: str
    line: int
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}, in {self.function or 'the module'}: {self.what}: {self.why}"


class Reader(ast.NodeVisitor):
    """Reads one module, and notes what it must not do."""

    def __init__(self, module: str) -> None:
        self.found: list[Found] = []
        self._module = module
        self._inside: list[str] = []
        self._names: dict[str, str] = {}

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._names[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0]
            )
            self._look_at_module(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._look_at_module(node, node.module or "")
        for alias in node.names:
            self._names[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._look_inside(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._look_inside(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._look_inside(node)

    def visit_Call(self, node: ast.Call) -> None:
        name, method = self._dotted(node.func), node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in CALLS and not (name.endswith("import_module") and isinstance(node.args[0], ast.Constant)):
            self._note(node, name, CALLS[name])
        elif name.partition(".")[0] == "random":
            self._note(node, name, RANDOM)
        elif not name and method in METHODS:
            self._note(node, f".{method}()", METHODS[method])
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
                self._note(node, "shell=", "a shell reads what it is given")
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        # Also when it is not called here: `reader = eval`.
        if node.id in ("eval", "exec", "__import__") and node.id not in self._names:
            self._note(node, node.id, "it runs what it is given")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in ("CERT_NONE", "_create_unverified_context"):
            self._note(node, node.attr, UNVERIFIED)
        self.generic_visit(node)

    def _look_inside(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._inside.append(node.name)
        self.generic_visit(node)
        self._inside.pop()

    def _look_at_module(self, node: ast.stmt, name: str) -> None:
        if why := MODULES.get(name) or MODULES.get(name.partition(".")[0]):
            self._note(node, f"import {name}", why)

    def _dotted(self, node: ast.expr) -> str:
        """The whole name of what is called; empty when it is a method of some object."""
        if isinstance(node, ast.Attribute):
            of = node.value
            base = self._names.get(of.id, "") if isinstance(of, ast.Name) else self._dotted(of)
            return f"{base}.{node.attr}" if base else ""
        return self._names.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    def _note(self, node: ast.stmt | ast.expr, what: str, why: str) -> None:
        self.found.append(Found(self._module, ".".join(self._inside), node.lineno, what, why))


def read(source: str, module: str = "example") -> list[Found]:
    """Find in a source what it must not do."""
    reader = Reader(module)
    reader.visit(ast.parse(source))
    return reader.found


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of every package that is here: its name and its file."""
    for folder in sorted(PACKAGES.glob("*/src")):
        for file in sorted(folder.rglob("*.py")):
            yield ".".join(file.relative_to(folder).with_suffix("").parts), file


def test_no_source_does_what_data_could_abuse() -> None:
    found = [found for module, file in sources() for found in read(file.read_text(encoding="utf-8"), module)]
    used = {(each.module, each.function) for each in found}

    assert [str(each) for each in found if (each.module, each.function) not in ALLOWED] == []
    present = {module.partition(".")[0] for module, _ in sources()}
    assert [place for place in ALLOWED if place not in used and place[0].partition(".")[0] in present] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "def f():\n    import shelve",
        "import yaml\nyaml.load(data)",
        "from xml.etree import ElementTree",
        "import http.server",
        "eval(data)",
        "read = eval",
        "exec(compile(data, '', 'exec'))",
        "__import__(name)",
        "import importlib\nimportlib.import_module(event.event_type)",
        "from importlib import import_module\nimport_module(name)",
        "from importlib import import_module as get\nget(f'plugins.{name}')",
        "import pkgutil\npkgutil.resolve_name(name)",
        "[entry] = entries\nentry.load()",
        "spec.loader.exec_module(module)",
        "import os\nos.system(command)",
        "from os import popen\npopen(command)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "import subprocess\nsubprocess.run(command, shell=is_posix)",
        "import subprocess as s\ns.Popen(['ls'])",
        "import asyncio\nasyncio.create_subprocess_shell(command)",
        "import asyncio\nasync def f():\n    await asyncio.wait_for(g(), 1)",
        "from asyncio import wait_for\nwait_for(g(), 1)",
        "import random\ntoken = random.randbytes(16)",
        "from random import choice\ntoken = choice(letters)",
        "import asyncio\nasyncio.start_server(f)",
        "import socket\nsocket.socket().listen()",
        "import ssl\ncontext.verify_mode = ssl.CERT_NONE",
        "import ssl\nssl._create_unverified_context()",
        "import tempfile\nopen(tempfile.mktemp())",
    ],
)
def test_what_a_source_must_not_do_is_found(source: str) -> None:
    assert read(source)


@pytest.mark.parametrize(
    "source",
    [
        "import json\njson.loads(data)",
        "import re\nre.compile('a')",
        "from importlib import import_module\nimport_module('rich.console')",
        "import asyncio\nasync def f():\n    async with asyncio.timeout(1):\n        await asyncio.wait({task})",
        "import os\nos.urandom(16)",
        "backend.wait_for_room()",
        "self.evaluate(data)",
    ],
)
def test_what_a_source_may_do_is_not_found(source: str) -> None:
    assert read(source) == []


# --- what an event may take ---------------------------------------------------------------------------------

SIZE = 250_000
"""Bytes of each input below: a quarter of what an event may have."""

BEGIN = b'{"event_type":"A","payload":'

HOSTILE: dict[str, bytes] = {
    "nested lists": BEGIN + b'{"a":' + b"[" * SIZE,
    "nested objects": BEGIN + b'{"a":' * (SIZE // 5),
    "small objects": BEGIN + b'{"a":[' + b"{}," * (SIZE // 3) + b"{}]}}",
    "small lists": BEGIN + b'{"a":[' + b"[]," * (SIZE // 3) + b"[]]}}",
    "many keys": BEGIN + b"{" + b",".join(b'"%d":0' % number for number in range(SIZE // 10)) + b"}}",
    "one key again and again": BEGIN + b"{" + b'"a":0,' * (SIZE // 6) + b'"a":0}}',
    "a long integer": BEGIN + b'{"a":' + b"9" * SIZE + b"}}",
    "long integers": BEGIN + b'{"a":[' + (b"9" * 4299 + b",") * (SIZE // 4300) + b"0]}}",
    "a long fraction": BEGIN + b'{"a":0.' + b"9" * SIZE + b"}}",
    "a large exponent": BEGIN + b'{"a":1e' + b"9" * SIZE + b"}}",
    "no number": BEGIN + b'{"a":[' + b"NaN,Infinity," * (SIZE // 13) + b"0]}}",
    "escapes": BEGIN + b'{"a":"' + rb"\u0000" * (SIZE // 6) + b'"}}',
    "lone surrogates": BEGIN + b'{"a":"' + rb"\ud800" * (SIZE // 6) + b'"}}',
    "no end": BEGIN + b'{"a":"' + b"a" * SIZE,
    "event types": b'"event_type"      ' * (SIZE // 18),
    "spaces": b'"event_type"' + b" " * SIZE,
    "a long event type": b'{"event_type":"' + b"A" * SIZE + b'"}',
    "headers": b'{"event_type":"A","headers":{' + b'"a":"b",' * (SIZE // 8) + b'"a":"b"}}',
    "unknown fields": b"{" + b",".join(b'"%d":0' % number for number in range(SIZE // 10)) + b"}",
    "bytes": bytes(range(256)) * (SIZE // 256),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_read_is_an_event_or_refused_within_memory_and_time_in_proportion(what: str) -> None:
    data = HOSTILE[what]
    Event(event_type="A", payload={})  # what is made once is made
    tracemalloc.start()
    before = time.process_time()
    told = ""
    try:
        Event.from_json(data)
    except EventError as refused:
        told = str(refused)
    finally:
        seconds, (_, peak) = time.process_time() - before, tracemalloc.get_traced_memory()
        tracemalloc.stop()

    print(f"{what}: {peak / len(data):.1f} bytes for each, {seconds:.2f} s")
    # The smallest objects of Python take some hundred bytes where JSON has three. Tracing takes most of the time.
    assert peak < 150 * len(data)
    assert seconds < 4
    assert len(told) < 5_000


@pytest.mark.parametrize(
    "data", [b"x" * 100_000_000, BEGIN + b'{"a":"' + b"a" * 100_000_000 + b'"}}'], ids=["bytes", "event"]
)
def test_what_is_too_large_is_refused_before_anything_is_made_of_it(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(EventError, match="too large"):
            Event.from_json(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 100_000


def test_looking_for_long_integers_takes_time_in_proportion() -> None:
    # Each place in a row of digits may be where one begins that is long enough.
    text = ("9" * (MAX_INT_DIGITS - 1) + ".") * (4 * SIZE // MAX_INT_DIGITS)
    before = time.process_time()

    admit(Event(event_type="A", payload={"text": text}), 5 * SIZE)

    assert time.process_time() - before < 0.5


@given(st.integers(0, 40), st.integers(4290, 4310), st.integers(0, 40), st.sampled_from(["", "1a", "a" * 4300]))
def test_a_row_of_digits_is_found_wherever_it_begins(before: int, digits: int, after: int, more: str) -> None:
    data = f"{more}{'-' * before}{'7' * digits}{'-' * after}{more}".encode()

    assert may_be_unreadable(data) == (digits >= MAX_INT_DIGITS)


def test_what_is_nested_too_deep_and_what_is_not_finite_is_refused_as_it_is_made() -> None:
    deep: dict[str, object] = {}
    for _ in range(sys.getrecursionlimit() * 2):
        deep = {"a": deep}

    for payload in (deep, {"a": float("nan")}, {"a": 1e999}, {"a": 10**5000}):
        with pytest.raises(ValueError, match=r"deeper than 64 levels|is nan|is inf|digits"):
            Event(event_type="A", payload=payload)


def test_what_is_read_is_as_finite_as_what_is_made() -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        with pytest.raises(EventError):
            Event.from_json(json.dumps({"event_type": "A", "payload": {"a": 0}}).replace("0", number))

"""What the code logs, read off its syntax tree: each name with its level and its facts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from necrostack.report import RunReport

EVENT = frozenset({"event_id", "event_type", "correlation_id"})
REPORT = frozenset(RunReport.__slots__) - {"organs"}


@dataclass
class Logged:
    """What is logged by one name, wherever that is.

    Attributes:
        levels: By which levels.
        facts: All that may be said.
        always: What is said each time.
    """

    levels: set[str] = field(default_factory=set)
    facts: set[str] = field(default_factory=set)
    always: set[str] | None = None


def logged_in(*folders: Path) -> dict[str, Logged]:
    """Find all calls of `logger.…("name", extra=…)`.

    Raises:
        LookupError: What a call says cannot be made out.
    """
    found: dict[str, Logged] = {}
    for module in (module for folder in folders for module in sorted(folder.rglob("*.py"))):
        tree = ast.parse(module.read_text("utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            for call in _own_calls(function):
                reader = _Reader(tree, function, f"{module.name}:{call.lineno}")
                assert isinstance(call.func, ast.Attribute)
                assert isinstance(call.args[0], ast.Constant)
                said = found.setdefault(str(call.args[0].value), Logged())
                level = call.func.attr
                said.levels.add("ERROR" if level == "exception" else level.upper())
                variants = reader.variants(next((word.value for word in call.keywords if word.arg == "extra"), None))
                said.facts |= frozenset().union(*variants)
                always = {*frozenset.intersection(*variants)}
                said.always = always if said.always is None else said.always & always
                if level == "exception" or any(word.arg == "exc_info" for word in call.keywords):
                    said.facts.add("traceback")
    return found


def _own_calls(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "logger"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node


@dataclass
class _Reader:
    """Makes out the keys of a mapping: each set of them that there may be."""

    tree: ast.Module
    function: ast.FunctionDef | ast.AsyncFunctionDef
    place: str

    def variants(self, node: ast.expr | None) -> list[frozenset[str]]:
        match node:
            case None:
                return [frozenset()]
            case ast.Dict():
                return self._of_dict(node)
            case ast.BinOp(op=ast.BitOr()):
                return _each_with_each(self.variants(node.left), self.variants(node.right))
            case ast.DictComp(generators=[ast.comprehension(iter=ast.Tuple(elts=names))]):
                return [frozenset(str(name.value) for name in names if isinstance(name, ast.Constant))]
            case ast.Name():
                return self._of_name(node.id)
            case ast.Call(func=ast.Name(id="event_facts")):
                return [EVENT]
            case ast.Call(func=ast.Attribute(attr="to_dict")):
                return [REPORT]
            case ast.Call(func=ast.Name(id="MappingProxyType"), args=[inner]):
                return self.variants(inner)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return self._of_returned(name)
            case ast.Subscript(value=ast.Call(func=ast.Attribute(attr="to_dict"))):
                return [REPORT]
        msg = f"{self.place}: what is logged cannot be made out: {ast.unparse(node)}"
        raise LookupError(msg)

    def _of_dict(self, node: ast.Dict) -> list[frozenset[str]]:
        found = [frozenset[str]()]
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                found = _each_with_each(found, self.variants(value))
            else:
                assert isinstance(key, ast.Constant), f"{self.place}: a fact without a constant name"
                found = [each | {str(key.value)} for each in found]
        return found

    def _of_name(self, name: str) -> list[frozenset[str]]:
        found: list[frozenset[str]] = []
        arguments = [argument.arg for argument in self.function.args.args]
        if name in arguments:
            found += self._of_argument(arguments.index(name))
        for node in ast.walk(self.function):
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    found += self.variants(value)
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                    found += self.variants(value)
                case ast.AugAssign(target=ast.Name(id=target), value=value) if target == name:
                    more = _each_with_each(found, self.variants(value))
                    found = [*found, *more] if self._may_be_left_out(node) else more
        if not found:
            msg = f"{self.place}: where {name} comes from cannot be made out"
            raise LookupError(msg)
        return found

    def _may_be_left_out(self, node: ast.AST) -> bool:
        blocks = (ast.With, ast.If, ast.Try)
        return any(node in ast.walk(block) for block in ast.walk(self.function) if isinstance(block, blocks))

    def _of_argument(self, index: int) -> list[frozenset[str]]:
        """What those who call this function hand over, or its default."""
        found = []
        for function in ast.walk(self.tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == self.function.name:
                    default = self.function.args.defaults[-1] if self.function.args.defaults else None
                    reader = _Reader(self.tree, function, self.place)
                    found += reader.variants(call.args[index] if index < len(call.args) else default)
        return found

    def _of_returned(self, name: str) -> list[frozenset[str]]:
        found = []
        for function in ast.walk(self.tree):
            if isinstance(function, ast.FunctionDef) and function.name == name:
                reader = _Reader(self.tree, function, self.place)
                returned = (node for node in ast.walk(function) if isinstance(node, ast.Return))
                found += [variant for node in returned for variant in reader.variants(node.value)]
        if not found:
            msg = f"{self.place}: {name} cannot be found"
            raise LookupError(msg)
        return found


def _each_with_each(some: list[frozenset[str]], others: list[frozenset[str]]) -> list[frozenset[str]]:
    return [one | other for one in some for other in others]

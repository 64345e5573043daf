"""Wrong programs, made from right ones: each place of a module where one small thing may be wrong.

A mutant is a function's code with one node of its syntax tree changed: a number off by one, a comparison or a
condition the other way round, a lost `not`, a lost part of a tuple or of a sum, two of them swapped, a lost
statement, another word. While it is applied the function itself has that code, whoever imported it.
"""

from __future__ import annotations

import ast
import copy
import importlib
import signal
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fwpolicy.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FunctionType

    Change = tuple[str, Callable[[ast.AST], ast.AST | None]]
    # Function by its path and itself, what is wrong, where, and how.
    Place = tuple[str, ast.FunctionDef, str, ast.AST, Callable[[ast.AST], ast.AST | None]]

COMPARISONS = {
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE},
    **{ast.GtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
# Seconds of CPU that a mutant may take.
LONGEST = 0.5
WORDS = {
    **{"saddr": "daddr", "daddr": "saddr", "sport": "dport", "dport": "sport", "iifname": "oifname"},
    **{"oifname": "iifname", "input": "forward", "accept": "drop", "drop": "accept", "!=": "==", "==": "!="},
    **{"new": "established", "established": "new", "jump": "goto", "return": "accept", "ip": "ip6"},
    **{"ip6": "ip", "ipv4": "ipv6", "ipv6": "ipv4", "tcp": "udp", "udp": "tcp", "source": "destination"},
}


@record
class Mutant:
    """`number`: which of the places in its module, in order; `what` is wrong there."""

    module: str
    number: int
    line: int
    function: str
    what: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.function}: {self.what}"


def mutants(module: str) -> list[Mutant]:
    """All of a module's functions."""
    return [
        Mutant(module, number, node.lineno, path, what)
        for number, (path, _, what, node, _) in enumerate(_places_of(module))
    ]


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The mutant in the place of its function; TimeoutError inside, where it goes on and on."""
    path, function, _, node, change = _places_of(mutant.module)[mutant.number]
    target = _function(mutant.module, path)
    right = target.__code__
    target.__code__ = _code(function, node, change, _file(mutant.module))
    before = signal.signal(signal.SIGVTALRM, _too_long)
    # Again and again: what is raised in a callback of the garbage collector (hypothesis has one) is lost.
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        target.__code__ = right


def _too_long(*_: object) -> None:
    raise TimeoutError


@contextmanager
def lines_met(modules: list[str]) -> Iterator[set[tuple[str, int]]]:
    """The lines of these modules that are run inside the block, as (module, line)."""
    files = {_file(module): module for module in modules}
    met: set[tuple[str, int]] = set()

    def trace(frame, event, _):
        module = files.get(frame.f_code.co_filename)
        if module is None:
            return None
        met.add((module, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield met
    finally:
        sys.settrace(before)


@cache
def _places_of(module: str) -> list[Place]:
    return list(_places(ast.parse(Path(_file(module)).read_text())))


def _file(module: str) -> str:
    return str(importlib.import_module(module).__file__)


def _function(module: str, path: str) -> FunctionType:
    found = importlib.import_module(module)
    for name in path.split("."):
        found = found.__dict__[name]
    found = getattr(found, "fget", found)
    return getattr(found, "__func__", found)


def _code(
    function: ast.FunctionDef, node: ast.AST, change: Callable[[ast.AST], ast.AST | None], file: str
) -> CodeType:
    """That of the function with the change at `node`, which is somewhere in it."""
    copies: dict[int, ast.AST] = {}
    own = copy.deepcopy(function, copies)
    own.decorator_list = []
    # Changes are made from the node that they were found at, so that goes into the copy.
    new = _Replace(copies[id(node)], lambda _: change(node)).visit(own)
    whole = compile(ast.fix_missing_locations(ast.Module([new], [])), file, "exec")
    return next(each for each in whole.co_consts if getattr(each, "co_name", None) == function.name)


class _Replace(ast.NodeTransformer):
    def __init__(self, node: ast.AST, change: Callable[[ast.AST], ast.AST | None]) -> None:
        self._node, self._change = node, change

    def visit(self, node: ast.AST) -> ast.AST | None:
        return self._change(node) if node is self._node else super().visit(node)


def _places(tree: ast.Module) -> Iterator[Place]:
    for path, function in _functions(tree.body, ""):
        for statement in function.body:
            for node in _code_nodes(statement):
                for what, change in _changes(node):
                    yield path, function, what, node, change


def _functions(body: list[ast.stmt], above: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for each in body:
        if isinstance(each, ast.FunctionDef):
            yield f"{above}{each.name}", each
        elif isinstance(each, ast.ClassDef):
            yield from _functions(each.body, f"{above}{each.name}.")


def _code_nodes(statement: ast.AST) -> Iterator[ast.AST]:
    """All that is run: no annotation, no pattern, no docstring, and no message of an exception."""
    if isinstance(statement, ast.Raise | ast.Assert):
        return
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return
    if hasattr(statement, "lineno"):
        yield statement
    for name, value in ast.iter_fields(statement):
        if name in ("annotation", "returns", "pattern", "format_spec", "slice", "keywords"):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from _code_nodes(each)


def _changes(node: ast.AST) -> Iterator[Change]:  # noqa: C901 (one case a kind of node)
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            other = COMPARISONS[type(operator)]
            yield f"{other.__name__} for {type(operator).__name__}", _with(ops=[other()])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "lost not", lambda _: operand
        case ast.BoolOp(op=operator, values=values):
            other = ast.Or if isinstance(operator, ast.And) else ast.And
            yield f"{other.__name__} for {type(operator).__name__}", _with(op=other())
            yield "lost condition", lambda _: values[-1] if len(values) == 2 else _less(node, "values", 0)
        case ast.IfExp(test=test):
            yield "the other way round", _with(test=_not(test))
        case ast.If(test=test):
            yield "if not", _with(test=_not(test))
        case ast.ListComp(generators=[part]) | ast.GeneratorExp(generators=[part]) if part.ifs:
            yield "lost filter", _with(generators=[_with(ifs=[])(part)])
        case ast.Constant(value=bool(value)):
            yield f"{not value} for {value}", _with(value=not value)
        case ast.Constant(value=int(value)):
            yield f"{value + 1} for {value}", _with(value=value + 1)
        case ast.Constant(value=str(value)):
            for word, other in WORDS.items():
                if word in value.split():
                    texts = [other if each == word else each for each in value.split(" ")]
                    yield f"{other} for {word}", _with(value=" ".join(texts))
        case ast.Tuple(elts=elements, ctx=ast.Load()) | ast.List(elts=elements, ctx=ast.Load()):
            for place in range(len(elements)):
                yield f"lost element {place}", lambda each, place=place: _less(each, "elts", place)
            if len(elements) > 1:
                yield "swapped", _with(elts=[elements[1], elements[0], *elements[2:]])
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            yield "lost left", lambda _: right
            yield "lost right", lambda _: left
            yield "swapped", _with(left=right, right=left)
        case ast.BinOp(op=ast.Sub(), left=left):
            yield "lost right", lambda _: left
        case ast.Expr(value=ast.Yield() | ast.YieldFrom() | ast.Call()):
            yield "lost statement", lambda each: ast.copy_location(ast.Pass(), each)
        case ast.AugAssign():
            yield "lost addition", lambda each: ast.copy_location(ast.Pass(), each)


def _with(**values: object) -> Callable[[ast.AST], ast.AST]:
    def change(node: ast.AST) -> ast.AST:
        new = copy.copy(node)
        for name, value in values.items():
            setattr(new, name, value)
        return new

    return change


def _less(node: ast.AST, name: str, place: int) -> ast.AST:
    parts = getattr(node, name)
    return _with(**{name: [*parts[:place], *parts[place + 1 :]]})(node)


def _not(test: ast.expr) -> ast.expr:
    return ast.copy_location(ast.UnaryOp(ast.Not(), test), test)

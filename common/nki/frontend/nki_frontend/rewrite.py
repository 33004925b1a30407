"""What is changed in a kernel's source before it runs, so that plain Python has the rules of NKI.

  for i in range(n):      ->  the same numbers, but the body is a scope, as every NKI loop's is
  if condition:           ->  the branches are a scope if the condition depends on a loop index
  x: tensor[128, 4] = e   ->  the shape is compared

Lines and columns stay what they are.
"""

from __future__ import annotations

import ast

from . import context
from .context import Scope
from .errors import frame_location, user_frame
from .expr import Expr, Predicate
from .jit import check_annotation
from .loops import python_range

_RANGE, _BRANCH, _ANNOTATED, _TAKEN = "__nki_range__", "__nki_branch__", "__nki_annotated__", "__nki_taken__"


def compile_kernel(source: str, file_name: str) -> object:
    """The code of a kernel's module. Raises SyntaxError as Python does."""
    return compile(rewrite(ast.parse(source, file_name)), file_name, "exec", dont_inherit=True)


def rewrite(tree: ast.Module) -> ast.Module:
    """Changes the functions of a module, in place."""
    _statements(tree.body, False)
    return tree


def helpers() -> dict:
    """The names that rewritten code uses."""
    return {_RANGE: python_range, _BRANCH: branch, _ANNOTATED: check_annotation}


def _statements(body: list, in_function: bool) -> None:
    for position, node in enumerate(body):
        inside = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for field in ("body", "orelse", "finalbody"):
            inner = getattr(node, field, None)
            if isinstance(inner, list):
                _statements(inner, inside)
        for handler in getattr(node, "handlers", ()):
            _statements(handler.body, inside)
        for case in getattr(node, "cases", ()):
            _statements(case.body, inside)
        if isinstance(node, ast.For):
            _for(node)
        elif isinstance(node, ast.If) and in_function:
            body[position] = _if(node)
        elif isinstance(node, ast.AnnAssign) and in_function:
            body[position] = _annotated(node)


def _name(identifier: str, at: ast.AST, store: bool = False) -> ast.Name:
    return ast.copy_location(ast.Name(identifier, ast.Store() if store else ast.Load()), at)


def _for(node: ast.For) -> None:
    call = node.iter
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range":
        call.func = _name(_RANGE, call.func)


def _if(node: ast.If) -> ast.With:
    test = node.test
    call = ast.copy_location(ast.Call(_name(_BRANCH, test), [test], []), test)
    node.test = _name(_TAKEN, test)
    return ast.copy_location(ast.With([ast.withitem(call, _name(_TAKEN, test, True))], [node]), node)


def _annotated(node: ast.AnnAssign) -> ast.stmt:
    if node.value is None or not isinstance(node.target, ast.Name):
        return node
    lazy = ast.Lambda(ast.arguments([], [], None, [], [], None, []), node.annotation)
    lazy = ast.copy_location(lazy, node.annotation)
    call = ast.copy_location(ast.Call(_name(_ANNOTATED, node.value), [node.value, lazy], []), node.value)
    return ast.copy_location(ast.Assign([node.target], call), node)


class _Plain:
    """A branch on a condition known without any loop index."""

    def __init__(self, taken: bool):
        self.taken = taken

    def __enter__(self) -> bool:
        return self.taken

    def __exit__(self, *exc: object) -> None:
        return None


_TRUE, _FALSE = _Plain(True), _Plain(False)


class _Scoped:
    """A branch on a condition that depends on a loop index: what it creates dies with it."""

    def __init__(self, taken: bool, loc: tuple):
        self.taken = taken
        self.loc = loc
        self.scope: Scope | None = None

    def __enter__(self) -> bool:
        self.scope = context.current().open_scope(None, self.loc, "if", "if")
        return self.taken

    def __exit__(self, kind: object, *exc: object) -> None:
        trace = context.current()
        if kind is None:
            trace.close_scope(self.scope)
        else:
            self.scope.open = False


def branch(test: object) -> _Plain | _Scoped:
    """The condition of an `if`, evaluated; remembered by its position where it needed a loop index, since the
    index is a plain number once its loop is unrolled."""
    trace = context.maybe_current()
    if trace is None:
        return _TRUE if test else _FALSE
    frame = user_frame()
    key = (frame.f_code, frame.f_lasti)
    if isinstance(test, (Predicate, Expr)):
        trace.loop_conditions.add(key)
        return _Scoped(bool(test), frame_location(frame))
    if key in trace.loop_conditions:
        return _Scoped(bool(test), frame_location(frame))
    return _TRUE if test else _FALSE

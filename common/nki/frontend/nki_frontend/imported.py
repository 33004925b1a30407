"""The rules of NKI for kernels that a script imports: while such a kernel is traced, it and the functions of
the user that it calls run the code that rewrite.py makes of their source, as a kernel given as text always
does.

Outside of a trace nothing changes: the functions have their own code again, and keep their identity, defaults
and closures all the time. A function whose source can't be found, or is not what it was compiled from, keeps
Python's own rules.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import linecache
import types
from collections.abc import Callable, Iterator

from .errors import _ours
from .python_state import is_users_module
from .rewrite import helpers, rewrite

_MAX_FUNCTIONS = 2000


@contextlib.contextmanager
def rules_of_nki(function: Callable) -> Iterator[None]:
    """Gives a kernel and what it calls the rewritten code, and takes it back."""
    swapped: list[tuple[types.FunctionType, types.CodeType]] = []
    added: list[tuple[dict, str]] = []
    try:
        for f in _reachable(function):
            code = _rewritten(f)
            if code is None:
                continue
            swapped.append((f, f.__code__))
            f.__code__ = code
            for name, helper in helpers().items():
                if name not in f.__globals__:
                    f.__globals__[name] = helper
                    added.append((f.__globals__, name))
        yield
    finally:
        for f, code in swapped:
            f.__code__ = code
        for namespace, name in added:
            namespace.pop(name, None)


def _reachable(function: Callable) -> list[types.FunctionType]:
    """The kernel and the functions of the user that it names, at any depth."""
    out: dict[int, types.FunctionType] = {}
    waiting: list[object] = [function]
    while waiting and len(out) < _MAX_FUNCTIONS:
        value = waiting.pop()
        if isinstance(value, type) and is_users_module(value.__module__):
            waiting.extend(vars(value).values())
        elif isinstance(value, (staticmethod, classmethod, types.MethodType)):
            waiting.append(value.__func__)
        elif isinstance(value, property):
            waiting.append(value.fget)
        elif not isinstance(value, types.FunctionType):
            inner = getattr(type(value), "is_nki_kernel", False) and value.function
            if inner:
                waiting.append(inner)
        elif id(value) not in out and not _ours(value.__code__):
            out[id(value)] = value
            waiting.extend(_named(value))
    return list(out.values())


def _named(function: types.FunctionType) -> Iterator[object]:
    """Values that a function's code names: globals, attributes of the user's modules, closure, methods of
    objects in either.
    """
    names = _names(function.__code__)
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not bound yet
            yield from _with_class(cell.cell_contents)
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType):
            if is_users_module(value.__name__):
                found = vars(value)
                yield from (found[n] for n in names if n in found)
        elif value is not None:
            yield from _with_class(value)


def _with_class(value: object) -> tuple:
    return (value, type(value)) if is_users_module(type(value).__module__) else (value,)


@functools.lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> frozenset:
    inner = (_names(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return frozenset(code.co_names).union(*inner)


def _rewritten(function: types.FunctionType) -> types.CodeType | None:
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        return None
    codes = _codes(code.co_filename, "".join(lines))
    own, new = codes.get((code.co_qualname, code.co_firstlineno), (None, None))
    if own is None or own.co_freevars != code.co_freevars or new.co_freevars != code.co_freevars:
        return None
    # pytest rewrites the assertions of its modules; what it makes of them is not needed here.
    if own != code and "@pytest_ar" not in function.__globals__:
        return None
    return new


@functools.lru_cache(maxsize=64)
def _codes(file_name: str, source: str) -> dict[tuple[str, int], tuple[types.CodeType, types.CodeType]]:
    """For each function of a file its code and its rewritten code, by name and line."""
    try:
        tree = ast.parse(source, file_name)
        own = compile(tree, file_name, "exec", dont_inherit=True)
        new = compile(rewrite(tree), file_name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found = _functions(new)
    return {key: (code, found[key]) for key, code in _functions(own).items() if key in found}


def _functions(code: types.CodeType) -> dict[tuple[str, int], types.CodeType]:
    out = {}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            out[inner.co_qualname, inner.co_firstlineno] = inner
            out.update(_functions(inner))
    return out

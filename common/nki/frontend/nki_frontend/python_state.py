"""What a kernel changes in Python while it is traced, taken back before it is traced again.

The SDK runs a kernel's Python once. Here a trace may start again (segments.py), and a kernel runs once for
each instance of a grid whose index steers control flow. A kernel that keeps a counter or an allocator at
module level must find it each time as it was at the first.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

# Objects looked at; what lies beyond keeps its changes.
_MAX_OBJECTS = 20_000
# Packages whose objects are no state of a kernel.
_FOREIGN = frozenset({"neuronxcc", "nki_frontend", "numpy", "torch", "ml_dtypes", "jax", "_nki"})


class PythonState:
    """The contents of the containers and objects that a kernel can reach through its module, its closure and
    its arguments.
    """

    def __init__(self, function: Callable, arguments: Iterable):
        self._globals: dict = getattr(function, "__globals__", {})
        self._names = dict(self._globals)
        self._cells: list[tuple[types.CellType, Any]] = []
        self._contents: list[tuple[Any, Any]] = []
        seen: set[int] = {id(self._globals)}
        waiting = [v for k, v in self._names.items() if not k.startswith("__")]
        waiting.extend(arguments)
        waiting.append(function)
        while waiting and len(seen) < _MAX_OBJECTS:
            value = waiting.pop()
            if id(value) not in seen:
                seen.add(id(value))
                waiting.extend(self._save(value))

    def _save(self, value: Any) -> Iterable:
        """Remembers a value's contents, and gives them back to be looked at."""
        if isinstance(value, types.FunctionType):
            inner = []
            for cell in value.__closure__ or ():
                try:
                    self._cells.append((cell, cell.cell_contents))
                    inner.append(cell.cell_contents)
                except ValueError:  # not bound yet
                    continue
            return inner
        kind = type(value)
        if kind in (list, set, bytearray):
            self._contents.append((value, kind(value)))
            return () if kind is bytearray else value
        if kind is dict:
            self._contents.append((value, dict(value)))
            return list(value.values())
        if kind is tuple:
            return value
        if isinstance(value, (type, types.ModuleType)) or not _is_users(kind):
            return ()
        state = getattr(value, "__dict__", None)
        if type(state) is not dict:
            return ()
        self._contents.append((state, dict(state)))
        return list(state.values())

    def restore(self) -> None:
        """Puts everything back."""
        for name, value in self._names.items():
            if self._globals.get(name) is not value:
                self._globals[name] = value
        for cell, value in self._cells:
            cell.cell_contents = value
        for value, saved in self._contents:
            if isinstance(value, (list, bytearray)):
                value[:] = saved
            else:
                value.clear()
                value.update(saved)


def _is_users(kind: type) -> bool:
    return is_users_module(getattr(kind, "__module__", None) or "builtins")


def is_users_module(name: object) -> bool:
    """Whether a module, by its name, is neither a library nor ours."""
    package = name.partition(".")[0] if isinstance(name, str) else "builtins"
    return package == "__main__" or package not in _FOREIGN and package not in sys.stdlib_module_names

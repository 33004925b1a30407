"""Keyword arguments that no call of the SDK knows: most often a slip (`maks=`) that would silently change
a result.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable

from . import context

# Accepted by the SDK's calls beyond their signatures, without a meaning here.
_SILENT = frozenset({"name", "lazy_initialization", "engine", "buffer", "perf_mode", "psum", "keepdims"})


def checked(function: Callable) -> Callable:
    """The function, warning about keywords that its signature does not name."""
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    if len(known) == len(inspect.signature(function).parameters):
        return function  # refuses them by itself
    names = frozenset(known) | _SILENT

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> object:
        if not names.issuperset(kwargs):
            _warn(function.__name__, known, set(kwargs) - names)
        return function(*args, **kwargs)

    return call


def _warn(name: str, known: list[str], unknown: set) -> None:
    trace = context.maybe_current()
    for keyword in sorted(unknown):
        near = difflib.get_close_matches(keyword, known, n=1)
        if trace is not None:
            trace.warn(
                "warn_unknown_argument",
                f"{name} has no argument '{keyword}': it has no effect",
                hint=f"did you mean {near[0]}=?" if near else f"arguments: {', '.join(known)}",
            )

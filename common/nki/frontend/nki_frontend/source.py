"""Kernels as source text: compiles it in a namespace of its own and traces the entry function."""

from __future__ import annotations

import difflib
import inspect
import linecache
import types
from typing import Any

from . import errors
from .context import MAX_INSTRUCTIONS, Options
from .errors import KERNEL_FILE, Diagnostic, NkiError
from .jit import Kernel
from .rewrite import compile_kernel, helpers
from .tracer import TensorSpec, Traced, _python_error, trace_kernel

MAX_SOURCE_BYTES = 1 << 20


def load(source: str) -> dict:
    """The namespace that the source makes. Raises what it raises."""
    linecache.cache[KERNEL_FILE] = (len(source), None, source.splitlines(keepends=True), KERNEL_FILE)
    if "\0" in source:
        raise SyntaxError("source code cannot contain null bytes")
    code = compile_kernel(source, KERNEL_FILE)
    module = types.ModuleType("nki_kernel_source")
    module.__file__ = KERNEL_FILE
    module.__dict__.update(helpers())
    exec(code, module.__dict__)  # noqa: S102  the caller's sandbox is what contains it
    return module.__dict__


def trace_source(
    source: str,
    entry: str,
    inputs: list[TensorSpec],
    *,
    grid: tuple = (),
    target: str = "trn1",
    sdk: str = "2.24",
    scalars: dict | None = None,
    max_instructions: int = MAX_INSTRUCTIONS,
) -> Traced:
    """Traces function `entry` of `source` for the given input tensors."""
    if sdk != "2.24":
        return _failed("err_unsupported_sdk", f"SDK {sdk} is not supported", limit="2.24", actual=sdk)
    if target not in ("trn1", "inf2"):
        return _failed(
            "err_unsupported_target", f"target {target} is not supported", limit="trn1, inf2", actual=target
        )
    if len(source.encode("utf-8", "replace")) > MAX_SOURCE_BYTES:
        return _failed(
            "err_source_too_large",
            "the kernel source is too large",
            limit=f"{MAX_SOURCE_BYTES} bytes",
            actual=f"{len(source)} characters",
        )
    errors.in_kernel_file = True
    try:
        return _trace_loaded(
            source, entry, inputs, Options(target, sdk, tuple(grid), max_instructions), scalars or {}
        )
    finally:
        errors.in_kernel_file = False


def _trace_loaded(
    source: str, entry: str, inputs: list[TensorSpec], options: Options, scalars: dict
) -> Traced:
    try:
        namespace = load(source)
    except SyntaxError as e:
        return Traced(
            None,
            [Diagnostic("error", "err_python_syntax", f"SyntaxError: {e.msg}", e.lineno or 0, e.offset or 0)],
        )
    except NkiError as e:
        return Traced(None, [e.diagnostic()])
    except MemoryError:
        raise  # as in tracer.py
    except (Exception, SystemExit) as e:  # noqa: BLE001
        return Traced(None, [_python_error(e)])
    kernel = _entry(namespace, entry)
    if isinstance(kernel, Traced):
        return kernel
    signature = inspect.signature(kernel.function)
    try:
        signature.bind(*inputs, **scalars)
    except TypeError as e:
        return _failed(
            "err_kernel_signature",
            f"{entry}{signature} can't be called with the task's inputs: {e}",
            limit=f"{len(inputs)} tensors: {', '.join(f'{i.name}{list(i.shape)}' for i in inputs)}",
            actual=f"{entry}{signature}",
            line=kernel.function.__code__.co_firstlineno,
            hint="declare one parameter for each input, in this order",
        )
    options.platform = kernel.platform
    return trace_kernel(
        kernel.function,
        list(inputs),
        dict(scalars),
        options,
        name=entry,
        mutable=_mutable(kernel, inputs),
        flags=kernel.flags,
    )


def _mutable(kernel: Kernel, inputs: list[TensorSpec]) -> frozenset:
    """Names of the input specs whose parameter is annotated as mutable."""
    parameters = list(inspect.signature(kernel.function).parameters)
    named = kernel.mutable_parameters()
    return frozenset(spec.name for name, spec in zip(parameters, inputs, strict=False) if name in named)


def _entry(namespace: dict, entry: str) -> Kernel | Traced:
    found: Any = namespace.get(entry)
    if isinstance(found, Kernel):
        return found
    kernels = [n for n, v in namespace.items() if isinstance(v, Kernel)]
    if found is None:
        functions = kernels or [
            n
            for n, v in namespace.items()
            if isinstance(v, types.FunctionType) and v.__module__ == "nki_kernel_source"
        ]
        near = difflib.get_close_matches(entry, functions, n=1)
        return _failed(
            "err_kernel_entry_missing",
            f"the source defines no kernel named '{entry}'",
            limit=entry,
            actual=f"functions found: {', '.join(functions) or 'none'}",
            hint=f"rename {near[0] if near else 'the kernel'} to {entry}"
            if functions
            else f"define the kernel as @nki.jit def {entry}(...)",
        )
    line = found.__code__.co_firstlineno if isinstance(found, types.FunctionType) else 0
    return _failed(
        "err_nki_api_outside_of_nki_kernel",
        f"'{entry}' is not decorated with @nki.jit",
        actual=type(found).__name__,
        line=line,
        hint="put @nki.jit in front of it",
    )


def _failed(
    rule: str, message: str, *, limit: str = "", actual: str = "", hint: str = "", line: int = 0
) -> Traced:
    return Traced(None, [Diagnostic("error", rule, message, line, 0, limit, actual, hint)])

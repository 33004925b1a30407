"""Runs a kernel function with symbolic tensors until it has become a program, or diagnostics."""

from __future__ import annotations

import dataclasses
import itertools
import linecache
import math
import re
import traceback
from collections.abc import Callable
from typing import Any

import _nki

from . import allocated, context, dtypes
from .all_reduce import InstanceStart, Meeting, interleave
from .context import INPUT, LOCAL, OUTPUT, SHARED_HBM, SPMD, Buffer, Instr, Loop, Options, Trace
from .errors import KERNEL_FILE, Diagnostic, NkiError, Retrace, _ours
from .expr import Expr
from .lowering import lower
from .memory import store
from .python_state import PythonState
from .segments import Plan
from .splitting import split_wide
from .tile import Tensor

# Each restart cuts or unrolls at least one more loop; few loops of a kernel have an index that steers control
# flow.
MAX_ATTEMPTS = 64


@dataclasses.dataclass
class TensorSpec:
    """One tensor argument."""

    name: str
    shape: tuple[int, ...]
    dtype: object


@dataclasses.dataclass
class Traced:
    """What became of a kernel: `program` is None if there is an error among the diagnostics."""

    program: bytes | None
    diagnostics: list[Diagnostic]
    outputs: list[TensorSpec] = dataclasses.field(default_factory=list)
    # For each output the position of the input whose storage it is, or None.
    in_place: list[int | None] = dataclasses.field(default_factory=list)
    # How many of the outputs, the first ones, the kernel returns; the others are arguments it writes.
    returned: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is a program."""
        return self.program is not None


def trace_kernel(
    function: Callable,
    arguments: list,
    keywords: dict,
    options: Options,
    *,
    name: str = "",
    mutable: frozenset = frozenset(),
    flags: dict | None = None,
) -> Traced:
    """Traces `function(*arguments, **keywords)`, where TensorSpecs stand for HBM tensors."""
    plan = Plan()
    conditions: set = set()
    state = PythonState(function, (*arguments, *keywords.values()))
    for _ in range(MAX_ATTEMPTS):
        trace = Trace(name or getattr(function, "__name__", "kernel"), options, plan)
        trace.entry_code = getattr(function, "__code__", None)
        trace.loop_conditions = conditions
        trace.auto_alloc = bool((flags or {}).get("force_auto_alloc"))
        previous = context.set_current(trace)
        error: Diagnostic | None = None
        grid: tuple = ()
        try:
            tensors, words = _symbolic(trace, arguments, keywords, mutable)
            grid, result = _run(trace, function, tensors, words, options.grid, state)
            if trace.scope is not None:
                raise context.left_early(trace.scope)
            _outputs(trace, result)
        except Retrace as restart:
            if plan.learn(restart):
                state.restore()
                continue
            error = Diagnostic(
                "error", "err_control_flow", "the value of a loop index is needed and not available"
            )
        except NkiError as e:
            if trace.scope is not None and e.rule == "err_loop_exit_not_supported":
                trace.scope = None
            error = e.diagnostic()
        except RecursionError as e:
            error = _python_error(
                e,
                "err_python_recursion",
                "the kernel recurses too deep",
                "NKI kernels can't recurse without an end",
            )
        except MemoryError:
            raise  # the sandbox's limit, not a finding: whoever set it says so
        except Exception as e:  # noqa: BLE001  anything a kernel raises is a finding about it
            error = _python_error(e)
        except SystemExit as e:
            error = _python_error(e, "err_python_exception", "the kernel calls exit()")
        finally:
            context.set_current(previous)
        return _finish(trace, grid, error)
    return Traced(
        None,
        [
            Diagnostic(
                "error",
                "err_control_flow",
                "too many loops whose index steers control flow",
                limit=str(MAX_ATTEMPTS),
                hint="use mask= instead of conditions on loop indices",
            )
        ],
    )


def _symbolic(trace: Trace, arguments: list, keywords: dict, mutable: frozenset) -> tuple[list, dict]:
    def make(value: Any) -> Any:
        if not isinstance(value, TensorSpec):
            return value
        dtype = dtypes.normalize(value.dtype)
        buffer = Buffer(
            trace.unique_name(value.name),
            context.HBM,
            dtype,
            tuple(int(n) for n in value.shape),
            role=INPUT,
            declared=True,
        )
        buffer.mutable = value.name in mutable
        trace.inputs.append(buffer)
        return Tensor(buffer)

    return [make(a) for a in arguments], {k: make(v) for k, v in keywords.items()}


def _run(
    trace: Trace, function: Callable, arguments: list, keywords: dict, grid: tuple, state: PythonState
) -> tuple[tuple, Any]:
    """Calls the kernel once, or once for each instance of the grid dimensions whose index steers control
    flow.
    """
    ids: list = []
    kept: list[int] = []
    unrolled: list[int] = []
    for axis, size in enumerate(grid):
        key = ("spmd", axis)
        if key in trace.plan.unroll:
            unrolled.append(axis)
            ids.append(0)
            continue
        symbol = trace.loop_symbol(f"program_id{axis}", key, 0, size - 1)
        loop = Loop(symbol, SPMD, 0, 1, size, (0, 0))
        trace.bodies[-1].append(loop)
        trace.bodies.append(loop.body)
        ids.append(Expr(0, ((symbol, 1),)))
        kept.append(size)
    trace.program_ids = ids
    if not unrolled:
        result = function(*arguments, **keywords)
        if trace.scope is not None:
            raise context.left_early(trace.scope)
        return tuple(kept), result
    trace.hbm_by_ordinal = []
    body = trace.bodies[-1]
    try:
        for instance in itertools.product(*(range(grid[a]) for a in unrolled)):
            for axis, value in zip(unrolled, instance, strict=False):
                ids[axis] = value
                trace.open_ranges["spmd", axis] = range(value, value + 1)
            trace.hbm_ordinal = 0
            state.restore()
            body.append(InstanceStart())
            result = function(*arguments, **keywords)
            if trace.scope is not None:
                raise context.left_early(trace.scope)
        interleave(trace, body)
    finally:
        body[:] = [node for node in body if not isinstance(node, (InstanceStart, Meeting))]
    return tuple(kept), result


def _outputs(trace: Trace, result: Any) -> None:
    flat = list(result) if isinstance(result, (tuple, list)) else [result] if result is not None else []
    if trace.options.simulation:
        flat = [_in_hbm(trace, value) if isinstance(value, Tensor) else value for value in flat]
    written = _written(trace.body, set())
    arguments = [b for b in trace.inputs if b.mutable and b in written]
    trace.returned = len(flat)
    if not flat:
        flat = [Tensor(b) for b in arguments]
        if not flat:
            raise NkiError(
                "err_tensor_output_not_written_to",
                "the kernel returns no tensor",
                loc=_definition(trace),
                hint="create the output with nl.ndarray(..., buffer=nl.shared_hbm) and return it",
            )
    for position, value in enumerate(flat):
        if not isinstance(value, Tensor):
            raise NkiError(
                "err_output_type",
                f"returned value {position} is a {type(value).__name__}",
                limit="shared_hbm tensors",
                actual=type(value).__name__,
                loc=_definition(trace),
            )
        buffer = value.buffer
        if buffer.role == INPUT:
            if not buffer.mutable:
                raise NkiError(
                    "err_output_is_parameter",
                    f"the kernel returns its parameter '{buffer.name}'",
                    loc=_definition(trace),
                    hint="copy it to a new shared_hbm tensor and return that",
                )
        elif buffer.storage().buffer != SHARED_HBM:
            raise NkiError(
                "err_unsupported_memory",
                f"returned tensor '{buffer.name}' is in {context.BUFFER_NAME[buffer.buffer]}",
                limit="shared_hbm",
                actual=context.BUFFER_NAME[buffer.buffer],
                loc=buffer.loc,
                hint="create outputs with nl.ndarray(shape, dtype=..., buffer=nl.shared_hbm)",
            )
        if buffer.base is not None or value.shape != buffer.shape:
            buffer = _output_of_view(trace, value, position)
        if buffer in trace.outputs:
            raise NkiError("err_output_is_view", f"tensor '{buffer.name}' is returned twice", loc=buffer.loc)
        if buffer not in written and not any(b.storage() is buffer for b in written):
            raise NkiError(
                "err_tensor_output_not_written_to",
                f"output '{buffer.name}' is never written to",
                loc=buffer.loc,
                hint="check loop ranges (a loop of zero iterations writes nothing) and nl.store",
            )
        if buffer.role == LOCAL:
            buffer.role = OUTPUT
        trace.outputs.append(buffer)
    if trace.options.simulation:
        trace.outputs.extend(b for b in arguments if b not in trace.outputs)


def _in_hbm(trace: Trace, value: Tensor) -> Tensor:
    """A returned tensor of any memory as one in shared_hbm."""
    buffer = value.buffer
    memory = buffer.storage().buffer
    if memory == SHARED_HBM or buffer.role != LOCAL:
        return value
    trace.warn(
        "err_unsupported_memory",
        f"returned tensor '{buffer.name}' is in {context.BUFFER_NAME[memory]}: the simulator gives its "
        "contents back, the compiler refuses it",
        hint="create outputs with nl.ndarray(shape, dtype=..., buffer=nl.shared_hbm)",
        loc=buffer.loc,
    )
    if context.is_hbm(memory):
        buffer.storage().buffer = SHARED_HBM
        return value
    out = Tensor(trace.new_buffer(SHARED_HBM, value.dtype, value.shape, name=buffer.name, loc=buffer.loc))
    store(out, value)
    return out


def _output_of_view(trace: Trace, value: Tensor, position: int) -> Buffer:
    """A returned reshape of an output: the result takes the reshaped form, and the tensor that was created
    a view of it.
    """
    view, owner = value.buffer, value.buffer.storage()
    linear = Expr(0, (), value.shape, (0,) * len(value.shape))
    for axis, e in enumerate(value.index):
        linear = linear + e * math.prod(view.shape[axis + 1 :])
    walk = tuple(0 if n == 1 else math.prod(value.shape[d + 1 :]) for d, n in enumerate(value.shape))
    whole = linear.const == 0 and not linear.terms and linear.coefs == walk and not value.mask
    if not whole or owner.role != LOCAL or math.prod(value.shape) != math.prod(owner.shape):
        raise NkiError(
            "err_output_is_view",
            f"returned value {position} is a part of '{owner.name}'",
            loc=owner.loc,
            hint="return whole tensors; create the output with its final shape",
        )
    result = Buffer(owner.name, owner.buffer, owner.dtype, value.shape, loc=owner.loc, declared=True)
    owner.base = result
    return result


def _definition(trace: Trace) -> tuple[int, int]:
    code = getattr(trace, "entry_code", None)
    return (code.co_firstlineno if code is not None else 0, 0)


def _written(nodes: list, out: set) -> set:
    for node in nodes:
        if isinstance(node, Instr):
            for operand in node.dst:
                if isinstance(operand, context.Access):
                    out.add(operand.buffer.storage())
        else:
            _written(node.body, out)
    return out


def _finish(trace: Trace, grid: tuple, error: Diagnostic | None) -> Traced:
    """Judges the instructions recorded so far; what they break comes before the error that ended the
    trace.
    """
    diagnostics: list[Diagnostic] = []
    program = None
    try:
        split_wide(trace.body)
        if error is not None:
            for b in trace.outputs:
                b.role = LOCAL
            trace.outputs.clear()
        found: list = []
        if error is None or error.rule != "err_program_too_large":
            found, program = _nki.build(lower(trace, grid), complete=error is None)
        diagnostics = [Diagnostic(**d) for d in found]
    except MemoryError:
        raise
    except Exception as e:  # noqa: BLE001  numbers past the program's limits, or a kernel that meddled with the trace
        if error is None:
            text = str(e).removeprefix("invalid program: ")
            rule = "err_program_too_large" if "exceed the limit" in text else "err_invalid_program"
            error = Diagnostic("error", rule, text)
    if trace.manual and error is None:
        diagnostics.extend(allocated.findings(trace.body))
    diagnostics = _distinct(diagnostics)
    if error is not None:
        diagnostics.append(error)
    failed = any(d.severity == "error" for d in diagnostics)
    diagnostics.extend(trace.warnings)
    if failed or not program:
        return Traced(None, diagnostics)
    outputs = [TensorSpec(b.name, b.shape, b.dtype) for b in trace.outputs]
    in_place = [trace.inputs.index(b) if b.role == INPUT else None for b in trace.outputs]
    return Traced(bytes(program), diagnostics, outputs, in_place, trace.returned)


def _distinct(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """One finding for each rule and line: unrolled loops repeat them."""
    seen: set = set()
    out = []
    for d in diagnostics:
        key = (d.rule, d.line, d.column, d.message if not d.line else "")
        if key not in seen:
            seen.add(key)
            out.append(d)
    return out


_RULES = {
    "NameError": "err_python_name",
    "UnboundLocalError": "err_python_name",
    "AttributeError": "err_python_attribute",
    "MissingApi": "err_unknown_nki_api",
    "ImportError": "err_python_import",
    "ModuleNotFoundError": "err_python_import",
    "AssertionError": "err_kernel_assertion",
    "TypeError": "err_python_type",
    "ValueError": "err_python_value",
    "OverflowError": "err_python_value",
    "IndexError": "err_python_index",
    "KeyError": "err_python_key",
    "ZeroDivisionError": "err_python_zero_division",
}


def _python_error(e: BaseException, rule: str = "", message: str = "", hint: str = "") -> Diagnostic:
    """A Python exception as a finding, at the kernel's innermost line."""
    line = column = 0
    frame = None
    frames = [(f, n) for f, n in traceback.walk_tb(e.__traceback__) if not _ours(f.f_code)]
    own = [(f, n) for f, n in frames if f.f_code.co_filename == KERNEL_FILE]
    for frame, lineno in (own or frames)[-1:]:
        line, column = lineno, _column(e, frame)
    name = type(e).__name__
    detail = str(e)
    if not detail and line and name == "AssertionError":
        detail = linecache.getline(frame.f_code.co_filename, line).strip()
    text = message or (detail if name == "MissingApi" else f"{name}: {detail}" if detail else name)
    if not hint and isinstance(e, ModuleNotFoundError) and (e.name or "").partition(".")[0] == "nki":
        hint = "SDK 2.24 is meant: import neuronxcc.nki as nki"
    if not hint and "__array_ufunc__" in detail and line:
        called = re.search(r"\bnp\.(\w+)|\bnumpy\.(\w+)", linecache.getline(frame.f_code.co_filename, line))
        function = next((g for g in called.groups() if g), "") if called else ""
        hint = f"NumPy functions don't work on tiles: use nl.{function or '<function>'}"
    return Diagnostic(
        "error",
        rule or _RULES.get(name, "err_python_exception"),
        text[:2000],
        line,
        column,
        hint=hint or getattr(e, "hint", ""),
    )


def _column(e: BaseException, frame: Any) -> int:
    tb = e.__traceback__
    while tb is not None:
        if tb.tb_frame is frame:
            position = next(itertools.islice(frame.f_code.co_positions(), tb.tb_lasti // 2, None), None)
            return (position[2] or 0) + 1 if position and position[2] is not None else 0
        tb = tb.tb_next
    return 0

"""nl.affine_range, nl.sequential_range, nl.static_range.

The first two yield one symbolic index and record a loop. If a condition depends on the index, the trace
starts again with the loop cut where the condition changes (segments.py); if the kernel needs the number
behind it (a Python list index, `range(i)`), with exactly that loop unrolled. A loop is known by its source
position and the calls that led there.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import context
from .context import AFFINE, SEQUENTIAL, Loop, Scope, Trace, current, left_early, loop_name
from .errors import NkiError, frame_location, user_frame
from .expr import Expr
from .tile import Tensor

MAX_UNROLL = 65536
# Of a loop index. Products with any axis of a tensor stay within 64 bits.
MAX_BOUND = 2**50


def _bounds(name: str, args: tuple) -> tuple[int, int, int]:
    if not 1 <= len(args) <= 3:
        raise TypeError(
            f"{name} takes (stop), (start, stop) or (start, stop, step), not {len(args)} arguments"
        )
    for a in args:
        if isinstance(a, Tensor):
            raise NkiError(
                "err_dynamic_control_flow_not_supported",
                f"a bound of {name} is a tensor",
                hint="trip counts must be known at compile time",
            )
        if isinstance(a, float) and not a.is_integer():
            raise TypeError(f"{name} bounds must be integers, not {a!r}")
    start, stop = (0, args[0]) if len(args) == 1 else args[:2]
    step = int(args[2]) if len(args) == 3 else 1
    if step < 1:
        raise NkiError(
            "err_loop_step_not_supported", f"{name} needs a positive step", limit="step >= 1", actual=step
        )
    first, last = int(start), int(stop)
    if max(abs(first), abs(last), step) > MAX_BOUND:
        raise NkiError(
            "err_program_too_large",
            f"the bounds of {name} are too large",
            limit=f"numbers up to {MAX_BOUND}",
            actual=max(first, last, step, key=abs),
        )
    return first, last, step


def _key(frame: object) -> tuple:
    out = []
    code = current().entry_code
    while frame is not None:
        out.append((frame.f_code, frame.f_lasti))
        if frame.f_code is code:
            break
        frame = frame.f_back
    return tuple(out)


class LoopRange:
    """The iterable behind a symbolic loop; each `iter` is one loop of the program."""

    def __init__(self, name: str, kind: int, args: tuple):
        current()
        self._name = name
        self._kind = kind
        self._start, self._stop, self._step = _bounds(name, args)

    def __len__(self) -> int:
        return len(range(self._start, self._stop, self._step))

    def __iter__(self) -> Iterator:
        values = range(self._start, self._stop, self._step)
        frame = user_frame()
        key = _key(frame)
        if not values:
            return iter(())
        trace = current()
        trace.plan.entered(key, values)
        if key not in trace.plan.unroll:
            segments = trace.plan.segments(key, values, trace.open_ranges)
            if segments is not None:
                _check_unrolled(len(segments), len(values))
                return _LoopIterator(self._name, self._kind, key, frame, segments)
        return _unrolled(values, self._name, key, frame)


class _LoopIterator:
    """Yields one index for each part of the loop (segments.py), usually the whole. A class rather than a
    generator, so that leaving the loop early is noticed.
    """

    def __init__(self, name: str, kind: int, key: tuple, frame: object, segments: list[range]):
        self._range_name = name
        self._kind = kind
        self._key = key
        self._frame = frame
        self._segments = segments
        self._next = 0
        self._open: Scope | None = None
        self._loop: Loop | None = None
        self._loc = frame_location(frame)
        self._name = loop_name(frame)
        self._outer_tiles: dict = {}

    def __iter__(self):
        return self

    def __next__(self) -> Expr | int:
        trace = current()
        if self._next == 0:
            self._outer_tiles = _tiles(self._frame)
        elif self._open is not None:
            self._close(trace)
        if self._next == len(self._segments):
            self._frame = None
            raise StopIteration
        values = self._segments[self._next]
        repeated = self._next > 0
        self._next += 1
        trace.open_ranges[self._key] = values
        if len(values) == 1 and len(self._segments) > 1:
            self._open = trace.open_scope(None, self._loc, self._range_name, self._name, repeated)
            return values[0]
        symbol = trace.loop_symbol(self._name, self._key, values[0], values[-1])
        self._loop = Loop(symbol, self._kind, values[0], values.step, len(values), self._loc)
        trace.bodies[-1].append(self._loop)
        trace.bodies.append(self._loop.body)
        trace.loops.append(self._loop)
        self._open = trace.open_scope(symbol, self._loc, self._range_name, self._name, repeated)
        return Expr(0, ((symbol, 1),))

    def _close(self, trace: Trace) -> None:
        scope, self._open = self._open, None
        trace.close_scope(scope)
        trace.open_ranges.pop(self._key, None)
        if self._loop is not None:
            trace.bodies.pop()
            trace.loops.pop().symbol.closed = True
            self._loop = None
            _warn_shadowing(trace, self._frame, self._outer_tiles, scope)


def _tiles(frame: object) -> dict:
    return {name: value for name, value in frame.f_locals.items() if isinstance(value, Tensor)}


def _warn_shadowing(trace: object, frame: object, outer: dict, scope: object) -> None:
    if not outer:
        return
    now = frame.f_locals
    for name, before in outer.items():
        after = now.get(name)
        if after is not before and isinstance(after, Tensor) and after.buffer.scope is scope:
            trace.warn(
                "warn_shadowing_local_tensor",
                f"shadowing local tensor '{name}': it is bound outside the loop and bound anew inside",
                hint=f"assign with {name}[...] = to change the outer tensor",
                loc=after.buffer.loc,
            )


def _check_unrolled(copies: int, trips: int) -> None:
    if copies > MAX_UNROLL:
        raise NkiError(
            "err_program_too_large",
            f"a loop of {trips} iterations would have to be written out {copies} times, because its index "
            "steers control flow",
            limit=MAX_UNROLL,
            actual=copies,
            hint="use mask= instead of a condition on the loop index",
        )


def _unrolled(values: range, name: str, key: tuple, frame: object) -> Iterator[int]:
    _check_unrolled(len(values), len(values))
    loc = frame_location(frame)
    variable = loop_name(frame)
    trace = current()
    for value in values:
        scope = trace.open_scope(None, loc, name, variable, repeated=value != values[0])
        trace.open_ranges[key] = range(value, value + 1)
        yield value
        if trace.scope is not scope:
            raise left_early(trace.scope)
        trace.close_scope(scope)
    trace.open_ranges.pop(key, None)


def affine_range(*args, **kwargs) -> LoopRange:
    """Loop whose iterations are independent, except for accumulation."""
    return LoopRange("nl.affine_range", AFFINE, args)


def sequential_range(*args, **kwargs) -> LoopRange:
    """Loop whose iterations run in order and may depend on each other."""
    return LoopRange("nl.sequential_range", SEQUENTIAL, args)


def static_range(*args: object) -> range:
    """Loop unrolled while tracing: no loop of the program, so its tiles live on behind it."""
    current()
    start, stop, step = _bounds("nl.static_range", args)
    return range(start, stop, step)


def python_range(*args) -> Iterator[int]:
    """What `for ... in range(...)` of a kernel becomes: unrolled, with the scope rules of every loop."""
    values = range(*args)
    return values if context.maybe_current() is None else _PythonRange(values, "range")


class _PythonRange:
    def __init__(self, values: range, name: str):
        self._values = values
        self._name = name

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[int]:
        return _unrolled_python(self._values, self._name, user_frame())


def _unrolled_python(values: range, name: str, frame: object) -> Iterator[int]:
    trace = current()
    loc, variable, scope = frame_location(frame), loop_name(frame), None
    try:
        for value in values:
            scope = trace.open_scope(None, loc, name, variable)
            yield value
            trace.close_scope(scope)
    except GeneratorExit:
        # break or return: allowed in an unrolled loop
        if scope is not None and trace.scope is scope:
            trace.close_scope(scope)

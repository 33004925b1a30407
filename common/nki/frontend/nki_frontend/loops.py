"""nl.affine_range, nl.sequential_range, nl.static_range.

The first two yield one symbolic index and record a loop. If the kernel needs the number behind the index
(a condition, a Python list index, `range(i)`), the trace starts again with exactly that loop unrolled; it
is known by its source position and the calls that led there.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import context
from .context import AFFINE, SEQUENTIAL, Loop, current, left_early, loop_name
from .errors import NkiError, frame_location, user_frame
from .expr import Expr
from .tile import Tensor

MAX_UNROLL = 65536


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
    return int(start), int(stop), step


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
        trips = len(self)
        frame = user_frame()
        key = _key(frame)
        if trips == 0:
            return iter(())
        if key in current().unroll:
            return _unrolled(range(self._start, self._stop, self._step), self._name, frame)
        return _LoopIterator(self, key, frame, trips)


class _LoopIterator:
    """Yields the index once. A class rather than a generator, so that leaving the loop early is noticed."""

    def __init__(self, loop_range: LoopRange, key: tuple, frame: object, trips: int):
        self._range = loop_range
        self._key = key
        self._trips = trips
        self._frame_names = frame
        self._state = 0
        self._loc = frame_location(frame)
        self._name = loop_name(frame)

    def __iter__(self):
        return self

    def __next__(self) -> Expr:
        trace = current()
        if self._state == 0:
            self._state = 1
            r = self._range
            last = r._start + r._step * (self._trips - 1)
            symbol = trace.loop_symbol(self._name, self._key, r._start, last)
            loop = Loop(symbol, r._kind, r._start, r._step, self._trips, self._loc)
            trace.bodies[-1].append(loop)
            trace.bodies.append(loop.body)
            trace.loops.append(loop)
            self._scope = trace.open_scope(symbol, self._loc, r._name, self._name)
            self._outer_tiles = _tiles(self._frame_names)
            return Expr(0, ((symbol, 1),))
        if self._state == 1:
            self._state = 2
            trace.close_scope(self._scope)
            trace.bodies.pop()
            trace.loops.pop().symbol.closed = True
            _warn_shadowing(trace, self._frame_names, self._outer_tiles, self._scope)
            self._frame_names = None
        raise StopIteration


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


def _unrolled(values: range, name: str, frame: object) -> Iterator[int]:
    if len(values) > MAX_UNROLL:
        raise NkiError(
            "err_program_too_large",
            f"a loop of {len(values)} iterations would have to be unrolled",
            limit=MAX_UNROLL,
            actual=len(values),
            hint="use mask= instead of a condition on the loop index",
        )
    loc = frame_location(frame)
    variable = loop_name(frame)
    trace = current()
    for value in values:
        scope = trace.open_scope(None, loc, name, variable, repeated=value != values[0])
        yield value
        if trace.scope is not scope:
            raise left_early(trace.scope)
        trace.close_scope(scope)


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

"""nl.all_reduce: a reduction over the programs of the launch grid.

The programs of a grid run one after the other on one core, so none can wait for another. A kernel that
reduces over programs is traced as a sequence of instances along those axes, like one whose grid index steers
control flow; each instance leaves a `Meeting` in its instructions where it called all_reduce. Afterwards the
instances are cut at their meetings and laid one after the other, part by part: first every instance up to its
first meeting, then the reduction, then every instance up to its second one, and so on. What a device does
with one core for each program is here done by one core with the tiles of all programs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from . import context, dtypes
from .context import OPCODE, Access, Buffer, Instr, Trace, current
from .errors import NkiError, Retrace, user_location
from .tile import Tensor, on_chip

# Neutral elements, for elements that a mask leaves out.
_NEUTRAL = {
    "add": 0.0,
    "multiply": 1.0,
    "maximum": -3.0e38,
    "minimum": 3.0e38,
    "logical_or": 0.0,
    "logical_and": 1.0,
    "logical_xor": 0.0,
    "bitwise_or": 0.0,
    "bitwise_xor": 0.0,
}


class InstanceStart:
    """Where the nodes of the next instance begin; a node of a body that is being traced, in no program."""


class Meeting:
    """Where one instance waits for the others; a node of a body that is being traced, in no program."""

    __slots__ = ("op", "axes", "partial", "result", "loc", "ids")

    def __init__(self, op: str, axes: tuple, partial: Buffer, result: Buffer, ids: tuple):
        self.op = op
        self.axes = axes
        self.partial = partial
        self.result = result
        self.ids = ids
        self.loc = user_location()


def all_reduce(x: object, op: object, program_axes: object, dtype: object, mask: object) -> Tensor:
    """The tile reduced over the programs along `program_axes`: the same for each of them."""
    from .access import masked
    from .alu import op_name
    from .elementwise import as_tile

    trace = current()
    name = op_name(op, "nl.all_reduce")
    if name not in _NEUTRAL:
        raise NkiError("err_unsupported_reduce_op", f"nl.all_reduce with {name}", limit=", ".join(_NEUTRAL))
    tile = as_tile(x, "x")
    axes = _axes(trace, program_axes)
    symbolic = {("spmd", a) for a in axes if not isinstance(trace.program_ids[a], int)}
    # Instances can't meet inside a loop of one of them.
    around = {loop.symbol.loop for loop in trace.loops}
    if symbolic or around:
        raise Retrace(symbolic | around)
    kind = tile.dtype if dtype is None else dtypes.normalize(dtype)
    source = on_chip(tile, "x")
    own = masked(source, mask)
    partial = _level(trace, tile.dtype, source.shape, f"{tile.buffer.name}_part")
    if own.mask:
        trace.emit("memset", [_whole(partial)], [], value=_neutral(name, tile.dtype))
    trace.emit("tensor_copy", [_whole(partial).with_mask(own.mask)], [own])
    result = _level(trace, kind, source.shape, f"{tile.buffer.name}_reduced")
    ids = tuple(i if isinstance(i, int) else None for i in trace.program_ids)
    trace.bodies[-1].append(Meeting(name, axes, partial, result, ids))
    return Tensor(result)


def _neutral(op: str, dtype: object) -> float:
    value = _NEUTRAL[op]
    if abs(value) > 1 and dtypes.is_integer(dtype):
        return float(2**31 - 1 if value > 0 else -(2**31))
    return value


def _axes(trace: Trace, program_axes: object) -> tuple:
    given = program_axes if isinstance(program_axes, (tuple, list)) else (program_axes,)
    rank = len(trace.program_ids)
    for axis in given:
        if not isinstance(axis, int) or not 0 <= axis < rank:
            raise NkiError(
                "err_program_id_axis",
                f"nl.all_reduce over axis {axis} of a launch grid of {rank} dimensions",
                limit=f"axes 0..{rank - 1}" if rank else "a launch grid",
                actual=axis,
                hint="launch the kernel as kernel[grid](...)",
            )
    return tuple(sorted(set(given)))


def _level(trace: Trace, dtype: object, shape: tuple, name: str) -> Buffer:
    """A tile at kernel level: it lives on while other instances run."""
    return Buffer(trace.unique_name(name), context.SBUF, dtype, shape, loc=user_location())


def _whole(buffer: Buffer) -> Access:
    return on_chip(Tensor(buffer), "tile")


def interleave(trace: Trace, body: list) -> None:
    """Rearranges the nodes of all instances into parts between which their meetings are. In place: what is
    still to be undone (assign.py) looks for its instruction in this list.
    """
    if not any(isinstance(node, Meeting) for node in body):
        return
    starts = [n for n, node in enumerate(body) if isinstance(node, InstanceStart)]
    before = body[: starts[0]]
    ends = [*starts[1:], len(body)]
    parts = [_parts(body[a + 1 : b]) for a, b in zip(starts, ends, strict=True)]
    out = list(before)
    for k in range(max(len(p) for p in parts)):
        meetings = []
        for nodes, meeting in (p[k] for p in parts if k < len(p)):
            out.extend(nodes)
            if meeting is not None:
                meetings.append(meeting)
        if meetings:
            out.extend(_meet(trace, body, meetings, len(parts)))
    body[:] = out


def _parts(nodes: list) -> list[tuple[list, Meeting | None]]:
    out: list = []
    part: list = []
    for node in nodes:
        if isinstance(node, Meeting):
            out.append((part, node))
            part = []
        else:
            part.append(node)
    return [*out, (part, None)]


def _meet(trace: Trace, body: list, meetings: list[Meeting], programs: int) -> Iterator[Instr]:
    first = meetings[0]
    for m in meetings:
        same = (m.op, m.axes, m.partial.shape, m.partial.dtype) == (
            first.op,
            first.axes,
            first.partial.shape,
            first.partial.dtype,
        )
        if not same or len(meetings) != programs:
            raise NkiError(
                "err_all_reduce_mismatch",
                f"{len(meetings)} of {programs} programs of the grid come to this nl.all_reduce, or with "
                "different tiles, operators or axes",
                loc=m.loc,
                hint="every program must call nl.all_reduce as often, in the same order",
            )

    def group(m: Meeting) -> tuple:
        return tuple(-1 if a in m.axes or i is None else i for a, i in enumerate(m.ids))

    for _, members in itertools.groupby(sorted(meetings, key=group), key=group):
        yield from _reduce(trace, body, list(members))


def _reduce(trace: Trace, body: list, members: list[Meeting]) -> Iterator[Instr]:
    import _nki

    loc, shape = members[0].loc, members[0].partial.shape
    kind = members[0].partial.dtype
    # Sums of rounded numbers in fp32, as the engines compute.
    inside = dtypes.float32 if dtypes.is_float(kind) else kind
    total = Buffer(trace.unique_name("all_reduce"), context.SBUF, inside, shape, loc=loc)
    op0 = _nki.ALU_OPS[members[0].op][0]

    def instr(op: str, dst: Buffer, src: list[Buffer], **attrs: object) -> Instr:
        return Instr(OPCODE[op], 0, [_whole(dst)], [_whole(b) for b in src], attrs, loc, body)

    yield instr("tensor_copy", total, [members[0].partial])
    for m in members[1:]:
        yield instr("tensor_tensor", total, [total, m.partial], op0=op0)
    for m in members:
        yield instr("tensor_copy", m.result, [total])

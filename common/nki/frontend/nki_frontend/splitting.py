"""nl functions on tiles with more free axes than an access pattern has: one instruction for each index of an
axis.

nisa calls are left as they are: there the limit is the kernel's to keep.
"""

from __future__ import annotations

import _nki

from .context import Access, Instr, Loop
from .expr import Expr

_MAX_FREE_AXES = _nki.LIMITS["max_free_axes"]


def separate_axes(access: Access) -> int:
    """Free axes of an access pattern, adjacent ones counted once where they walk like one."""
    count = 0
    below = None
    for d in range(len(access.shape) - 1, 0, -1):
        if access.shape[d] == 1:
            continue
        if below is None or any(e.coefs[d] != e.coefs[below] * access.shape[below] for e in access.index):
            count += 1
        below = d
    return count


def split_wide(nodes: list) -> None:
    """Replaces, in place, instructions of nl functions whose operands run over too many axes."""
    position = 0
    while position < len(nodes):
        node = nodes[position]
        if isinstance(node, Loop):
            split_wide(node.body)
        elif node.splittable and any(
            isinstance(o, Access) and separate_axes(o) > _MAX_FREE_AXES for o in node.dst + node.src
        ):
            nodes[position : position + 1] = _split(node)
            continue
        position += 1


def _split(instr: Instr) -> list[Instr]:
    shape = instr.dst[0].shape
    axis = min((d for d in range(1, len(shape)) if shape[d] > 1), key=lambda d: shape[d])
    out = []
    for value in range(shape[axis]):
        part = Instr(instr.op, instr.engine, [], [], instr.attrs, instr.loc, instr.body)
        part.splittable = True
        part.dst = [_fix(o, shape, axis, value) for o in instr.dst]
        part.src = [_fix(o, shape, axis, value) for o in instr.src]
        out.append(part)
    return out


def _fix(operand: object, full: tuple, axis: int, value: int) -> object:
    """The operand at one position of an axis; [P, 1] operands and constants stay."""
    if not isinstance(operand, Access) or operand.shape != full:
        return operand
    shape = full[:axis] + (1,) + full[axis + 1 :]

    def at(e: Expr) -> Expr:
        coefs = e.coefs[:axis] + (0,) + e.coefs[axis + 1 :]
        return Expr(e.const + e.coefs[axis] * value, e.terms, shape, coefs)

    return Access(
        operand.buffer,
        shape,
        tuple(at(e) for e in operand.index),
        tuple(at(m) for m in operand.mask),
        operand.indirect_axis,
        operand.indirect_buffer,
        tuple(at(e) for e in operand.indirect_index),
    )

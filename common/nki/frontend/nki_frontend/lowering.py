"""From a finished trace to the values that `_nki.build` takes (program_builder.h): tuples of numbers, no
objects.
"""

from __future__ import annotations

from . import dtypes
from .context import Access, Buffer, Instr, Loop, Trace
from .expr import Expr


class _Lowering:
    def __init__(self, trace: Trace):
        self.trace = trace
        self.buffers: list[Buffer] = []

    def number(self, buffer: Buffer) -> int:
        """The tensor's id; a base comes before its views."""
        if (
            buffer.number < 0
            or buffer.number >= len(self.buffers)
            or self.buffers[buffer.number] is not buffer
        ):
            if buffer.base is not None:
                self.number(buffer.storage())
            buffer.number = len(self.buffers)
            self.buffers.append(buffer)
        return buffer.number

    def affine(self, e: Expr) -> tuple:
        """(constant, terms, dims)"""
        return (e.const, tuple((s.order, k) for s, k in e.terms), e.coefs)

    def operand(self, value: object) -> object:
        """None, (value, dtype), or an access."""
        if not isinstance(value, Access):
            return value
        affine = self.affine
        indirect = -1 if value.indirect_buffer is None else self.number(value.indirect_buffer)
        return (
            self.number(value.buffer),
            value.shape,
            tuple(affine(e) for e in value.index),
            tuple(affine(m) for m in value.mask),
            value.indirect_axis,
            indirect,
            tuple(affine(e) for e in value.indirect_index),
        )

    def body(self, nodes: list) -> list:
        """Instructions and loops."""
        out = []
        for node in nodes:
            if isinstance(node, Instr):
                attrs = node.attrs
                if "expr" in attrs:
                    attrs = dict(attrs, expr=self.affine(attrs["expr"]))
                out.append(
                    (
                        "I",
                        node.op,
                        node.engine,
                        [self.operand(o) for o in node.dst],
                        [self.operand(o) for o in node.src],
                        attrs,
                        node.loc[0],
                        node.loc[1],
                    )
                )
            else:
                out.append(self.loop(node))
        return out

    def loop(self, node: Loop) -> tuple:
        """One loop with its body."""
        return (
            "L",
            node.symbol.order,
            node.kind,
            node.start,
            node.step,
            node.trips,
            self.body(node.body),
            node.loc[0],
            node.loc[1],
        )

    def tensor(self, b: Buffer) -> tuple:
        """One tensor declaration."""
        symbol = b.scope.symbol if b.scope is not None else None
        return (
            b.name,
            b.buffer,
            dtypes.number(b.dtype),
            b.role if b.base is None else 0,
            b.shape,
            b.partition_axis,
            -1 if symbol is None else symbol.order,
            -1 if b.base is None else self.number(b.storage()),
            b.constant,
            b.loc[0],
            b.loc[1],
        )


def lower(trace: Trace, grid: tuple) -> dict:
    """The dictionary for `_nki.build`. `grid` lists the launch-grid dimensions that are loops of the
    program.
    """
    low = _Lowering(trace)
    inputs = [low.number(b) for b in trace.inputs]
    outputs = [low.number(b) for b in trace.outputs]
    body = low.body(trace.body)
    return {
        "kernel_name": trace.kernel_name,
        "target": trace.options.target,
        "sdk": trace.options.sdk,
        "tensors": [low.tensor(b) for b in low.buffers],
        "symbols": [
            (s.kind, s.name, low.affine(s.argument) if s.argument is not None else (0, (), ()), s.divisor)
            for s in trace.symbols
        ],
        "inputs": inputs,
        "outputs": outputs,
        "grid": grid,
        "body": body,
    }

"""What a kernel with manual placements (nki.compiler.sbuf, .psum) may not contain: tensors that the compiler
would have to place by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import context
from .context import LOCAL, OPCODE, Access, Instr
from .errors import Diagnostic


def findings(body: list) -> list[Diagnostic]:
    """The rules that the instructions of an allocated kernel break."""
    found = []
    hbm: dict[int, context.Buffer] = {}
    for instr in _instructions(body):
        if instr.op == OPCODE["activation"] and instr.src[1] is None:
            found.append(
                Diagnostic(
                    "error",
                    "err_bias_tensor_must_be_specified_in_allocation",
                    "an activation without bias in a manually allocated kernel (nl.exp is one)",
                    instr.loc[0],
                    instr.loc[1],
                    hint="call nisa.activation with an allocated [P, 1] bias tile",
                )
            )
        for operand in instr.dst + instr.src:
            if isinstance(operand, Access):
                storage = operand.buffer.storage()
                if context.is_hbm(storage.buffer) and storage.role == LOCAL:
                    hbm[id(storage)] = storage
    # aws-neuron-sdk v2.24.0, general/nki/nki_direct_allocation_guide.rst.
    found.extend(
        Diagnostic(
            "error",
            "err_hbm_tensor_in_allocated_kernel",
            f"Non IO HBM tensor is not supported in allocated NKI kernel: '{storage.name}'",
            storage.loc[0],
            storage.loc[1],
            limit="arguments, outputs and constants",
            actual=context.BUFFER_NAME[storage.buffer],
            hint="keep it in an allocated SBUF tensor, or return it",
        )
        for storage in hbm.values()
    )
    return found


def _instructions(nodes: list) -> Iterator[Instr]:
    for node in nodes:
        if isinstance(node, Instr):
            yield node
        else:
            yield from _instructions(node.body)

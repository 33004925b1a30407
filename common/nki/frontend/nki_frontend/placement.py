"""Buffers a tensor can be created in, and the allocation API. Addresses are checked and otherwise left to
the toolchain: what a kernel computes does not depend on them.
"""

from __future__ import annotations

import math
import types

from . import context
from .context import HBM, PRIVATE_HBM, PSUM, SBUF, SHARED_HBM
from .errors import NkiError

# aws-neuron-sdk v2.24.0, general/nki/api/nki/compiler/sbuf.py: 16 KiB stay with the compiler.
_SBUF_BYTES = (192 - 16) * 1024


class Memory:
    """nl.sbuf, nl.psum, nl.hbm, ..."""

    __slots__ = ("name", "number")

    def __init__(self, name: str, number: int):
        self.name = name
        self.number = number

    def __repr__(self) -> str:
        return f"nl.{self.name}"


sbuf = Memory("sbuf", SBUF)
psum = Memory("psum", PSUM)
hbm = private_hbm = Memory("private_hbm", PRIVATE_HBM)
shared_hbm = Memory("shared_hbm", SHARED_HBM)
plain_hbm = Memory("hbm", HBM)


class Placement:
    """A manual place, as nki.compiler.sbuf.mod_alloc and its relatives make it."""

    __slots__ = ("memory", "kind", "arguments", "place")

    def __init__(self, memory: int, kind: str, arguments: dict, place: object = None):
        self.memory = memory
        self.kind = kind
        self.arguments = arguments
        self.place = place

    def check(self, buffer: context.Buffer) -> None:
        """Refuses addresses outside the memory."""
        axis = buffer.partition_axis
        bytes_free = math.prod(buffer.shape[axis + 1 :]) * buffer.dtype.itemsize
        if self.memory == PSUM:
            if bytes_free > 2048:
                raise NkiError(
                    "err_size_of_dimension_exceed_arch_limit",
                    f"PSUM tile '{buffer.name}' takes {bytes_free} bytes for each partition",
                    limit="2048 bytes (one bank)",
                    actual=bytes_free,
                )
            bank = self.arguments.get("base_bank", 0)
            if not 0 <= bank < 8:
                raise NkiError(
                    "err_psum_bank_out_of_range",
                    f"PSUM bank {bank} of tensor '{buffer.name}'",
                    limit="banks 0..7",
                    actual=bank,
                )
            return
        address = self.arguments.get("base_addr", 0)
        # Blocks share places beyond these numbers; a tensor without block axes is one tile.
        counts = self.arguments.get("num_free_tiles") or ()
        tiles = math.prod(min(n, size) for n, size in zip(counts, buffer.shape[:axis], strict=False))
        if address < 0 or address + tiles * bytes_free > _SBUF_BYTES:
            raise NkiError(
                "err_sbuf_address_out_of_range",
                f"tensor '{buffer.name}' ends at byte {address + tiles * bytes_free} of its partitions",
                limit=f"{_SBUF_BYTES} bytes",
                actual=address + tiles * bytes_free,
            )


def memory_of(buffer: object) -> tuple[int, Placement | None]:
    """The memory that a `buffer=` argument names."""
    if buffer is None:
        return SBUF, None
    if isinstance(buffer, Memory):
        return buffer.number, None
    if isinstance(buffer, Placement):
        return buffer.memory, buffer if buffer.kind != "auto" else None
    if isinstance(buffer, types.ModuleType):
        name = buffer.__name__.rsplit(".", 1)[-1]
        if name in ("sbuf", "psum"):
            return (SBUF if name == "sbuf" else PSUM), None
    raise NkiError(
        "err_unsupported_memory",
        f"{buffer!r} is not a buffer",
        limit="nl.sbuf, nl.psum, nl.private_hbm, nl.shared_hbm, or nki.compiler.sbuf/psum allocations",
        actual=type(buffer).__name__,
    )


def _integers(values: object) -> tuple:
    return tuple(int(v) for v in (values if isinstance(values, (tuple, list)) else (values,)))


def sbuf_alloc(func: object) -> Placement:
    """SBUF placement by a function of the block index."""
    if not callable(func):
        raise TypeError("nki.compiler.sbuf.alloc takes a function")
    return Placement(SBUF, "alloc", {}, func)


def sbuf_mod_alloc(
    *, base_addr: object, base_partition: object = 0, num_par_tiles: object = (), num_free_tiles: object = ()
) -> Placement:
    """SBUF placement by the block index modulo the numbers of tiles."""
    return Placement(
        SBUF,
        "mod_alloc",
        {
            "base_addr": int(base_addr),
            "base_partition": int(base_partition),
            "num_par_tiles": _integers(num_par_tiles),
            "num_free_tiles": _integers(num_free_tiles),
        },
    )


def psum_alloc(func: object) -> Placement:
    """PSUM placement by a function of the block index."""
    if not callable(func):
        raise TypeError("nki.compiler.psum.alloc takes a function")
    return Placement(PSUM, "alloc", {}, func)


def psum_mod_alloc(
    *,
    base_bank: object,
    base_addr: object = 0,
    base_partition: object = 0,
    num_bank_tiles: object = (),
    num_par_tiles: object = (),
    num_free_tiles: object = (),
) -> Placement:
    """PSUM placement by the block index modulo the numbers of banks and tiles."""
    if int(base_addr) or int(base_partition):
        raise NkiError(
            "err_psum_address_not_zero",
            "PSUM tensors start at byte 0 of partition 0",
            limit="0",
            actual=f"base_addr {base_addr}, base_partition {base_partition}",
        )
    return Placement(
        PSUM, "mod_alloc", {"base_bank": int(base_bank), "num_bank_tiles": _integers(num_bank_tiles)}
    )


def auto_alloc(memory: int) -> Placement:
    """Leaves the place to the compiler."""
    return Placement(memory, "auto", {})

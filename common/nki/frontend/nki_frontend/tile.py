"""Tensors as a kernel meets them: whole tensors in HBM, SBUF and PSUM, and tiles of them."""

from __future__ import annotations

import math
import sys

import numpy as np

from . import context, dtypes
from .context import Access, Buffer, current
from .errors import MissingApi, NkiError
from .expr import Expr
from .indexing import parse, substitute


def identity(shape: tuple) -> tuple:
    """Index expressions of the whole tensor."""
    rank = len(shape)
    return tuple(
        Expr(0, (), shape, tuple(1 if d == k and shape[d] > 1 else 0 for d in range(rank)))
        for k in range(rank)
    )


class Tensor:
    """A tensor or a view of one. Views share storage; arithmetic makes new tiles in SBUF."""

    __slots__ = (
        "buffer",
        "shape",
        "index",
        "mask",
        "runtime",
        "producer",
        "redirect",
        "in_place",
        "pending",
        "from_grid",
    )
    __array_ufunc__ = None
    __array_priority__ = 1000

    def __init__(
        self,
        buffer: Buffer,
        shape: tuple | None = None,
        index: tuple | None = None,
        mask: tuple = (),
        runtime: object = None,
    ):
        self.buffer = buffer
        self.shape = buffer.shape if shape is None else shape
        self.index = identity(buffer.shape) if index is None else index
        self.mask = mask
        self.runtime = runtime  # (axis of the buffer, index tile) or None
        self.producer = (
            None  # (Instr, position among its destinations) while nothing else has used the result
        )
        self.redirect = None  # how to give the result storage of its own again
        self.in_place = False  # just returned by an augmented assignment
        self.pending = None  # (op, x) of nl.loop_reduce
        self.from_grid = False  # selected by a run-time index and one of nl.mgrid together

    # ---- queries -------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype:
        """Element type."""
        return self.buffer.dtype

    @property
    def ndim(self) -> int:
        """Rank."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.buffer.dtype.itemsize

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def name(self) -> str:
        """Name in diagnostics."""
        return self.buffer.name

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a tensor without axes")
        return self.shape[0]

    def __repr__(self) -> str:
        return (
            f"tensor('{self.buffer.name}', shape={self.shape}, dtype={dtypes.name(self.dtype)}, "
            f"buffer={context.BUFFER_NAME[self.buffer.buffer]})"
        )

    def assert_shape(self, shape: object) -> Tensor:
        """The tensor itself, if it has this shape."""
        want = tuple(int(s) for s in shape)
        if want != self.shape:
            raise NkiError(
                "err_annotation_shape_mismatch",
                f"tensor '{self.buffer.name}' has shape {self.shape}, not {want}",
                limit=want,
                actual=self.shape,
                hint="correct the annotation or the expression",
            )
        return self

    def __bool__(self):
        raise NkiError(
            "err_dynamic_control_flow_not_supported",
            f"a condition depends on the contents of tensor '{self.buffer.name}'",
            hint="control flow is decided at compile time: use mask=, nl.where or "
            "nisa.tensor_copy_predicated, and 'is not None' to test for an optional tensor",
        )

    def __iter__(self):
        raise NkiError(
            "err_dynamic_control_flow_not_supported",
            f"tensor '{self.buffer.name}' can't be iterated over",
            hint="loop over indices: for i in nl.affine_range(n)",
        )

    def _no_value(self, *args):
        raise NkiError(
            "err_dynamic_control_flow_not_supported",
            f"the value of tensor '{self.buffer.name}' is not known at compile time",
            hint="sizes, indices and loop bounds must be Python numbers; a [P, 1] integer tile can index "
            "the partition axis of nl.load, nl.store and nisa.dma_copy",
        )

    def __getattr__(self, name: str) -> object:
        error = MissingApi(f"'tensor' object has no attribute '{name}'")
        if name in getattr(sys.modules.get("neuronxcc.nki.language"), "__all__", ()):
            error.hint = f"use nl.{name}(tile, ...)"
        elif name == "T":
            error.hint = "use nl.transpose(tile)"
        else:
            error.hint = "tensors have shape, dtype, reshape, broadcast_to, expand_dims, astype"
        raise error

    __int__ = __index__ = __float__ = __complex__ = __array__ = _no_value

    # ---- views ---------------------------------------------------------------------------------------------

    def __getitem__(self, subscript: object) -> Tensor:
        view = parse(self, subscript)
        index = tuple(substitute(e, view.parts, view.shape) for e in self.index)
        mask = tuple(substitute(m, view.parts, view.shape) for m in self.mask) + view.mask
        runtime = self.runtime
        if view.runtime is not None:
            dim, tile = view.runtime
            axes = [k for k, e in enumerate(self.index) if e.coefs[dim]]
            if len(axes) != 1 or self.index[axes[0]].coefs[dim] != 1 or runtime is not None:
                raise NkiError(
                    "err_indirect_indices_free_dim",
                    f"a run-time index into a strided view of tensor '{self.buffer.name}'",
                )
            runtime = (axes[0], tile)
        view_tensor = Tensor(self.buffer, view.shape, index, mask, runtime)
        view_tensor.from_grid = view.from_grid or self.from_grid
        settle(self)  # taking a view is a use: the result needs storage of its own
        if len(view.shape) < 2 and not context.is_hbm(self.buffer.buffer):
            # On-chip tiles keep a partition and a free axis: t[:, i] is [P, 1].
            view_tensor.shape, view_tensor.index, view_tensor.mask = _partition_first(view_tensor, "tile")
        return view_tensor

    def __setitem__(self, subscript: object, value: object) -> None:
        from .assign import assign

        assign(self, subscript, value)

    def reshape(self, *shape, **kwargs) -> Tensor:
        """View of all elements under another shape."""
        from .views import reshape

        if "shape" in kwargs:
            shape = (kwargs["shape"],)
        return reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def expand_dims(self, axis: int) -> Tensor:
        """View with an axis of size 1 inserted."""
        from .views import expand_dims

        return expand_dims(self, axis)

    def broadcast_to(self, shape: object) -> Tensor:
        """View with larger axes; more partitions make a new tile."""
        from .views import broadcast_to

        return broadcast_to(self, tuple(int(s) for s in shape))

    def astype(self, dtype: object) -> Tensor:
        """A copy with another element type."""
        from .elementwise import copy

        return copy(self, dtype=dtype)

    def view(self, dtype: object) -> Tensor:
        """The same bits as another type."""
        from .bits import view

        return view(self, dtype)

    # ---- operators -----------------------------------------------------------------------------------------
    # Filled in by operators.py: + - * / // % ** @, comparisons, & | ^ ~ << >>, and the augmented ones.

    __hash__ = object.__hash__


def settle(tensor: Tensor) -> None:
    """Before a result is used a second time: undoes the redirection of its instruction into an
    assignment's target.
    """
    if tensor.redirect is not None:
        undo, tensor.redirect = tensor.redirect, None
        undo()
    tensor.producer = None


def check_scope(buffer: Buffer) -> None:
    """Tensors die with the loop body, or the branch on a loop index, that made them."""
    scope = buffer.scope
    if scope is not None and not scope.open:
        where = (
            f"the branch of line {scope.loc[0]}"
            if scope.kind == "if"
            else f"the body of loop '{scope.name}' ({scope.kind})"
        )
        raise NkiError(
            "err_local_variable_used_out_of_scope",
            f"tensor '{buffer.name}' is used outside {where}, in which it was created (line {buffer.loc[0]})",
            hint=f"create it before with nl.ndarray or nl.zeros and assign with "
            f"{buffer.name.split('.')[0]}[...] = inside",
        )


def memory_error(tensor: Tensor, what: str, expected: str) -> NkiError:
    """An operand in the wrong memory."""
    found = context.BUFFER_NAME[tensor.buffer.buffer]
    hint = "move the data to the memory the call expects"
    if context.is_hbm(tensor.buffer.buffer):
        hint = "load the tensor to SBUF first with nl.load"
    elif expected == "hbm":
        hint = "the operand is on chip already; pass an HBM tensor"
    elif found == "psum":
        hint = "copy the tile to SBUF first with nl.copy or nisa.tensor_copy"
    return NkiError(
        "err_unsupported_memory",
        f"operand {what}: expected address space {expected}, found {found} (tensor '{tensor.buffer.name}')",
        limit=expected,
        actual=found,
        hint=hint,
    )


def on_chip(tensor: Tensor, what: str) -> Access:
    """The tile as an operand: dimension 0 is the partition dimension, rank >= 2."""
    buffer = tensor.buffer
    if context.is_hbm(buffer.buffer):
        raise memory_error(tensor, what, "psum|sbuf")
    if tensor.runtime is not None:
        raise NkiError(
            "err_copy_dynamic_indirect_indices_not_natively_supported",
            f"operand {what}: tile of '{buffer.name}' is selected by a run-time index",
            hint="copy it first with nisa.tensor_copy_dynamic_src",
        )
    check_scope(buffer)
    settle(tensor)
    return Access(buffer, *_partition_first(tensor, what))


def _partition_first(tensor: Tensor, what: str) -> tuple:
    """(shape, index, mask) with the partition dimension in front and at least one free dimension."""
    shape, index, mask = tensor.shape, tensor.index, tensor.mask
    axis = tensor.buffer.partition_axis
    e = index[axis]
    moving = [d for d, k in enumerate(e.coefs) if k and shape[d] > 1]
    if moving and moving != [0]:
        raise NkiError(
            "err_failed_to_infer_tile_from_local_tensor",
            f"operand {what}: the partition axis of tensor '{tensor.buffer.name}' is axis {moving[0]} of the "
            f"shape {shape}, it must be the first",
            hint="index away the leading axes: t[i, :, :]",
        )
    if moving and e.coefs[0] != 1:
        raise NkiError(
            "err_partition_stride_not_supported",
            f"operand {what}: partitions of tensor '{tensor.buffer.name}' with stride {e.coefs[0]}",
            limit="stride 1",
            actual=e.coefs[0],
            hint="a tile covers contiguous partitions",
        )
    if not moving and (not shape or any(other.coefs[0] for k, other in enumerate(index) if k != axis)):
        shape = (1,) + shape
        index = tuple(Expr(i.const, i.terms, shape, (0,) + i.coefs) for i in index)
        mask = tuple(Expr(m.const, m.terms, shape, (0,) + m.coefs) for m in mask)
    if len(shape) < 2:
        shape = shape + (1,)
        index = tuple(Expr(i.const, i.terms, shape, i.coefs + (0,)) for i in index)
        mask = tuple(Expr(m.const, m.terms, shape, m.coefs + (0,)) for m in mask)
    return shape, index, mask


def fresh(shape: tuple, dtype: np.dtype, *, buffer: int = context.SBUF, name: str = "") -> Tensor:
    """A new tile for a result; SBUF unless said otherwise. `shape` has the partition dimension first."""
    if shape[0] > 128:
        raise partition_limit(shape[0], "result tile")
    return Tensor(current().new_buffer(buffer, dtype, shape, name=name))


def partition_limit(found: int, what: str) -> NkiError:
    """Too many partitions."""
    return NkiError(
        "err_num_partition_exceed_arch_limit",
        f"Size of partition dimension {found} of {what} exceeds the architecture limit of 128",
        limit="128 partitions (nl.tile_size.pmax)",
        actual=found,
        hint="tile the partition axis by 128: loop with nl.affine_range and mask the last tile",
    )


def mark(result: Tensor, instr: object, position: int = 0) -> Tensor:
    """Remembers which instruction made a result, so that an assignment can redirect it."""
    result.producer = (instr, position)
    return result

"""The functions of neuronxcc.nki.language, as views of the instruction and function tables."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np

from . import dtypes, elementwise, memory, reduction
from .arguments import checked
from .context import current
from .errors import NkiError
from .index_ranges import DynSlice
from .isa_data import next_seed
from .tile import Tensor, fresh, mark, on_chip

_UNARY = (
    "arctan",
    "cos",
    "erf",
    "erf_dx",
    "exp",
    "floor",
    "ceil",
    "trunc",
    "gelu",
    "gelu_apprx_tanh",
    "gelu_dx",
    "log",
    "mish",
    "relu",
    "rsqrt",
    "sigmoid",
    "sign",
    "silu",
    "silu_dx",
    "sin",
    "softplus",
    "sqrt",
    "square",
    "tan",
    "tanh",
)
_BINARY = (
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "power",
    "mod",
    "fmod",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "left_shift",
    "right_shift",
    "equal",
    "not_equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
)


def _named(function, name: str, doc: str):
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.nki_name = name
    return function


def _unary(name: str):
    def call(x, *, dtype=None, mask=None, **kwargs):
        return elementwise.unary(name, x, dtype=dtype, mask=mask)

    return _named(call, name, f"Element-wise {name}.")


def _binary(name: str):
    def call(x, y, *, dtype=None, mask=None, **kwargs):
        return elementwise.binary(name, x, y, dtype=None if dtype is bool else dtype, mask=mask)

    return _named(call, name, f"Element-wise {name} of two operands.")


FUNCTIONS: dict = {name: _unary(name) for name in _UNARY} | {name: _binary(name) for name in _BINARY}


def _public(function):
    name = function.__name__.rstrip("_")
    FUNCTIONS[name] = _named(function, name, function.__doc__)
    return function


@_public
def mod(x, y, dtype=None, mask=None, **kwargs):
    """Remainder with the sign of the divisor."""
    return elementwise.binary("mod", x, y, dtype=dtype, mask=mask)


@_public
def fmod(x, y, dtype=None, mask=None, **kwargs):
    """Remainder with the sign of the dividend."""
    return elementwise.binary("fmod", x, y, dtype=dtype, mask=mask)


@_public
def abs_(x, *, dtype=None, mask=None, **kwargs):
    """Element-wise magnitude."""
    return elementwise.unary("abs", x, dtype=dtype, mask=mask)


@_public
def negative(x, *, dtype=None, mask=None, **kwargs):
    """Element-wise sign flip."""
    return elementwise.scalar_op("multiply", x, -1.0, dtype=dtype, mask=mask)


@_public
def invert(x, *, dtype=None, mask=None, **kwargs):
    """Element-wise complement of integers."""
    x = elementwise.as_tile(x, "x")
    if not dtypes.is_integer(x.dtype):
        raise NkiError(
            "err_bitvec_operand_type",
            f"nl.invert works on integers, not {dtypes.name(x.dtype)}",
            limit="integer dtypes",
            actual=dtypes.name(x.dtype),
        )
    return elementwise.scalar_op("invert", x, 0.0, dtype=dtype, mask=mask)


@_public
def logical_not(x, *, dtype=None, mask=None, **kwargs):
    """Element-wise logical not."""
    out = dtypes.bool_ if dtype is None or dtype is bool else dtype
    return elementwise.scalar_op("logical_not", x, 0.0, dtype=out, mask=mask)


@_public
def reciprocal(x, *, dtype=None, mask=None, **kwargs):
    """Element-wise 1 / x."""
    return elementwise.reciprocal(x, dtype=dtype, mask=mask)


@_public
def copy(src, *, mask=None, dtype=None, **kwargs):
    """A new tile with the same values."""
    return elementwise.copy(src, mask=mask, dtype=dtype)


@_public
def where(condition, x, y, *, dtype=None, mask=None, **kwargs):
    """Choice by a condition tile."""
    return elementwise.where(condition, x, y, dtype=dtype, mask=mask)


@_public
def dropout(x, rate, *, dtype=None, mask=None, **kwargs):
    """Zeroes elements at random with the given rate."""
    from .isa_data import dropout as isa_dropout

    if isinstance(rate, Tensor) and rate.size == 1 and x.shape[0] != 1:
        rate = rate.reshape((1, 1)).broadcast_to((x.shape[0], 1))
    return isa_dropout(x, rate, dtype=dtype, mask=mask)


# ---- reductions --------------------------------------------------------------------------------------------


def _reduction(name: str, op: str):
    def call(x, axis, *, dtype=None, mask=None, keepdims=False, **kwargs):
        return reduction.reduce(op, x, axis, dtype=dtype, mask=mask, keepdims=keepdims, what=f"nl.{name}")

    return _named(call, name, f"{name} over free axes.")


for _name, _op in (("sum", "add"), ("max", "maximum"), ("min", "minimum"), ("prod", "multiply")):
    FUNCTIONS[_name] = _reduction(_name, _op)


@_public
def all_(x, axis, *, dtype=bool, mask=None, keepdims=False, **kwargs):
    """Logical and over free axes."""
    return reduction.all_of(x, axis, dtype=dtype, mask=mask, keepdims=keepdims)


@_public
def mean(x, axis, *, dtype=None, mask=None, keepdims=False, **kwargs):
    """Average over free axes."""
    return reduction.mean(x, axis, dtype=dtype, mask=mask, keepdims=keepdims)


@_public
def var(x, axis, *, dtype=None, mask=None, **kwargs):
    """Variance over free axes."""
    return reduction.var(x, axis, dtype=dtype, mask=mask, keepdims=kwargs.get("keepdims", False))


@_public
def softmax(x, axis, *, dtype=None, compute_dtype=None, mask=None, **kwargs):
    """Softmax over free axes."""
    return reduction.softmax(x, axis, dtype=dtype, compute_dtype=compute_dtype, mask=mask)


@_public
def rms_norm(x, w, axis, n, epsilon=1e-6, *, dtype=None, compute_dtype=None, mask=None, **kwargs):
    """x divided by its root mean square, times w."""
    return reduction.rms_norm(x, w, axis, n, epsilon, dtype=dtype, compute_dtype=compute_dtype, mask=mask)


@_public
def loop_reduce(x, op, loop_indices, *, dtype=None, mask=None, **kwargs):
    """Reduction over loop indices into the tensor it is assigned to."""
    return reduction.loop_reduce(x, op, loop_indices, dtype=dtype, mask=mask)


@_public
def all_reduce(
    x, op, program_axes, *, dtype=None, mask=None, parallel_reduce=True, asynchronous=False, **kwargs
):
    """Reduction across the programs of the launch grid; each gets the result."""
    from .all_reduce import all_reduce as reduce_programs

    return reduce_programs(x, op, program_axes, dtype, mask)


# ---- tensors and memory ------------------------------------------------------------------------------------


@_public
def ndarray(shape, dtype, *, buffer=None, name="", **kwargs):
    """A new uninitialised tensor."""
    return memory.ndarray(shape, dtype, buffer=buffer, name=name)


@_public
def zeros(shape, dtype, *, buffer=None, name="", **kwargs):
    """A new tensor of zeros."""
    return memory.full(shape, 0.0, dtype, buffer=buffer, name=name, what="nl.zeros")


@_public
def ones(shape, dtype, *, buffer=None, name="", **kwargs):
    """A new tensor of ones."""
    return memory.full(shape, 1.0, dtype, buffer=buffer, name=name, what="nl.ones")


@_public
def full(shape, fill_value, dtype, *, buffer=None, name="", **kwargs):
    """A new tensor of one value."""
    return memory.full(shape, fill_value, dtype, buffer=buffer, name=name)


def _tensor(a: object, what: str) -> Tensor:
    if not isinstance(a, Tensor):
        raise NkiError("err_operand_type", f"{what} takes a tensor, not {type(a).__name__}")
    return a


@_public
def empty_like(a, dtype=None, *, buffer=None, name="", **kwargs):
    """An uninitialised tensor shaped like another."""
    a = _tensor(a, "nl.empty_like")
    return memory.ndarray(a.shape, a.dtype if dtype is None else dtype, buffer=buffer, name=name)


@_public
def zeros_like(a, dtype=None, *, buffer=None, name="", **kwargs):
    """A tensor of zeros shaped like another."""
    a = _tensor(a, "nl.zeros_like")
    return memory.full(
        a.shape, 0.0, a.dtype if dtype is None else dtype, buffer=buffer, name=name, what="nl.zeros_like"
    )


@_public
def load(src, *, mask=None, dtype=None, **kwargs):
    """HBM to SBUF."""
    return memory.load(src, mask=mask, dtype=dtype)


@_public
def load_transpose2d(src, *, mask=None, dtype=None, **kwargs):
    """HBM to SBUF with rows and columns swapped."""
    return memory.load_transpose2d(src, mask=mask, dtype=dtype)


@_public
def store(dst, value, *, mask=None, **kwargs):
    """SBUF to HBM."""
    memory.store(dst, value, mask=mask)


@_public
def atomic_rmw(dst, value, op, *, mask=None, **kwargs):
    """Read-modify-write of HBM at run-time indices; np.add only."""
    from .alu import op_name

    if op_name(op, "nl.atomic_rmw") != "add":
        raise NkiError("err_unsupported_op", "nl.atomic_rmw", limit="np.add", actual=op)
    memory.atomic_rmw(dst, value, mask=mask)


@_public
def shared_constant(constant, dtype=None, **kwargs):
    """A tensor with compile-time data."""
    return memory.constant(constant, dtype)


@_public
def shared_identity_matrix(n, dtype=np.uint8, **kwargs):
    """An n x n identity."""
    from .matmul import shared_identity

    return shared_identity(int(n), dtype)


@_public
def matmul(x, y, *, transpose_x=False, mask=None, **kwargs):
    """x @ y."""
    from .matmul import matmul as product

    return product(x, y, transpose_x=transpose_x, mask=mask)


@_public
def transpose(x, *, dtype=None, mask=None, **kwargs):
    """Swaps the axes of a 2-D tile."""
    from .matmul import transpose as swap

    return swap(x, dtype=dtype, mask=mask)


@_public
def broadcast_to(src, *, shape, **kwargs):
    """A tile replicated to a larger shape."""
    return src.broadcast_to(shape)


@_public
def expand_dims(data, axis):
    """A view with axes of size 1."""
    return data.expand_dims(axis)


@_public
def static_cast(arr, dtype, **kwargs):
    """Cast of a tile or a number."""
    if isinstance(arr, (Tensor, np.ndarray)):
        return arr.astype(dtypes.normalize(dtype))
    return dtypes.normalize(dtype).type(arr)


@_public
def rand(shape, dtype=np.float32, **kwargs):
    """Uniform numbers in [0, 1)."""
    sizes = tuple(int(s) for s in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    sizes = sizes + (1,) * (2 - len(sizes))
    result = fresh(sizes, dtypes.normalize(dtype))
    return mark(result, current().emit("rng", [on_chip(result, "dst")], [], seed=next_seed()))


@_public
def random_seed(seed, *, mask=None, **kwargs):
    """Seeds the following random instructions; a seed held by a tensor is not known at compile time and
    counts as 0.
    """
    trace = current()
    number = dtypes.scalar(seed)
    trace.seed = int(number[0]) if number is not None else 0
    trace.random_calls = 0


@_public
def device_print(prefix, x, *, mask=None, **kwargs):
    """Prints in a simulator only: recorded as nothing."""
    current().warn("warn_device_print_ignored", "nl.device_print has no effect here")


# ---- indices and the launch grid ---------------------------------------------------------------------------


@_public
def ds(start, size):
    """A slice by start and size."""
    return DynSlice(start, size)


@_public
def program_ndim():
    """Rank of the launch grid."""
    return len(current().program_ids)


@_public
def program_id(axis):
    """Index of this program along an axis of the launch grid."""
    ids = current().program_ids
    axis = int(axis)
    if not -len(ids) <= axis < len(ids):
        raise NkiError(
            "err_program_id_axis",
            f"nl.program_id({axis}) in a launch grid of {len(ids)} dimensions",
            limit=f"{len(ids)} dimensions",
            actual=axis,
            hint="launch the kernel with a grid: kernel[n](...)",
        )
    return ids[axis]


@_public
def num_programs(axes=None):
    """Number of programs along axes of the launch grid, or of all."""
    grid = current().options.grid
    if axes is None:
        axes = range(len(grid))
    total = 1
    for axis in axes if isinstance(axes, (tuple, list, range)) else (axes,):
        if not -len(grid) <= int(axis) < len(grid):
            raise NkiError(
                "err_program_id_axis",
                f"nl.num_programs({axis}) in a launch grid of {len(grid)} dimensions",
                limit=f"{len(grid)} dimensions",
                actual=axis,
            )
        total *= grid[int(axis)]
    return total


def _grid_pair(partitions: int, free: int):
    from .index_ranges import mgrid

    return mgrid[0:partitions, 0:free]


@_public
def gemm_grid():
    """Index grid of a matmul result."""
    return _grid_pair(128, 512)


@_public
def gemm_stationary_grid():
    """Index grid of a stationary operand."""
    return _grid_pair(128, 128)


@_public
def finfo(dtype):
    """Limits of a floating type."""
    kind = dtypes.normalize(dtype)
    return np.finfo(np.float32) if kind == dtypes.tfloat32 else ml_dtypes.finfo(kind)


for _name, _function in FUNCTIONS.items():
    FUNCTIONS[_name] = checked(_function)


class NeuronCores(int):
    """nl.nc(n): a launch-grid dimension over n physical cores."""


class SpmdDim(int):
    """nl.spmd_dim(a, b, ...): a launch-grid dimension made of nested ones."""

    def __new__(cls, *dims):
        return super().__new__(cls, functools.reduce(lambda a, b: a * int(b), dims, 1))


class TileSize:
    """nl.tile_size: architecture limits. The two alignments are not documented; one element is assumed."""

    pmax = 128
    psum_fmax = 512
    gemm_stationary_fmax = 128
    gemm_moving_fmax = 512
    bn_stats_fmax = 512
    psum_min_align = 4
    sbuf_min_align = 1
    total_available_sbuf_size = 176 * 1024


class Fp32:
    """nl.fp32: limits of float32."""

    min = float(np.finfo(np.float32).min)
    max = float(np.finfo(np.float32).max)

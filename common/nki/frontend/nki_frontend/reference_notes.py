"""What signatures and tables don't say about the names that kernels use most: limits, errors that are
met most often, an example.

An example is a piece of a kernel in which `a` and `b` are float32 HBM tensors [128, 512], `out` is an
output of that shape, and `x` and `y` are `a` and `b` in SBUF. A test compiles each of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """Sentences and a piece of code."""

    example: str
    limits: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


_PARTITIONS = "at most 128 partitions (first axis of the tile)"
_FREE_AXES = (
    "free axes only (1 and up); the partition axis needs nc_matmul with ones or tensor_partition_reduce"
)
_UNARY = Note("z = nl.exp(x)", limits=("a tile in SBUF or PSUM, not an HBM tensor: load it first",))
_BINARY_LIMITS = (
    "equal partition counts; free axes broadcast, and a Python number may stand for either operand",
    "not both operands in PSUM",
)
_BINARY_ERRORS = ("err_num_partition_mismatch: widen a [1, F] tile with broadcast_to((128, F))",)

NOTES: dict[str, Note] = {
    "nl.load": Note(
        "i_p = nl.arange(128)[:, None]\n"
        "i_f = nl.arange(512)[None, :]\n"
        "for i in nl.affine_range(1):\n"
        "    row = i * 128 + i_p\n"
        "    tile = nl.load(a[row, i_f], mask=(row < 128))",
        limits=(_PARTITIONS, "the source is in HBM; elements beyond an axis need a mask"),
        errors=(
            "err_num_partition_exceed_arch_limit: tile the first axis by 128",
            "err_tensor_access_out_of_bound: add mask=(index < extent)",
            "err_unsupported_mixing_basic_advanced_tensor_indexing: slices or arange, not both",
        ),
    ),
    "nl.store": Note(
        "nl.store(out[0:128, 0:512], value=nl.multiply(x, 2.0))",
        limits=("the destination is in HBM; value and destination have the same shape",),
        errors=(
            "err_cannot_update_immutable_parameter: arguments are read-only, store to a shared_hbm tensor",
            "err_unexpected_output_dependencies: two iterations of affine_range must not write one place",
        ),
    ),
    "nl.ndarray": Note(
        "buf = nl.ndarray((nl.par_dim(128), 512), dtype=nl.float32, buffer=nl.sbuf)\n"
        "buf[0:128, 0:512] = nl.exp(x)",
        limits=(_PARTITIONS, "SBUF and PSUM tensors have at least two axes"),
        errors=("err_shared_hbm_must_in_kernel_level: create outputs at the top level of the kernel",),
    ),
    "nl.zeros": Note(
        "acc = nl.zeros((128, 1), dtype=nl.float32, buffer=nl.sbuf)\n"
        "acc[...] = nl.add(acc, nl.sum(x, axis=[1], keepdims=True))",
        errors=("err_hbm_tensor_with_init_value_not_supported: use ndarray for HBM and store every element",),
    ),
    "nl.affine_range": Note(
        "for j in nl.affine_range(4):\n"
        "    nl.store(out[:, j * 128:(j + 1) * 128], nl.exp(x[:, j * 128:(j + 1) * 128]))",
        limits=("iterations are independent: each writes its own part, or accumulates a matmul in PSUM",),
        errors=(
            "err_unexpected_output_dependencies: use sequential_range when an iteration needs an earlier one",
        ),
    ),
    "nl.sequential_range": Note(
        "top = nl.full((128, 1), -3.0e38, dtype=nl.float32, buffer=nl.sbuf)\n"
        "for j in nl.sequential_range(4):\n"
        "    part = nl.max(x[:, j * 128:(j + 1) * 128], axis=[1], keepdims=True)\n"
        "    top[...] = nl.maximum(top, part)",
        errors=(
            "err_local_variable_used_out_of_scope: create the tile before the loop, assign with tile[...] =",
        ),
    ),
    "nl.arange": Note(
        "i_p = nl.arange(128)[:, None]\ni_f = nl.arange(512)[None, :]\ntile = nl.load(a[i_p, i_f])",
        errors=("err_1d_arange_not_supported: give every index as many axes as the tile has",),
    ),
    "nl.matmul": Note(
        "w = nl.load(b[0:128, 0:128])\nz = nl.matmul(w, x, transpose_x=True)",
        limits=("x [K, M] (transpose_x) or [M, K], y [K, N], K <= 128, M <= 128, N <= 512; result in PSUM",),
    ),
    "nisa.nc_matmul": Note(
        "acc = nl.zeros((128, 512), nl.float32, buffer=nl.psum)\n"
        "for k in nl.affine_range(1):\n"
        "    acc += nisa.nc_matmul(x[:, 0:128], y)\n"
        "z = nl.copy(acc, dtype=nl.float32)",
        limits=(
            "stationary [K <= 128, M <= 128], moving [K <= 128, N <= 512], both in SBUF; result in PSUM",
        ),
    ),
    "nisa.nc_transpose": Note("z = nl.copy(nisa.nc_transpose(x[:, 0:128]))"),
    "nl.transpose": Note("z = nl.transpose(x[:, 0:128])", limits=("two axes, at most 128 x 128",)),
    "nisa.activation": Note(
        "biased = nisa.activation(nl.exp, x, bias=nl.zeros((128, 1), nl.float32, buffer=nl.sbuf), scale=0.5)"
    ),
    "nisa.activation_reduce": Note(
        "total = nl.ndarray((nl.par_dim(128), 1), dtype=nl.float32, buffer=nl.sbuf)\n"
        "z = nisa.activation_reduce(nl.exp, x, reduce_op=np.add, reduce_res=total)"
    ),
    "nisa.tensor_reduce": Note("top = nisa.tensor_reduce(np.max, x, axis=[1])"),
    "nisa.tensor_tensor": Note("z = nisa.tensor_tensor(x, y, op=np.multiply)"),
    "nisa.tensor_scalar": Note("z = nisa.tensor_scalar(x, np.multiply, 2.0, op1=np.add, operand1=1.0)"),
    "nisa.scalar_tensor_tensor": Note(
        "z = nisa.scalar_tensor_tensor(data=x, op0=np.multiply, operand0=2.0, op1=np.add, operand1=y)"
    ),
    "nisa.tensor_tensor_scan": Note(
        "ones = nl.ones((128, 512), nl.float32, buffer=nl.sbuf)\n"
        "prefix = nisa.tensor_tensor_scan(ones, x, initial=0, op0=np.multiply, op1=np.add)"
    ),
    "nisa.tensor_copy": Note("z = nisa.tensor_copy(x, dtype=nl.bfloat16)"),
    "nisa.reciprocal": Note("z = nisa.reciprocal(x)"),
    "nisa.iota": Note("ids = nisa.iota(nl.arange(512)[None, :], dtype=nl.int32)"),
    "nisa.memset": Note("z = nisa.memset((128, 512), value=0, dtype=nl.float32)"),
    "nisa.affine_select": Note(
        "i_p = nl.arange(128)[:, None]\n"
        "i_f = nl.arange(512)[None, :]\n"
        "causal = nisa.affine_select(pred=(i_p >= i_f), on_true_tile=x, on_false_value=-9984.0)"
    ),
    "nisa.bn_stats": Note("stats = nisa.bn_stats(x)\nmean_var = nisa.bn_aggr(stats)"),
    "nisa.bn_aggr": Note("mean_var = nisa.bn_aggr(nisa.bn_stats(x))\nmean = nl.copy(mean_var[:, 0:1])"),
    "nisa.max8": Note("top8 = nisa.max8(src=x)"),
    "nl.sum": Note("total = nl.sum(x, axis=[1], keepdims=True)", limits=(_FREE_AXES,)),
    "nl.max": Note("top = nl.max(x, axis=[1], keepdims=True)", limits=(_FREE_AXES,)),
    "nl.min": Note("low = nl.min(x, axis=[1], keepdims=True)", limits=(_FREE_AXES,)),
    "nl.mean": Note("mean = nl.mean(x, axis=[1], keepdims=True)", limits=(_FREE_AXES,)),
    "nl.var": Note("variance = nl.var(x, axis=[1])", limits=(_FREE_AXES,)),
    "nl.softmax": Note("z = nl.softmax(x, axis=1)", limits=(_FREE_AXES,)),
    "nl.where": Note("z = nl.where(nl.greater(x, 0.0), x, nl.multiply(x, 0.1))"),
    "nl.broadcast_to": Note("row = nl.load(b[0:1, 0:512])\nz = nl.add(x, row.broadcast_to((128, 512)))"),
    "nl.copy": Note("z = nl.copy(x, dtype=nl.bfloat16)"),
    "nl.exp": _UNARY,
    "nl.add": Note("z = nl.add(x, y)", limits=_BINARY_LIMITS, errors=_BINARY_ERRORS),
    "nl.subtract": Note("z = nl.subtract(x, y)", limits=_BINARY_LIMITS, errors=_BINARY_ERRORS),
    "nl.multiply": Note("z = nl.multiply(x, 0.5)", limits=_BINARY_LIMITS, errors=_BINARY_ERRORS),
    "nl.divide": Note("z = nl.divide(x, y)", limits=_BINARY_LIMITS, errors=_BINARY_ERRORS),
    "nl.maximum": Note("z = nl.maximum(x, 0.0)", limits=_BINARY_LIMITS, errors=_BINARY_ERRORS),
    "nl.par_dim": Note("buf = nl.ndarray((nl.par_dim(128), 64), dtype=nl.float32, buffer=nl.sbuf)"),
    "nl.ds": Note("tile = nl.load(a[nl.ds(0, 128), nl.ds(256, 256)])"),
    "nl.program_id": Note("me = nl.program_id(0)", limits=("only with a launch grid: nki_kernel[n](...)",)),
    "nl.rsqrt": Note("z = nl.rsqrt(nl.add(nl.multiply(x, x), 1e-6))"),
    "nl.load_transpose2d": Note("z = nl.load_transpose2d(a[0:128, 0:128])"),
    "tensor.broadcast_to": Note("row = nl.load(b[0:1, 0:512])\nwide = row.broadcast_to((128, 512))"),
    "tensor.reshape": Note("grid = x.reshape((128, 16, 32))\ntotal = nl.sum(grid, axis=[2])"),
}

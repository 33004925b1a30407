"""SDK 2.32 calls every instruction with an explicit destination. That is this tracer's `dst[...] = call(...)`: the
same functions serve, and the destination costs no instruction (README, "The next dialect").
"""

import _nki
import numpy as np
from harness import HEAD, run, trace

# What a module of names for the newer dialect would hold for each such call.
ADAPTER = """
def explicit(call):
    def with_dst(dst, *args, **kwargs):
        dst[...] = call(*args, **kwargs)

    return with_dst


activation, tensor_tensor, nc_matmul, tensor_copy, tensor_reduce = (
    explicit(f) for f in (nisa.activation, nisa.tensor_tensor, nisa.nc_matmul, nisa.tensor_copy, nisa.tensor_reduce)
)
"""
KERNEL = """
@nki.jit
def nki_kernel(a, b):
    out = nl.ndarray((64, 128), dtype=nl.float32, buffer=nl.shared_hbm)
    x = nl.ndarray((128, 64), dtype=a.dtype, buffer=nl.sbuf)
    y = nl.ndarray((128, 128), dtype=b.dtype, buffer=nl.sbuf)
    nisa.dma_copy(dst=x, src=a)
    nisa.dma_copy(dst=y, src=b)
    product = nl.ndarray((64, 128), dtype=nl.float32, buffer=nl.psum)
    nc_matmul(product, stationary=x, moving=y)
    total = nl.ndarray((64, 1), dtype=nl.float32, buffer=nl.sbuf)
    tensor_reduce(total, np.add, product, axis=1)
    result = nl.ndarray((64, 128), dtype=nl.float32, buffer=nl.sbuf)
    activation(result, op=nl.tanh, data=product, scale=0.5)
    tensor_tensor(result, result, total.broadcast_to((64, 128)), op=np.add)
    nisa.dma_copy(dst=out, src=result)
    return out
"""


def test_explicit_destinations_are_the_same_instructions():
    rng = np.random.default_rng(0)
    a, b = (
        rng.standard_normal((128, 64)).astype(np.float32),
        rng.standard_normal((128, 128)).astype(np.float32),
    )
    source = HEAD + ADAPTER + KERNEL
    product = a.T @ b
    expected = np.tanh(product / 2) + product.sum(1, keepdims=True)
    np.testing.assert_allclose(run(source, [a, b])[0], expected, rtol=1e-3, atol=1e-3)
    program = _nki.to_string(trace(source, [a, b]).program)
    assert program.count("# line") == 7
    assert "tensor_copy" not in program

"""Run by `./dev wheel` in an environment where the wheel is installed: a kernel from an outside script, with NumPy
only, and every module from the wheel and nowhere else.
"""

import sys

import _nki
import _nki_exec
import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl
import nki_frontend


@nki.benchmark
def matmul_of_softmax(x, w):
    out = nl.ndarray((x.shape[0], w.shape[1]), dtype=x.dtype, buffer=nl.shared_hbm)
    weights = nl.softmax(nl.load(x), axis=1)
    product = nisa.nc_matmul(nisa.nc_transpose(weights), nl.load(w))
    nl.store(out, nl.copy(product))
    return out


def main() -> None:
    """Fails with an exception."""
    for module in (nki, nki_frontend, _nki, _nki_exec):
        assert module.__file__.startswith(sys.prefix), module.__file__
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((64, 128), np.float32), rng.standard_normal((128, 256), np.float32)
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(matmul_of_softmax(x, w), e / e.sum(1, keepdims=True) @ w, atol=1e-4)
    try:
        nki.jit(lambda a: nl.exp(a))(x)
    except Exception as error:  # noqa: BLE001
        assert "err_unsupported_memory" in str(error)
    else:
        raise AssertionError("a kernel that breaks a rule was accepted")
    print(f"wheel: a kernel ran from {sys.prefix}, {matmul_of_softmax.benchmark_result.nc_latency}")


if __name__ == "__main__":
    main()

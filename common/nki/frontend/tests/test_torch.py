"""torch tensors as arguments and results of kernels."""

import subprocess
import sys

import numpy as np
import pytest

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl

torch = pytest.importorskip("torch")


@nki.jit
def twice(x):
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    nl.store(out, nl.load(x) * 2)
    return out


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.uint8, torch.float8_e5m2]
)
def test_tensors_in_tensors_out(dtype):
    x = torch.arange(64 * 8).remainder(7).reshape(64, 8).to(dtype)
    got = twice(x)
    assert got.dtype == dtype and torch.equal(got.float(), x.float() * 2)


def test_strides_and_gradients_are_no_obstacle():
    x = torch.randn(8, 64, requires_grad=True).T
    torch.testing.assert_close(twice(x), (x * 2).detach())
    torch.testing.assert_close(twice(torch.randn(64, 8).expand(64, 8)[:, ::2].T).shape, torch.Size([4, 64]))


def test_a_kernel_writes_into_the_tensor_itself():
    @nki.trace
    def fill(x, out):
        nl.store(out, nl.load(x) + 1.0)

    x, out = torch.randn(64, 8), torch.zeros(8, 64).T
    assert fill(x, out) is None
    torch.testing.assert_close(out, x + 1)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.empty(4, 4, device="meta"), "on the CPU"),
        (torch.eye(4).to_sparse(), "dense"),
        (torch.zeros(4, 4).to(torch.float8_e4m3fn), "float8_e5m2 is"),
    ],
)
def test_other_tensors_are_refused_by_name(tensor, said):
    with pytest.raises(TypeError, match=f"argument 'x'.*{said}"):
        twice(tensor)


def test_torch_is_not_imported_for_numpy_kernels():
    code = (
        "import sys, numpy as np, neuronxcc.nki as nki, neuronxcc.nki.language as nl\n"
        "def f(x):\n"
        "    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)\n"
        "    nl.store(out, nl.load(x))\n"
        "    return out\n"
        "assert type(nki.simulate_kernel(f, np.ones((4, 4), np.float32))) is np.ndarray\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)}, timeout=60
    )


def test_mixed_arguments_give_tensors():
    @nki.jit
    def add(x, y):
        out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        nl.store(out, nl.load(x) + nl.load(y))
        return out

    x = np.ones((4, 4), np.float32)
    assert torch.equal(add(x, torch.ones(4, 4)), torch.full((4, 4), 2.0))

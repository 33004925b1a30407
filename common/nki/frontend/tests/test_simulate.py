"""Kernels in the caller's own process: nki.jit, nki.simulate_kernel and relatives, with NumPy arrays."""

import inspect
import json

import ml_dtypes
import numpy as np
import pytest
from harness import body, rules, trace

import neuronxcc.nki as nki
import neuronxcc.nki.compiler as ncc
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl
import neuronxcc.nki.typing as nt
from nki_frontend.errors import NkiError
from nki_frontend.simulate import KernelError


def _scale(x, factor=2.0, *, offset=None):
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    tile = nl.load(x) * factor
    if offset is not None:
        tile = tile + nl.load(offset)
    nl.store(out, tile)
    return out


scale = nki.jit(_scale)
X = np.random.default_rng(0).standard_normal((64, 32), dtype=np.float32)


def test_a_call_gives_an_array_back():
    np.testing.assert_allclose(scale(X, 3.0), X * 3)


def test_arrays_by_keyword_are_tensors_and_other_values_constants():
    np.testing.assert_allclose(scale(x=X, offset=X), X * 3, rtol=1e-6)


MODES = ["auto", "trace", "torchxla", "jax", "baremetal", "benchmark", "simulation", "profile"]


@pytest.mark.parametrize(
    "options", [{}, {"debug_kernel": True, "show_compiler_tb": True, "experimental_flags": "x"}]
)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_jit_runs_here(mode, options):
    np.testing.assert_allclose(nki.jit(_scale, mode=mode, **options)(X), X * 2)
    np.testing.assert_allclose(nki.jit(mode=mode, **options)(_scale)(X, factor=3.0), X * 3)
    np.testing.assert_allclose(nki.simulate_kernel(nki.jit(_scale, mode=mode), X), X * 2)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode 'gpu' is not one of auto, trace"):
        nki.jit(_scale, mode="gpu")


@pytest.mark.parametrize(
    "decorate", [nki.baremetal, nki.baremetal(), nki.trace, nki.baremetal(additional_compile_opt="-O1")]
)
def test_every_decorator_runs_here(decorate):
    np.testing.assert_allclose(decorate(_scale)(X), X * 2)
    np.testing.assert_allclose(nki.simulate_kernel(decorate(_scale), X), X * 2)


@pytest.mark.parametrize("options", [{}, {"warmup": 5, "iters": 10, "save_neff_name": "file.neff"}])
def test_a_benchmark_runs_and_says_that_its_latency_is_estimated(options, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kernel = nki.benchmark(**options)(_scale)
    with pytest.raises(AttributeError, match="before it is called"):
        kernel.benchmark_result  # noqa: B018
    np.testing.assert_allclose(kernel[1](X), X * 2)
    assert "estimated by the timing model" in capfd.readouterr().err
    latency = kernel.benchmark_result.nc_latency
    assert 0 < latency.get_latency_percentile(50) == latency.get_latency_percentile(99)
    with pytest.raises(ValueError, match="percentile 51"):
        latency.get_latency_percentile(51)
    assert not list(tmp_path.iterdir())


def test_shape_and_dtype_are_enough_to_measure(capfd):
    kernel = nki.benchmark(warmup=5, iters=10)(_scale)
    assert kernel(nt.tensor[[64, 32], nl.bfloat16]) is None
    assert kernel.benchmark_result.nc_latency.get_latency_percentile(99) > 0
    nki.profile(working_directory="nowhere", save_neff_name="a.neff")(_scale)(nt.tensor[[64, 32], nl.float32])
    assert "nowhere" not in capfd.readouterr().out
    np.testing.assert_array_equal(nki.jit(_scale)(nt.tensor[[64, 32], nl.float32]), np.zeros((64, 32)))


def test_a_benchmark_of_more_work_takes_longer():
    kernel = nki.jit(_scale, mode="benchmark")
    kernel(X)
    small = kernel.benchmark_result.nc_latency.get_latency_percentile(50)
    kernel(np.ones((128, 8192), np.float32))
    assert kernel.benchmark_result.nc_latency.get_latency_percentile(50) > 2 * small


def test_a_profile_writes_the_estimated_timeline_where_it_is_asked_to(capfd, tmp_path):
    kernel = nki.profile(working_directory=str(tmp_path), save_trace_name="profile.ntff")(_scale)
    kernel(np.ones((128, 64), np.float32))
    trace = json.loads((tmp_path / "profile.ntff.json").read_text())
    assert {e["name"] for e in trace["traceEvents"]} >= {"dma_copy", "thread_name"}
    assert "profile.ntff.json" in capfd.readouterr().err
    (tmp_path / "profile.ntff.json").write_text("kept")
    kernel(np.ones((128, 64), np.float32))
    assert (tmp_path / "profile.ntff.json").read_text() == "kept"


def test_a_profile_runs_the_kernel_and_says_that_nothing_is_written(capfd, tmp_path):
    kernel = nki.profile(working_directory=str(tmp_path), save_neff_name="file.neff")(_scale)
    np.testing.assert_allclose(kernel(X), X * 2)
    assert "needs an attached Neuron device" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_grid_and_bfloat16():
    @nki.jit
    def twice(x):
        out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        rows = nl.ds(nl.program_id(0) * 16, 16)
        nl.store(out[rows, :], nl.load(x[rows, :]) * 2)
        return out

    x = X.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(twice[nl.spmd_dim(2, nl.nc(2))](x), x * 2)


def test_several_results_and_a_closure():
    step = 5

    @nki.jit
    def both(x):
        a, b = (nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm) for _ in range(2))
        tile = nl.load(x)
        nl.store(a, tile + step)
        nl.store(b, tile - step)
        return a, b

    a, b = both(X)
    np.testing.assert_allclose(a - b, np.full_like(X, 10), rtol=1e-5)


def test_an_argument_in_place():
    @nki.jit
    def clear(x: nt.mutable_tensor):
        nl.store(x[0:8, :], 0.0)
        return x

    x = X.copy()
    got = clear(x)
    np.testing.assert_array_equal(got, np.vstack([np.zeros((8, 32)), X[8:]]))
    assert got is x


def _double_into(x, out):
    nl.store(out, nl.load(x) * 2)


@pytest.mark.parametrize("kernel", [nki.trace(_double_into), _double_into])
def test_a_kernel_without_results_writes_into_its_arguments(kernel):
    x, out = X.copy(), np.zeros_like(X).T  # not contiguous
    assert nki.simulate_kernel(kernel, x, out.T) is None
    np.testing.assert_allclose(out.T, X * 2)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("decorate", [nki.jit, nki.jit(mode="simulation"), nki.baremetal])
def test_arguments_of_a_jit_kernel_stay_immutable(decorate):
    with pytest.raises(KernelError, match="err_cannot_update_immutable_parameter"):
        nki.simulate_kernel(decorate(_double_into), X, np.zeros_like(X))


@pytest.mark.parametrize("decorator", ["@nki.trace", "@nki.jit(mode='simulation')"])
def test_the_services_trace_every_mode_as_the_compiler_does(decorator):
    writes = "nl.store(y, nl.load(x))\n"
    source = body(writes, "x, y").replace("@nki.jit", decorator)
    assert rules(trace(source, [X, X])) == ["err_cannot_update_immutable_parameter"]
    source = body("nl.store(out, nl.load(x))").replace("@nki.jit", decorator).replace("shared_hbm", "hbm")
    assert rules(trace(source, [X])) == ["err_unsupported_memory"]


def _copy_by_way_of(memory):
    def kernel(x):
        if memory is nl.sbuf:
            return nl.load(x) * 1.0
        out = nl.ndarray(x.shape, dtype=x.dtype, buffer=memory)
        nl.store(out, nl.load(x))
        return out

    return kernel


@pytest.mark.parametrize("memory", [nl.hbm, nl.private_hbm, nl.sbuf])
def test_the_simulator_returns_any_memory_and_the_compiler_only_shared_hbm(memory):
    with pytest.warns(UserWarning, match="the compiler refuses it"):
        np.testing.assert_array_equal(nki.jit(_copy_by_way_of(memory), mode="simulation")(X), X)
    with pytest.raises(KernelError, match="err_unsupported_memory"):
        nki.jit(_copy_by_way_of(memory))(X)


def test_a_kernel_is_no_function_for_those_who_look_for_functions():
    assert not inspect.isfunction(inspect.unwrap(scale))
    assert list(inspect.signature(scale).parameters) == ["x", "factor", "offset"]


def test_a_broken_kernel_tells_its_diagnostics():
    @nki.jit
    def broken(x):
        return nl.exp(x)

    with pytest.raises(KernelError, match="err_unsupported_memory") as caught:
        broken(X)
    assert caught.value.diagnostics[0].line == _line_of("return nl.exp(x)")


def test_rules_of_whole_programs_are_judged():
    @nki.jit
    def outside(x):
        out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        nl.store(out, nl.load(x[nl.ds(8, 64), :]))
        return out

    with pytest.raises(KernelError, match="err_tensor_access_out_of_bound"):
        outside(X)


def _double_row(a, b):
    out = nl.ndarray((a.shape[2], b.shape[2]), dtype=nl.float32, buffer=nl.shared_hbm)
    assert nisa.get_nc_version() == nisa.nc_version.gen3
    product = nisa.nc_matmul(nl.load(a), nl.load(b), perf_mode="double_row_gen3")
    nl.store(out, product + 0.0)
    return out


def test_a_platform_target_brings_what_its_results_are_known_of():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 4, (64, 2, n)).astype(ml_dtypes.float8_e5m2) for n in (32, 100))
    expected = np.einsum("kli,klj->ij", a.astype(np.float32), b.astype(np.float32))
    np.testing.assert_array_equal(nki.jit(platform_target="trn2")(_double_row)(a, b), expected)
    with pytest.raises(KernelError, match="err_double_row_operand"):
        nki.jit(platform_target="trn2")(_double_row)(a.astype(np.float32), b)
    with pytest.raises(KernelError, match="err_kernel_assertion"):
        nki.jit(platform_target="trn1")(_double_row)(a, b)


def test_a_platform_that_is_not_modelled_is_refused():
    with pytest.raises(
        ValueError, match="platform_target 'trn3' of kernel _scale is not one of trn1, inf2, trn2"
    ):
        nki.jit(platform_target="trn3")(_scale)


def _same_rows_from_every_program(x):
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    nl.program_id(0)
    nl.store(out, nl.load(x) + 1)
    return out


def test_programs_that_write_the_same_place_run_in_the_simulator_with_a_warning():
    kernel = nki.jit(_same_rows_from_every_program)
    with pytest.raises(KernelError, match="err_unexpected_output_dependencies"):
        kernel[3](X)
    with pytest.warns(UserWarning, match="unexpected output dependencies"):
        np.testing.assert_array_equal(nki.simulate_kernel(kernel[3], X), X + 1)


class _Allocator:
    def __init__(self):
        self.offset = 0
        self.log = []

    def __call__(self, nbytes):
        self.offset += nbytes
        self.log.append(nbytes)
        return ncc.sbuf.mod_alloc(base_addr=self.offset - nbytes)


_allocator = _Allocator()
_calls = 0


@pytest.mark.parametrize("grid", [(), (2,)])
def test_state_of_the_module_is_found_as_it_was_when_a_trace_starts_again(grid):
    local = []

    @nki.jit
    def kernel(x):
        global _calls
        _calls += 1
        local.append(1)
        out = nl.ndarray((2, *x.shape), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = nl.ndarray((64, 32), dtype=nl.float32, buffer=_allocator(90_000))
        for i in nl.sequential_range(4):
            tile[...] = nl.load(x)
            if i == 1:
                tile[...] = nl.load(x)
            if grid and nl.program_id(0) == 1 and i % 2 == 0:
                tile[...] = nl.load(x)
            for _ in range(i):
                tile[...] = nisa.tensor_copy(tile)
        nl.store(out[nl.program_id(0) if grid else 0], tile)
        if not grid:
            nl.store(out[1], tile)
        return out

    global _calls
    _calls, _allocator.offset = 0, 0
    _allocator.log.clear()
    (kernel[grid] if grid else kernel)(X)
    # Two of 90,000 bytes would not fit.
    assert (_calls, _allocator.offset, _allocator.log, local) == (1, 90_000, [90_000], [1])


def test_a_run_time_index_out_of_bounds_is_an_index_error():
    @nki.jit
    def rows(x, y):
        out = nl.ndarray((4, 32), dtype=x.dtype, buffer=nl.shared_hbm)
        nl.store(out, nl.load(x[nl.load(y), nl.arange(32)[None, :]]))
        return out

    index = np.array([[3], [63], [0], [7]], np.int32)
    np.testing.assert_array_equal(rows(X, index), X[index[:, 0]])
    index[1] = 64
    with pytest.raises(IndexError, match="^index 2048 is out of bounds for axis 0 with size 2048$") as caught:
        rows(X, index)
    assert "run-time index 64" in str(caught.value.__cause__)


def test_calls_outside_of_a_kernel_are_refused():
    with pytest.raises(NkiError, match="err_nki_api_outside_of_nki_kernel"):
        nl.zeros((128, 1), nl.float32)


def _line_of(text: str) -> int:
    with open(__file__) as file:
        return next(n for n, line in enumerate(file, 1) if text in line)

"""Every instruction of the table, executed, against its meaning in NumPy; every element type against NumPy
and torch.
"""

from __future__ import annotations

import _nki
import _nki_exec
import numpy as np
import pytest
import torch

from common.nki.exec.tests.programs import DTYPE_NUMBER, F32, GENERATORS, Maker, Program, random_program
from tests.support.numpy_arithmetic import DTYPE, IS_INTEGER, round_to
from tests.support.numpy_interpreter import Interpreter

PROGRAMS = 40
# Distance that a last bit's difference before rounding may make, relative to the value: one unit of the type.
UNIT = {
    "float32": 3e-6,
    "tfloat32": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float16": 2.0**-10,
    "float8_e4m3": 2.0**-3,
    "float8_e5m2": 2.0**-2,
}
UNIT_OF = {DTYPE_NUMBER[name]: unit for name, unit in UNIT.items()}


def execute(program: Program, threads: int) -> list[np.ndarray]:
    """The outputs as our executor computes them."""
    _, built = _nki.build(program.spec, judge=False)
    tensors = [program.spec["tensors"][n] for n in program.spec["outputs"]]
    outputs = [np.zeros(t[4], DTYPE[t[2]]) for t in tensors]
    report = _nki_exec.execute(
        built, *([a.reshape(-1).view(np.uint8) for a in side] for side in (program.inputs, outputs)), threads
    )
    assert report["completed"], report["diagnostics"]
    return outputs


def far(got: np.ndarray, want: np.ndarray, dtype: int) -> np.ndarray:
    """Where two results differ by more than the order of sums and the last bit of a function explain."""
    a, b = got.astype(np.float64), want.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        slack = 1 + 1e-6 * np.abs(b) if dtype not in UNIT_OF else UNIT_OF[dtype] * (np.abs(b) + 1)
        return ~same & ~(np.abs(a - b) <= slack)


def test_every_instruction_has_a_property() -> None:
    assert set(GENERATORS) == set(_nki.OPCODES)


@pytest.mark.parametrize("op", sorted(_nki.OPCODES))
def test_execution_is_what_numpy_computes(op: str) -> None:
    changed = 0
    for seed in range(PROGRAMS):
        program = random_program(op, seed)
        got = execute(program, threads=1 + seed % 2)
        want = Interpreter(program.spec, program.inputs).run()
        start = {n: a for n, a in zip(program.spec["outputs"], program.inputs, strict=True)}
        for number, ours, theirs in zip(program.spec["outputs"], got, want, strict=True):
            dtype = program.spec["tensors"][number][2]
            wrong = np.argwhere(far(ours, theirs, dtype))
            at = tuple(wrong[0]) if len(wrong) else ()
            assert not len(wrong), (
                f"{op} seed {seed} {at}: {ours[at]}, not {theirs[at]}\n{program.spec['body']}"
            )
            changed += not np.array_equal(ours.view(np.uint8), start[number].view(np.uint8))
    assert changed >= PROGRAMS // 2  # the programs do something


# ---- Element types

SPECIAL = np.array(
    [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 1e-45, -1e-39, 3e38, -3e38, np.inf, -np.inf, np.nan, 65504, 65519]
    + [65520, 240, 247.9, 248, 57344, 61439, 61440, 127.5, 128.5, -128.5, -129, 255.5, 256, 32767.5, 32768]
    + [-32769, 65535.5, 65536, 2147483520, 2147483648, -2147483648, 4294967040, 4294967296, 8388607.5]
    + [2.0**-24, 2.0**-25, 1.5 * 2.0**-24, 2.0**-10, 2.0**-17, 1.5 * 2.0**-10, 2.0**-14, 2.0**-16],
    np.float32,
)


def converted(values: np.ndarray, source: int, target: int) -> np.ndarray:
    """The values as tensor_copy turns them from one element type into another."""
    maker = Maker("tensor_copy", 0)
    maker.loop = False
    shape = (128, (values.size + 127) // 128)
    padded = np.zeros(shape, DTYPE[source])
    padded.reshape(-1)[: values.size] = values.reshape(-1)
    numbers = [maker._declare(n, b, d, r, shape) for n, b, d, r in (("t", 3, source, 0), ("u", 3, target, 0))]
    argument = maker._declare("x", 0, source, 1, shape)
    maker.inputs.append(padded)
    maker.before = [maker._whole_copy(numbers[0], argument, shape)]
    dst, src = (maker._whole(n, shape) for n in reversed(numbers))
    return execute(maker.program([dst], [src], {}), 1)[1].reshape(-1)[: values.size]


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        a, b = a.astype(np.float64), b.astype(np.float64)
    return bool(np.all((a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))))


@pytest.mark.parametrize("name", sorted(_nki.DTYPES))
def test_fp32_is_rounded_and_saturated_as_the_engines_do(name: str) -> None:
    bits = np.random.default_rng(1).integers(0, 2**32, 60_000, dtype=np.uint64).astype(np.uint32)
    near = np.random.default_rng(2).uniform(-300, 300, 60_000).astype(np.float32)
    values = np.concatenate([SPECIAL, -SPECIAL, bits.view(np.float32), near])
    got = converted(values, F32, DTYPE_NUMBER[name])
    with np.errstate(all="ignore"):
        assert equal(got, round_to(values, DTYPE_NUMBER[name]))
    peer = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float8_e5m2": torch.float8_e5m2}.get(name)
    if peer is not None:
        assert equal(got.astype(np.float32), torch.from_numpy(values).to(peer).float().numpy())


@pytest.mark.parametrize("name", sorted(_nki.DTYPES))
def test_elements_read_as_fp32_exactly(name: str) -> None:
    dtype = DTYPE[DTYPE_NUMBER[name]]
    if dtype.itemsize == 4:
        patterns = np.random.default_rng(3).integers(0, 2**32, 60_000, dtype=np.uint64).astype(np.uint32)
        if name == "tfloat32":
            patterns &= np.uint32(0xFFFFE000)
    else:
        patterns = np.arange(2 if name == "bool_" else 256**dtype.itemsize).astype(f"u{dtype.itemsize}")
    values = patterns.view(dtype)
    assert equal(converted(values, DTYPE_NUMBER[name], F32), values.astype(np.float32))


@pytest.mark.parametrize("name", [n for n, k in DTYPE_NUMBER.items() if IS_INTEGER[k]])
def test_integers_saturate_between_types(name: str) -> None:
    for other in (n for n, k in DTYPE_NUMBER.items() if IS_INTEGER[k]):
        info = np.iinfo(DTYPE[DTYPE_NUMBER[other]])
        values = np.array(
            [info.min, info.min + 1, 0, 1, 100, info.max // 2, info.max], DTYPE[DTYPE_NUMBER[other]]
        )
        got = converted(values, DTYPE_NUMBER[other], DTYPE_NUMBER[name])
        want = values.astype(np.float32)  # the engines compute in fp32
        same = values if name == other else round_to(want, DTYPE_NUMBER[name])
        assert np.array_equal(got, same), (other, name)

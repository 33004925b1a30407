"""Random programs of one instruction each, as the dictionaries that `_nki.build` takes, with arguments.

Tiles have random shapes, offsets, steps, directions, broadcasts, masks and element types; some instructions
stand in a loop whose index moves their operands. Every access stays inside its tensor, every element is
defined.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import _nki
import numpy as np

from tests.support.numpy_arithmetic import ACT, ALU, BITWISE, DTYPE, IS_INTEGER

PARTITIONS, FREE = 36, 16
HBM, SHARED_HBM, SBUF, PSUM = (_nki.BUFFERS[n] for n in ("hbm", "shared_hbm", "sbuf", "psum"))
LOCAL, INPUT, OUTPUT = 0, 1, 2
DTYPE_NUMBER = {name: row[0] for name, row in _nki.DTYPES.items()}
ALU_NUMBER = {name: number for number, name in ALU.items()}
ARITHMETIC = [n for n in _nki.ALU_OPS if n not in BITWISE and n != "none"]
COMPARISONS = [n for n, row in _nki.ALU_OPS.items() if row[3] and not n.startswith("logical")]
# Powers, quotients near a pole and steps turn the rounding of their inputs into anything.
SMOOTH = [n for n in ARITHMETIC if n not in ("power", "mod", "fmod", "rsqrt")]
STEEP = ("tan", "reciprocal", "rsqrt", "sqrt", "log", "sign")
F32 = DTYPE_NUMBER["float32"]


@dataclasses.dataclass
class Program:
    """A program and its arguments."""

    spec: dict
    inputs: list[np.ndarray]


class Maker:
    """Builds one random program around one instruction."""

    def __init__(self, op: str, seed: int):
        self.op = op
        self.rng = random.Random(f"{op} {seed}")
        self.numbers = np.random.default_rng(self.rng.getrandbits(32))
        self.tensors: list[tuple] = []
        self.inputs: list[np.ndarray] = []
        self.outputs: list[int] = []
        self.before: list[tuple] = []
        self.loop = self.rng.random() < 0.3
        self.trips = self.rng.randint(2, 3) if self.loop else 1

    # ---- Choices

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def dtype(self) -> int:
        """Half the time fp32, else any element type."""
        return F32 if self.chance(0.5) else self.rng.choice(list(DTYPE))

    def shape(self, partitions: int = 0) -> tuple[int, ...]:
        """A tile's shape of up to three free dimensions."""
        free = [self.rng.randint(1, 8) for _ in range(self.rng.randint(1, 2))]
        return (partitions or self.rng.randint(1, 20), *free, *([2] if self.chance(0.15) else []))

    # ---- Tensors

    def _declare(self, name: str, buffer: int, dtype: int, role: int, shape: tuple) -> int:
        self.tensors.append((name, buffer, dtype, role, shape, 0, -1, -1, b"", 1, 1))
        return len(self.tensors) - 1

    def tensor(self, dtype: int, low: float = -4.0, high: float = 4.0, buffer: int = SBUF) -> int:
        """A tensor with random contents, an argument copied on chip and an output of what becomes of it."""
        shape = (PARTITIONS, FREE, FREE)
        values = self.numbers.uniform(low, high, shape)
        if DTYPE[dtype].kind == "u":
            values = np.abs(values)
        stored = DTYPE[dtype]
        if IS_INTEGER[dtype] or dtype == DTYPE_NUMBER["bool_"]:
            values = np.rint(values * (1 if low != -4.0 else 3))
            values = values != 0 if dtype == DTYPE_NUMBER["bool_"] else values
        number = self._declare("t", buffer, dtype, LOCAL, shape)
        argument = self._declare("x", HBM, dtype, INPUT, shape)
        self.inputs.append(values.astype(np.float32).astype(stored))
        if dtype == DTYPE_NUMBER["tfloat32"]:
            bits = self.inputs[-1].view(np.uint32)
            bits &= np.uint32(0xFFFFE000)
        self.before.append(self._whole_copy(number, argument, shape))
        return number

    @staticmethod
    def _whole(tensor: int, shape: tuple) -> tuple:
        index = tuple((0, (), tuple(int(i == d) for i in range(len(shape)))) for d in range(len(shape)))
        return (tensor, shape, index, (), -1, -1, ())

    def _whole_copy(self, to: int, source: int, shape: tuple) -> tuple:
        op = _nki.OPCODES["dma_copy"][0]
        return ("I", op, 0, [self._whole(to, shape)], [self._whole(source, shape)], {}, 1, 1)

    def tile(self, tensor: int, shape: tuple, *, write: bool = False, mask: bool = True) -> tuple:
        """An access of this shape, somewhere in the tensor. What is written has no place twice."""
        dims: list[list[int]] = [[0] * len(shape) for _ in range(3)]
        start = [0, 0, 0]
        broadcast = not write and self.chance(0.1)
        if not broadcast:
            dims[0][0] = 1
            start[0] = self.rng.randint(0, PARTITIONS - shape[0])
        else:
            start[0] = self.rng.randint(0, PARTITIONS - 1)
        axes = [1, 2] if self.chance(0.5) else [2, 1]
        room = [0, FREE, FREE]
        for d in range(1, min(len(shape), 3)):
            axis = axes[d - 1]
            step = self.rng.choice([1, 1, 1, 2, -1])
            if (shape[d] - 1) * abs(step) >= FREE:
                step = 1
            if not write and self.chance(0.1):
                step = 0
            reach = (shape[d] - 1) * abs(step)
            dims[axis][d] = step
            start[axis] = reach if step < 0 else 0
            room[axis] = FREE - reach
        if (
            len(shape) > 3
        ):  # a third free dimension goes where the first left half the axis free, else nowhere
            axis = axes[0]
            if room[axis] > 8:
                dims[axis][3], room[axis] = 8, room[axis] - 8
                if (shape[1] - 1) * abs(dims[axis][1]) >= 8:
                    dims[axis][3], room[axis] = 0, room[axis] + 8
            if write and dims[axis][3] == 0:
                return self.tile(tensor, shape, write=True, mask=mask)
        moves = [0, 0, 0]
        for axis in (1, 2):
            if self.loop and room[axis] > self.trips and self.chance(0.5):
                moves[axis] = 1
                room[axis] -= self.trips
            start[axis] += self.rng.randint(0, room[axis] - 1)
        index = tuple((start[a], ((0, moves[a]),) if moves[a] else (), tuple(dims[a])) for a in range(3))
        masks = (self.condition(shape),) if mask and self.chance(0.2) else ()
        return (tensor, shape, index, masks, -1, -1, ())

    def condition(self, shape: tuple) -> tuple:
        """A mask that holds in most or some positions."""
        coefficients = [0] * len(shape)
        d = self.rng.randrange(len(shape))
        coefficients[d] = self.rng.choice([1, -1])
        constant = self.rng.randint(0, shape[d] - 1) if coefficients[d] < 0 else -self.rng.randint(0, 1)
        if self.chance(0.3):
            coefficients[self.rng.randrange(len(shape))] += self.rng.choice([1, -1])
        terms = ((0, 1),) if self.loop and self.chance(0.3) else ()
        return (constant, terms, tuple(coefficients))

    # ---- Operands

    def source(self, shape: tuple, dtype: int | None = None, **options: bool) -> tuple:
        return self.tile(self.tensor(self.dtype() if dtype is None else dtype), shape, **options)

    def positive(self, shape: tuple) -> tuple:
        """Numbers away from zero."""
        return self.tile(self.tensor(self.dtype(), 0.5, 1.4), shape)

    def vector(self, partitions: int, dtype: int | None = None) -> tuple:
        return self.source((partitions, 1), dtype, mask=False)

    def vector_or_number(self, partitions: int) -> tuple:
        return self.vector(partitions) if self.chance(0.5) else (self.rng.choice([1.0, -0.5, 0.0, 3.25]), F32)

    def target(self, shape: tuple, dtype: int | None = None, *, mask: bool = True) -> tuple:
        buffer = PSUM if self.chance(0.2) else SBUF
        tensor = self.tensor(self.dtype() if dtype is None else dtype, buffer=buffer)
        return self.tile(tensor, shape, write=True, mask=mask)

    # ---- The program

    def program(self, dst: list, src: list, attrs: dict) -> Program:
        """Arguments on chip, the instruction, everything back."""
        instruction = ("I", _nki.OPCODES[self.op][0], 0, dst, src, attrs, 2, 1)
        symbols = [(0, "i", (0, (), ()), 1)] if self.loop else []
        middle = ("L", 0, 1, 0, 1, self.trips, [instruction], 2, 1) if self.loop else instruction
        after = []
        for number, tensor in enumerate(list(self.tensors)):
            if tensor[3] != LOCAL:
                continue
            output = self._declare("y", SHARED_HBM, tensor[2], OUTPUT, tensor[4])
            self.outputs.append(output)
            after.append(self._whole_copy(output, number, tensor[4]))
        spec = {
            "kernel_name": self.op,
            "target": "trn1",
            "sdk": "2.24",
            "tensors": self.tensors,
            "symbols": symbols,
            "inputs": [n for n, t in enumerate(self.tensors) if t[3] == INPUT],
            "outputs": self.outputs,
            "grid": (),
            "body": [*self.before, middle, *after],
        }
        return Program(spec, self.inputs)


# ---- One function for each instruction: the operands and attributes it may have


def _copy(m: Maker) -> Program:
    shape = m.shape()
    attrs = {"op0": ALU_NUMBER["add"]} if m.op.startswith("dma") and m.chance(0.3) else {}
    number = m.op == "dma_copy" and m.chance(0.15)
    source = (m.rng.choice([1.5, -7.0, 300.0, 1e10]), F32) if number else m.source(shape)
    if not number and m.chance(0.3) and m.op != "dma_transpose":
        source = _run_time_index(m, source)
    return m.program([m.target(shape)], [source], attrs)


def _run_time_index(m: Maker, access: tuple) -> tuple:
    """The same tile at places that numbers in memory decide: one for each partition."""
    numbers = m.tensor(m.rng.choice([DTYPE_NUMBER[n] for n in ("int32", "uint16", "int16")]), 0.0, 7.0)
    tensor, shape, index, mask, _, _, _ = access
    axis = m.rng.choice([1, 2])
    moved = list(index)
    moved[axis] = (m.rng.randint(0, 8), (), ())
    along = (0, (), (1,))
    return (tensor, shape, tuple(moved), mask, axis, numbers, (along, (1, (), ()), (2, (), ())))


def _matmul(m: Maker) -> Program:
    k, rows, shape = m.rng.randint(1, 20), m.rng.randint(1, 14), m.shape()
    moving = (k, *shape[1:])
    dst = m.tile(m.tensor(m.dtype(), buffer=PSUM), (rows, *shape[1:]), write=True)
    attrs = {"accumulate": m.chance(0.5)}
    return m.program([dst], [m.source((k, rows)), m.source(moving)], attrs)


def _transpose(m: Maker) -> Program:
    partitions, free = m.rng.randint(1, 16), m.rng.randint(1, 16)
    return m.program([m.target((free, partitions))], [m.source((partitions, free))], {})


def _activation(m: Maker) -> Program:
    shape = m.shape()
    # Poles and steps turn the rounding of their inputs into anything.
    if m.chance(0.2):
        attrs = {"act": m.rng.choice([n for n, name in ACT.items() if name in STEEP])}
        return m.program([m.target(shape), None], [m.positive(shape), None, (1.0, F32)], attrs)
    attrs = {"act": m.rng.choice([n for n, name in ACT.items() if name not in STEEP])}
    scale = m.vector_or_number(shape[0])
    if ACT[attrs["act"]] in ("floor", "ceil", "trunc"):
        scale = (1.0, F32)
    bias = m.vector(shape[0]) if m.chance(0.5) and scale != (1.0, F32) else None
    result = None
    if m.chance(0.4):
        attrs |= {"reduce_cmd": m.rng.randint(0, 3), "reduce_op": ALU_NUMBER["add"]}
        result = m.target((shape[0], 1), F32, mask=False)
    return m.program([m.target(shape), result], [m.source(shape), bias, scale], attrs)


def _reduce(m: Maker) -> Program:
    shape = m.shape()
    ops = ["add", "maximum", "minimum", "multiply", "subtract", "logical_or"]
    bitwise = m.chance(0.2)
    integers = [n for n, is_integer in IS_INTEGER.items() if is_integer]
    op = m.rng.choice(["bitwise_and", "bitwise_or", "bitwise_xor"] if bitwise else ops)
    axes = sorted(m.rng.sample(range(1, len(shape)), m.rng.randint(1, len(shape) - 1)))
    reduced = tuple(1 if d in axes else n for d, n in enumerate(shape))
    attrs = {"op0": ALU_NUMBER[op], "axes": axes, "negate": not bitwise and m.chance(0.2)}
    source = m.source(shape, m.rng.choice(integers) if bitwise else None)
    return m.program([m.target(reduced, m.rng.choice(integers) if bitwise else None)], [source], attrs)


def _partition_reduce(m: Maker) -> Program:
    shape = m.shape()
    op = m.rng.choice(["add", "maximum"])
    return m.program([m.target((1, *shape[1:]))], [m.source(shape)], {"op0": ALU_NUMBER[op]})


def _operators(m: Maker, count: int) -> dict:
    bitwise = m.chance(0.2)
    names = sorted(BITWISE) if bitwise else SMOOTH
    attrs = {"op0": ALU_NUMBER[m.rng.choice(names)]}
    if count > 1 and m.chance(0.6):
        attrs["op1"] = ALU_NUMBER[m.rng.choice(names)]
    return attrs | {"reverse0": m.chance(0.3), "reverse1": m.chance(0.3)} if count > 1 else attrs


def _tensor_tensor(m: Maker) -> Program:
    shape = m.shape()
    return m.program([m.target(shape)], [m.source(shape), m.source(shape)], _operators(m, 1))


def _tensor_scalar(m: Maker) -> Program:
    shape = m.shape()
    if m.chance(0.15):
        attrs = {"op0": ALU_NUMBER[m.rng.choice(["power", "mod", "fmod", "rsqrt"])]}
        return m.program([m.target(shape), None], [m.positive(shape), (1.75, F32), None], attrs)
    attrs = _operators(m, 2)
    third = m.vector_or_number(shape[0]) if "op1" in attrs else None
    result = None
    if ALU[attrs["op0"]] not in BITWISE and m.chance(0.3):
        attrs["reduce_op"] = ALU_NUMBER[m.rng.choice(["add", "maximum", "minimum", "multiply"])]
        result = m.target((shape[0], 1), F32, mask=False)
    source = [m.source(shape), m.vector_or_number(shape[0]), third]
    return m.program([m.target(shape), result], source, attrs)


def _scalar_tensor_tensor(m: Maker) -> Program:
    shape = m.shape()
    attrs = _operators(m, 2)
    return m.program(
        [m.target(shape)], [m.source(shape), m.vector_or_number(shape[0]), m.source(shape)], attrs
    )


def _scan(m: Maker) -> Program:
    shape = m.shape()
    first = m.rng.choice(["multiply", "add", "maximum", "subtract"])
    second = m.rng.choice(["add", "minimum", "maximum", "subtract"])
    attrs = {"op0": ALU_NUMBER[first], "op1": ALU_NUMBER[second]}
    attrs |= {"reverse0": m.chance(0.3), "reverse1": m.chance(0.3)}
    # Factors below one keep the state where fp32 is fine.
    x = m.tile(m.tensor(F32, -0.9, 0.9), shape)
    return m.program([m.target(shape)], [x, m.source(shape), m.vector_or_number(shape[0])], attrs)


def _predicated(m: Maker) -> Program:
    shape = m.shape()
    predicate = m.source(shape, m.rng.choice([DTYPE_NUMBER[n] for n in ("uint8", "uint16", "bool_")]))
    source = m.source(shape) if m.chance(0.8) else (2.5, F32)
    return m.program([m.target(shape)], [source, predicate], {"negate": m.chance(0.3)})


def _reciprocal(m: Maker) -> Program:
    shape = m.shape()
    return m.program([m.target(shape, F32)], [m.tile(m.tensor(m.dtype(), 1.0, 6.0), shape)], {})


def _expression(m: Maker, shape: tuple) -> tuple:
    along = [m.rng.choice([0, 1, -2, 40000]) for _ in shape]
    return (m.rng.randint(-5, 90), ((0, 3),) if m.loop else (), tuple(along))


def _iota(m: Maker) -> Program:
    dst = m.target(m.shape())
    return m.program([dst], [], {"expr": _expression(m, dst[1])})


def _affine_select(m: Maker) -> Program:
    shape = m.shape()
    attrs = {"expr": _expression(m, shape), "op0": ALU_NUMBER[m.rng.choice(COMPARISONS)], "value": -3.0}
    return m.program([m.target(shape)], [m.source(shape)], attrs)


def _range_select(m: Maker) -> Program:
    shape = m.shape()
    attrs = {
        "expr": (m.rng.randint(-2, 2), (), (0, 1)),
        "op0": ALU_NUMBER[m.rng.choice(COMPARISONS)],
        "op1": ALU_NUMBER[m.rng.choice(COMPARISONS)],
        "reduce_cmd": m.rng.randint(0, 3),
    }
    result = m.target((shape[0], 1), F32, mask=False) if m.chance(0.5) else None
    return m.program(
        [m.target(shape), result], [m.source(shape), m.vector(shape[0], F32), m.vector(shape[0], F32)], attrs
    )


def _memset(m: Maker) -> Program:
    return m.program([m.target(m.shape())], [], {"value": m.rng.choice([0.0, 1.5, -3.0, 1e9, 70000.0])})


def _random(m: Maker) -> Program:
    return m.program([m.target(m.shape())], [], {"seed": m.rng.getrandbits(40)})


def _dropout(m: Maker) -> Program:
    shape = m.shape()
    probability = m.tile(m.tensor(F32, 0.0, 1.0), (shape[0], 1), mask=False) if m.chance(0.5) else (0.4, F32)
    return m.program([m.target(shape)], [m.source(shape), probability], {"seed": m.rng.getrandbits(40)})


def _bn_stats(m: Maker) -> Program:
    shape = m.shape()
    return m.program([m.target((shape[0], 6), F32)], [m.source(shape)], {})


def _bn_aggr(m: Maker) -> Program:
    shape = (m.rng.randint(1, 20), 3 * m.rng.randint(1, 4))
    data = m.tile(m.tensor(m.dtype(), 0.5, 4.0), shape, mask=False)
    return m.program([m.target((shape[0], 2), F32)], [data], {})


def _local_gather(m: Maker) -> Program:
    partitions, each = m.rng.choice([16, 32]), m.rng.choice([1, 2, 4])
    count = m.rng.randint(1, 14 // each)
    dtype = m.dtype()
    index = m.tensor(DTYPE_NUMBER["uint16"], 0.0, 4.0)
    attrs = {"num_elem_per_idx": each, "num_valid_indices": count}
    dst = m.target((partitions, count * each), dtype, mask=False)
    data = m.source((partitions, 8), dtype, mask=False)
    return m.program([dst], [data, m.tile(index, (partitions, 2), mask=False)], attrs)


def _max8(m: Maker) -> Program:
    shape = m.shape()
    return m.program([m.target((shape[0], 8))], [m.source(shape)], {})


def _searched(m: Maker, shape: tuple) -> list:
    # Few different values, so that many are found.
    data, wanted = (m.tensor(m.rng.choice([F32, DTYPE_NUMBER["int8"]]), -5.0, 5.0) for _ in range(2))
    for number in (-1, -2):
        m.inputs[number][...] = np.rint(m.inputs[number].astype(np.float32))
    return [m.tile(data, shape), m.tile(wanted, (shape[0], 8), mask=False)]


def _find8(m: Maker) -> Program:
    shape = m.shape()
    dtype = m.rng.choice([F32, DTYPE_NUMBER["uint32"], DTYPE_NUMBER["uint16"]])
    return m.program([m.target((shape[0], 8), dtype)], _searched(m, shape), {})


def _replace8(m: Maker) -> Program:
    shape = m.shape()
    return m.program([m.target(shape)], _searched(m, shape), {"value": -99.0})


def _shuffle(m: Maker) -> Program:
    shape = m.shape(32)
    dtype = m.dtype()
    keep = [255 if m.chance(0.1) else m.rng.randrange(32) for _ in range(32)]
    return m.program([m.target(shape, dtype)], [m.source(shape, dtype)], {"list": keep})


def _broadcast(m: Maker) -> Program:
    shape = m.shape()
    return m.program([m.target(shape)], [m.source((1, *shape[1:]))], {})


GENERATORS: dict[str, Callable[[Maker], Program]] = {
    "dma_copy": _copy,
    "dma_transpose": _copy,
    "nc_matmul": _matmul,
    "nc_transpose": _transpose,
    "activation": _activation,
    "tensor_reduce": _reduce,
    "tensor_partition_reduce": _partition_reduce,
    "tensor_tensor": _tensor_tensor,
    "tensor_tensor_scan": _scan,
    "scalar_tensor_tensor": _scalar_tensor_tensor,
    "tensor_scalar": _tensor_scalar,
    "tensor_copy": _copy,
    "tensor_copy_predicated": _predicated,
    "reciprocal": _reciprocal,
    "iota": _iota,
    "dropout": _dropout,
    "affine_select": _affine_select,
    "range_select": _range_select,
    "memset": _memset,
    "bn_stats": _bn_stats,
    "bn_aggr": _bn_aggr,
    "local_gather": _local_gather,
    "max8": _max8,
    "nc_find_index8": _find8,
    "nc_match_replace8": _replace8,
    "nc_stream_shuffle": _shuffle,
    "rng": _random,
    "partition_broadcast": _broadcast,
}


def random_program(op: str, seed: int) -> Program:
    """A valid program of this instruction; equal seeds give equal programs."""
    return GENERATORS[op](Maker(op, seed))

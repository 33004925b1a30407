"""An interpreter of traced programs in plain NumPy: the meaning of every instruction, one call for each.

It executes eagerly: for each executed instruction it computes the index arrays of the operands, gathers the
sources, computes in fp32, rounds once, and scatters the result. Nothing is planned, shared between
instructions or compiled. It shares no code with common/nki/exec, which the tests compare with it, and it is
the slow side of the speed figures.

Where an operand is a box of its tensor (unmasked, every index one dimension or a number), `boxes=True` takes
it by basic slicing, as somebody who writes the same computation in NumPy by hand would.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import _nki
import numpy as np

from tests.support.numpy_arithmetic import (
    ACT,
    ACTIVATION,
    ALU,
    BITWISE,
    BITWISE_UFUNC,
    DTYPE,
    F32,
    IS_INTEGER,
    UNARY,
    arithmetic,
    bitwise,
    low_bits,
    mix,
    round_to,
    saturate,
    to_int,
)

QUADRANT, KEEP, CORE, EIGHT = 32, 255, 16, 8
LOOP, FLOOR_DIV = 0, 1  # kinds of symbols (ir/program.h)
IDLE, RESET, REDUCE, RESET_REDUCE = range(4)
OPCODE = {row[0]: name for name, row in _nki.OPCODES.items()}
FP32_MIN = np.finfo(F32).min


class Interpreter:
    """Executes one program, given as the dictionary that `_nki.build` takes (nki_frontend/lowering.py)."""

    def __init__(self, spec: dict, inputs: list[np.ndarray], *, boxes: bool = False, seed: int = 0):
        self.spec = spec
        self.boxes = boxes
        self.seed = seed
        self.symbols = [0] * len(spec["symbols"])
        self.loops: list[int] = []
        self.tensors: dict[int, np.ndarray] = {}
        self.registers = {"activation": np.zeros(128, F32), "range_select": np.zeros(128, F32)}
        self.executed = 0
        for number, values in zip(spec["inputs"], inputs, strict=True):
            copy = number in spec["outputs"]
            stored = values.view(DTYPE[self._dtype(number)])
            self.tensors[number] = np.array(stored) if copy else stored
        for number, tensor in enumerate(spec["tensors"]):
            if tensor[8]:
                self.tensors[number] = np.frombuffer(tensor[8], DTYPE[tensor[2]]).reshape(tensor[4])

    def run(self) -> list[np.ndarray]:
        """The outputs, in the program's order."""
        with np.errstate(all="ignore"):
            self._body(self.spec["body"])
        return [self._tensor(number) for number in self.spec["outputs"]]

    # ---- Control

    def _body(self, nodes: list) -> None:
        for node in nodes:
            if node[0] == "I":
                self._instruction(node)
                continue
            _, symbol, _, start, step, trips, body, _, _ = node
            for trip in range(trips):
                self.symbols[symbol] = start + trip * step
                self._derive()
                with self._inside(symbol):
                    self._body(body)

    @contextlib.contextmanager
    def _inside(self, symbol: int) -> Iterator[None]:
        self.loops.append(symbol)
        yield
        self.loops.pop()

    def _derive(self) -> None:
        for number, (kind, _, argument, divisor) in enumerate(self.spec["symbols"]):
            if kind != LOOP:
                quotient, rest = divmod(self._number(argument), divisor)
                self.symbols[number] = quotient if kind == FLOOR_DIV else rest

    def _number(self, affine: tuple) -> int:
        constant, terms, _ = affine
        return constant + sum(k * self.symbols[s] for s, k in terms)

    # ---- Operands

    def _dtype(self, tensor: int) -> int:
        return self.spec["tensors"][tensor][2]

    def _tensor(self, number: int) -> np.ndarray:
        """The elements of a tensor, made on first use."""
        found = self.tensors.get(number)
        if found is None:
            tensor = self.spec["tensors"][number]
            if tensor[7] >= 0:
                return self._tensor(tensor[7]).reshape(tensor[4])
            found = self.tensors[number] = np.zeros(tensor[4], DTYPE[tensor[2]])
        return found

    def _evaluate(self, affine: tuple, shape: tuple) -> np.ndarray | int:
        """An affine expression at every position of a tile, as an array that broadcasts to its shape."""
        value: np.ndarray | int = self._number(affine)
        for d, k in enumerate(affine[2]):
            if k != 0 and shape[d] > 1:
                value = value + k * np.arange(shape[d]).reshape(
                    [-1 if i == d else 1 for i in range(len(shape))]
                )
        return value

    def _held(self, access: tuple) -> np.ndarray | None:
        """Where the masks hold; None without masks."""
        if not access[3]:
            return None
        held = np.ones(access[1], bool)
        for mask in access[3]:
            held &= self._evaluate(mask, access[1]) >= 0
        return held

    def _places(self, access: tuple, held: np.ndarray | None) -> tuple:
        """One index array for each axis of the tensor."""
        tensor, shape, index, _, indirect_axis, indirect_tensor, indirect_index = access
        places = [self._evaluate(e, shape) for e in index]
        if indirect_axis >= 0:
            at = tuple(np.broadcast_to(self._evaluate(e, shape), shape) for e in indirect_index)
            numbers = to_int(self._tensor(indirect_tensor)[at], self._dtype(indirect_tensor))
            places[indirect_axis] = places[indirect_axis] + numbers
        if held is not None:
            sizes = self.spec["tensors"][tensor][4]
            places = [np.clip(p, 0, n - 1) for p, n in zip(places, sizes, strict=True)]
        return tuple(np.broadcast_to(p, shape) for p in places)

    def _box(self, access: tuple) -> np.ndarray | None:
        """The tile as a view of its tensor, if basic slicing can name it."""
        tensor, shape, index, mask, indirect_axis, _, _ = access
        if not self.boxes or mask or indirect_axis >= 0:
            return None
        key, order = [], []
        for e in index:
            moving = [d for d, k in enumerate(e[2]) if k != 0 and shape[d] > 1]
            start = self._number(e)
            if not moving:
                key.append(start)
                continue
            d = moving[0]
            if len(moving) > 1 or d in order or e[2][d] < 0:
                return None
            order.append(d)
            key.append(slice(start, start + e[2][d] * (shape[d] - 1) + 1, e[2][d]))
        view = self._tensor(tensor)[tuple(key)]
        view = view.transpose(np.argsort(order)) if order else view
        for d in range(len(shape)):
            if d not in order:
                view = np.expand_dims(view, d)
        return view

    def _elements(self, access: tuple) -> np.ndarray:
        """The stored elements; masked-off ones are any."""
        box = self._box(access)
        if box is not None:
            return np.broadcast_to(box, access[1])
        return self._tensor(access[0])[self._places(access, self._held(access))]

    def _float(self, operand: object) -> np.ndarray:
        if operand is None:
            return F32(0)
        if len(operand) == 2:
            return F32(operand[0])
        return self._elements(operand).astype(F32)

    def _int(self, operand: object) -> np.ndarray:
        if operand is None:
            return np.int64(0)
        if len(operand) == 2:
            value = operand[0]
            return np.int64(0 if math.isnan(value) else min(max(round(value), -(2**31)), 2**32 - 1))
        return to_int(self._elements(operand), self._dtype(operand[0]))

    def _vector(self, values: np.ndarray, rank: int) -> np.ndarray:
        """A [P, 1] operand or a number, ready to broadcast over a tile of `rank` dimensions."""
        return values if values.ndim == 0 else values.reshape([-1] + [1] * (rank - 1))

    def _write(self, access: tuple, elements: np.ndarray, held: np.ndarray | None) -> None:
        """Stored elements to where `held` allows (None: the access's own masks)."""
        own = self._held(access)
        held = own if held is None else (held if own is None else held & own)
        box = self._box(access) if held is None else None
        if box is not None and all(b == s for b, s in zip(box.shape, access[1], strict=True)):
            box[...] = elements
            return
        places = self._places(access, held)
        elements = np.broadcast_to(elements, access[1])
        if held is None:
            self._tensor(access[0])[places] = elements
        else:
            self._tensor(access[0])[tuple(p[held] for p in places)] = elements[held]

    def _write_float(self, access: tuple, values: np.ndarray, held: np.ndarray | None = None) -> None:
        self._write(access, round_to(np.asarray(values, F32), self._dtype(access[0])), held)

    def _masks(self, *operands: object) -> np.ndarray | None:
        """Where all masks of tiles of one shape hold."""
        held = None
        for operand in operands:
            if operand is not None and len(operand) > 2:
                own = self._held(operand)
                own = own if own is None else self._vector_mask(own, operands)
                held = own if held is None else (held if own is None else held & own)
        return held

    def _vector_mask(self, own: np.ndarray, operands: tuple) -> np.ndarray:
        shape = operands[0][1]
        return own if own.shape == tuple(shape) else np.broadcast_to(self._vector(own, len(shape)), shape)

    # ---- Instructions

    def _instruction(self, node: tuple) -> None:
        _, op, _, dst, src, attrs, line, column = node
        self.executed += 1
        self.place = (line, column)
        getattr(self, "_" + OPCODE[op])(dst, src, attrs)

    def _copied(self, operand: object, dtype: int, exact: bool = False) -> np.ndarray:
        """A source's elements as a copy writes them: bits where the type stays."""
        if len(operand) == 2:
            if IS_INTEGER[dtype] and math.isfinite(operand[0]):
                return saturate(self._int(operand), dtype)
            return round_to(np.asarray(self._float(operand)), dtype)
        source = self._dtype(operand[0])
        if source == dtype:
            return self._elements(operand)
        if exact and IS_INTEGER[source] and IS_INTEGER[dtype]:
            return saturate(self._int(operand), dtype)
        return round_to(self._float(operand), dtype)

    def _dma_copy(self, dst: list, src: list, attrs: dict) -> None:
        held = self._masks(dst[0], src[0])
        if ALU[attrs.get("op0", 0)] == "add":
            self._write_float(dst[0], self._float(dst[0]) + self._float(src[0]), held)
        else:
            self._write(dst[0], self._copied(src[0], self._dtype(dst[0][0]), exact=True), held)

    _dma_transpose = _dma_copy

    def _tensor_copy(self, dst: list, src: list, attrs: dict) -> None:
        self._write(dst[0], self._copied(src[0], self._dtype(dst[0][0])), self._masks(dst[0], src[0]))

    def _nc_transpose(self, dst: list, src: list, attrs: dict) -> None:
        def turn(a: np.ndarray) -> np.ndarray:
            return a.reshape(a.shape[0], -1).T.reshape(dst[0][1])

        held = self._held(src[0])
        self._write(
            dst[0], turn(self._copied(src[0], self._dtype(dst[0][0]))), None if held is None else turn(held)
        )

    def _partition_broadcast(self, dst: list, src: list, attrs: dict) -> None:
        held = self._held(src[0])
        held = None if held is None else np.broadcast_to(held, dst[0][1])
        self._write(dst[0], np.broadcast_to(self._copied(src[0], self._dtype(dst[0][0])), dst[0][1]), held)

    def _nc_matmul(self, dst: list, src: list, attrs: dict) -> None:
        matrices = []
        for operand in src:
            held = self._held(operand)
            tile = self._float(operand)
            tile = tile if held is None else np.where(held, tile, F32(0))
            matrices.append(tile.reshape(tile.shape[0], -1))
        product = (matrices[0].T @ matrices[1]).reshape(dst[0][1])
        if attrs.get("accumulate"):
            product = self._float(dst[0]) + product
        self._write_float(dst[0], product)

    def _two_operators(self, dst: tuple, src: list, attrs: dict, op1: str) -> tuple:
        """(data op0 src[1]) op1 src[2]: the elements, their fp32 values, and where they hold."""
        ops = [ALU[attrs.get("op0", 0)], op1]
        rank = len(dst[1])
        held = self._masks(dst, *src)
        out = self._dtype(dst[0])
        reverse = [attrs.get("reverse0", False), attrs.get("reverse1", False)]
        if BITWISE & set(ops):
            source = self._dtype(src[0][0])
            bits = 8 * DTYPE[source].itemsize if IS_INTEGER[source] else 32
            value = self._int(src[0])
            for op, operand, swap in zip(ops, src[1:] + [None], reverse, strict=False):
                other = self._broadcast(self._int(operand), operand, dst, rank)
                if op != "none":
                    value = bitwise(op, *((other, value) if swap else (value, other)), bits)
            return low_bits(value, out), None, held
        value = self._float(src[0])
        for op, operand, swap in zip(ops, src[1:] + [None], reverse, strict=False):
            other = self._broadcast(self._float(operand), operand, dst, rank)
            if op != "none":
                value = arithmetic(op, *((other, value) if swap and op not in UNARY else (value, other)))
        value = np.broadcast_to(value, dst[1])
        return round_to(value, out), value, held

    def _broadcast(self, values: np.ndarray, operand: object, dst: tuple, rank: int) -> np.ndarray:
        is_tile = operand is not None and len(operand) > 2 and tuple(operand[1]) == tuple(dst[1])
        return values if is_tile else self._vector(np.asarray(values), rank)

    def _tensor_tensor(self, dst: list, src: list, attrs: dict) -> None:
        elements, _, held = self._two_operators(dst[0], src, attrs, "none")
        self._write(dst[0], elements, held)

    def _scalar_tensor_tensor(self, dst: list, src: list, attrs: dict) -> None:
        elements, _, held = self._two_operators(dst[0], src, attrs, ALU[attrs.get("op1", 0)])
        self._write(dst[0], elements, held)

    def _tensor_scalar(self, dst: list, src: list, attrs: dict) -> None:
        elements, values, held = self._two_operators(dst[0], src, attrs, ALU[attrs.get("op1", 0)])
        self._write(dst[0], elements, held)
        if dst[1] is not None:
            self._write_float(dst[1], self._fold_rows(ALU[attrs["reduce_op"]], values, held)[0])

    def _fold_rows(self, op: str, values: np.ndarray, held: np.ndarray | None) -> tuple:
        """One number for each partition (its identity where nothing holds), and where one did."""
        rows = values.reshape(values.shape[0], -1)
        keep = np.ones(rows.shape, bool) if held is None else held.reshape(rows.shape)
        folded = [self._fold(op, row[k]) for row, k in zip(rows, keep, strict=True)]
        return np.array(folded, F32).reshape(-1, 1), keep.any(axis=1)

    @staticmethod
    def _fold(op: str, row: np.ndarray) -> np.float32:
        if row.size == 0:
            return F32({"multiply": 1, "logical_and": 1, "maximum": -np.inf, "minimum": np.inf}.get(op, 0))
        if op == "add":
            return row.sum(dtype=F32)
        if op in ("maximum", "minimum"):
            return row.max() if op == "maximum" else row.min()
        value = row[0]
        for x in row[1:]:
            value = arithmetic(op, value, x)
        return value

    def _activation(self, dst: list, src: list, attrs: dict) -> None:
        rank = len(dst[0][1])
        bias = self._vector(np.asarray(self._float(src[1])), rank)
        scale = self._vector(np.asarray(self._float(src[2])), rank)
        x = (self._float(src[0]) * scale).astype(F32) + bias
        values = np.broadcast_to(np.asarray(ACTIVATION[ACT[attrs.get("act", 0)]](x), F32), dst[0][1])
        held = self._masks(dst[0], *src)
        self._write_float(dst[0], values, held)
        op = ALU[attrs.get("reduce_op", 0)]
        self._registers("activation", dst, attrs, values, held, "add" if op == "none" else op, F32(0))

    def _registers(
        self, name: str, dst: list, attrs: dict, values: np.ndarray, held: object, op: str, start: np.float32
    ) -> None:
        command = attrs.get("reduce_cmd", IDLE)
        registers = self.registers[name][: dst[0][1][0]]
        if command in (RESET, RESET_REDUCE):
            registers[:] = start
        if command in (REDUCE, RESET_REDUCE):
            folds, seen = self._fold_rows(op, values, held)
            registers[seen] = arithmetic(op, registers[seen], folds[seen, 0])
        if dst[1] is not None:
            self._write_float(dst[1], registers.reshape(-1, *[1] * (len(dst[1][1]) - 1)))

    def _range_select(self, dst: list, src: list, attrs: dict) -> None:
        rank = len(dst[0][1])
        i = np.broadcast_to(self._evaluate(attrs["expr"], dst[0][1]), dst[0][1]).astype(F32)
        inside = np.ones(dst[0][1], bool)
        for op, bound in (("op0", src[1]), ("op1", src[2])):
            inside &= arithmetic(ALU[attrs[op]], i, self._vector(self._float(bound), rank)) != 0
        values = np.where(inside, self._float(src[0]), FP32_MIN)
        held = self._masks(dst[0], *src)
        self._write_float(dst[0], values, held)
        self._registers("range_select", dst, attrs, values, held, "maximum", FP32_MIN)

    def _reduced(self, dst: list, src: list, attrs: dict, axes: tuple) -> None:
        op = ALU[attrs["op0"]]
        held = self._held(src[0])
        keep = np.ones(src[0][1], bool) if held is None else held
        if op in BITWISE:
            values = self._int(src[0])
            identity = -1 if op == "bitwise_and" else 0
            folded = BITWISE_UFUNC[op].reduce(np.where(keep, values, identity), axis=axes, keepdims=True)
            self._write(dst[0], low_bits(folded, self._dtype(dst[0][0])), None)
            return
        values = self._float(src[0])
        simple = {"add": (np.add, 0), "maximum": (np.fmax, -np.inf), "minimum": (np.fmin, np.inf)}
        if op in simple and held is None:
            folded = simple[op][0].reduce(values, axis=axes, keepdims=True)
        else:
            moved = np.moveaxis(values, axes, range(-len(axes), 0))
            kept = np.moveaxis(keep, axes, range(-len(axes), 0))
            rest = moved.shape[: values.ndim - len(axes)]
            rows = moved.reshape(math.prod(rest), -1)
            kept = kept.reshape(rows.shape)
            folded = np.array([self._fold(op, row[k]) for row, k in zip(rows, kept, strict=True)], F32)
            folded = folded.reshape(dst[0][1])
        self._write_float(dst[0], -folded if attrs.get("negate") else folded)

    def _tensor_reduce(self, dst: list, src: list, attrs: dict) -> None:
        self._reduced(dst, src, attrs, tuple(attrs["axes"]))

    def _tensor_partition_reduce(self, dst: list, src: list, attrs: dict) -> None:
        self._reduced(dst, src, attrs, (0,))

    def _tensor_tensor_scan(self, dst: list, src: list, attrs: dict) -> None:
        shape = dst[0][1]
        partitions = shape[0]
        held = self._masks(dst[0], *src)
        keep = (
            np.ones((partitions, math.prod(shape[1:])), bool)
            if held is None
            else held.reshape(partitions, -1)
        )
        x, y = (self._float(o).reshape(partitions, -1) for o in src[:2])
        state = np.broadcast_to(self._float(src[2]).reshape(-1), partitions).astype(F32)
        out = np.zeros(x.shape, F32)
        op0, op1 = ALU[attrs["op0"]], ALU[attrs["op1"]]
        for i in range(x.shape[1]):
            t = arithmetic(op0, *((state, x[:, i]) if attrs.get("reverse0") else (x[:, i], state)))
            new = arithmetic(op1, *((y[:, i], t) if attrs.get("reverse1") else (t, y[:, i])))
            state = np.where(keep[:, i], new, state)
            out[:, i] = state
        self._write_float(dst[0], out.reshape(shape), held)

    def _tensor_copy_predicated(self, dst: list, src: list, attrs: dict) -> None:
        chosen = (self._float(src[1]) != 0) != attrs.get("negate", False)
        held = self._masks(dst[0], *src)
        chosen = np.broadcast_to(chosen, dst[0][1]) if held is None else chosen & held
        self._write(dst[0], self._copied(src[0], self._dtype(dst[0][0])), chosen)

    def _reciprocal(self, dst: list, src: list, attrs: dict) -> None:
        self._write_float(dst[0], 1 / self._float(src[0]), self._masks(dst[0], src[0]))

    def _iota(self, dst: list, src: list, attrs: dict) -> None:
        value = np.broadcast_to(self._evaluate(attrs["expr"], dst[0][1]), dst[0][1]).astype(np.int64)
        self._write(dst[0], saturate(value.astype(np.int32).astype(np.int64), self._dtype(dst[0][0])), None)

    def _affine_select(self, dst: list, src: list, attrs: dict) -> None:
        value = np.broadcast_to(self._evaluate(attrs["expr"], dst[0][1]), dst[0][1])
        chosen = arithmetic(ALU[attrs["op0"]], np.sign(value).astype(F32), F32(0)) != 0
        dtype = self._dtype(dst[0][0])
        other = round_to(np.full(dst[0][1], attrs["value"], F32), dtype)
        elements = np.where(chosen, self._copied(src[0], dtype), other)
        self._write(dst[0], elements, self._masks(dst[0], src[0]))

    def _memset(self, dst: list, src: list, attrs: dict) -> None:
        self._write(dst[0], self._copied((attrs.get("value", 0.0), 0), self._dtype(dst[0][0])), None)

    def _bn_stats(self, dst: list, src: list, attrs: dict) -> None:
        held = self._held(src[0])
        rows = self._float(src[0]).astype(np.float64).reshape(src[0][1][0], -1)
        keep = np.ones(rows.shape, bool) if held is None else held.reshape(rows.shape)
        out = []
        for row, kept in zip(rows, keep, strict=True):
            for parity in (0, 1):
                part = row[parity::2][kept[parity::2]]
                mean = part.mean() if part.size else 0.0
                out += [part.size, mean, np.square(part - mean).sum()]
        self._write_float(dst[0], np.array(out, F32).reshape(dst[0][1]))

    def _bn_aggr(self, dst: list, src: list, attrs: dict) -> None:
        held = self._held(src[0])
        data = self._float(src[0])
        data = data if held is None else np.where(held, data, F32(0))
        triples = data.astype(np.float64).reshape(data.shape[0], -1, 3)
        count, means, squares = triples[..., 0], triples[..., 1], triples[..., 2]
        total = count.sum(axis=1)
        mean = np.where(total > 0, (count * means).sum(axis=1) / total, 0)
        spread = (squares + count * np.square(means - mean[:, None])).sum(axis=1)
        variance = np.where(total > 0, spread / total, 0)
        self._write_float(dst[0], np.stack([mean, variance], axis=1).astype(F32).reshape(dst[0][1]))

    def _local_gather(self, dst: list, src: list, attrs: dict) -> None:
        partitions, each = dst[0][1][0], attrs.get("num_elem_per_idx", 1)
        data = self._copied(src[0], self._dtype(dst[0][0])).reshape(partitions, -1)
        numbers = self._int(src[1]).reshape(partitions, -1)
        out = np.zeros((partitions, math.prod(dst[0][1][1:])), DTYPE[self._dtype(dst[0][0])])
        wrote = np.zeros(out.shape, bool)
        for p in range(partitions):
            first = p // CORE * CORE
            core = numbers[first : min(first + CORE, partitions)]
            for j, offset in enumerate(core.T.reshape(-1)[: attrs.get("num_valid_indices", 0)]):
                out[p, j * each : (j + 1) * each] = data[p, offset : offset + each]
                wrote[p, j * each : (j + 1) * each] = True
        self._write(dst[0], out.reshape(dst[0][1]), wrote.reshape(dst[0][1]))

    def _rows_and_masks(self, operand: tuple) -> tuple:
        rows = self._float(operand).reshape(operand[1][0], -1)
        held = self._held(operand)
        return rows, np.ones(rows.shape, bool) if held is None else held.reshape(rows.shape)

    def _max8(self, dst: list, src: list, attrs: dict) -> None:
        rows, keep = self._rows_and_masks(src[0])
        out = np.full((len(rows), EIGHT), -np.inf, F32)
        for p, (row, kept) in enumerate(zip(rows, keep, strict=True)):
            best = np.sort(row[kept & ~np.isnan(row)])[::-1][:EIGHT]
            out[p, : len(best)] = best
        self._write_float(dst[0], out.reshape(dst[0][1]))

    def _nc_find_index8(self, dst: list, src: list, attrs: dict) -> None:
        rows, keep = self._rows_and_masks(src[0])
        wanted = self._float(src[1]).reshape(len(rows), EIGHT)
        out = np.full(wanted.shape, np.finfo(F32).max, F32)
        for p, k in np.ndindex(*wanted.shape):
            found = np.flatnonzero(keep[p] & (rows[p] == wanted[p, k]))
            if found.size:
                out[p, k] = found[0]
        self._write_float(dst[0], out.reshape(dst[0][1]))

    def _nc_match_replace8(self, dst: list, src: list, attrs: dict) -> None:
        rows, keep = self._rows_and_masks(src[0])
        wanted = self._float(src[1]).reshape(len(rows), EIGHT)
        out, left = rows.copy(), keep.copy()
        for p, k in np.ndindex(*wanted.shape):
            found = np.flatnonzero(left[p] & (rows[p] == wanted[p, k]))
            if found.size:
                out[p, found[0]] = attrs.get("value", 0.0)
                left[p, found[0]] = False
        self._write_float(dst[0], out.reshape(dst[0][1]), keep.reshape(dst[0][1]))

    def _nc_stream_shuffle(self, dst: list, src: list, attrs: dict) -> None:
        elements = self._copied(src[0], self._dtype(dst[0][0]))
        held = self._held(src[0])
        partition = np.arange(dst[0][1][0])
        chosen = np.array(attrs["list"])[partition % QUADRANT]
        moves = chosen != KEEP
        origin = np.where(moves, partition // QUADRANT * QUADRANT + chosen, 0)
        wrote = np.broadcast_to(moves.reshape([-1] + [1] * (len(dst[0][1]) - 1)), dst[0][1])
        if held is not None:
            wrote = wrote & held[origin]
        self._write(dst[0], elements[origin], wrote)

    def _uniform(self, shape: tuple, attrs: dict) -> np.ndarray:
        def number(n: int) -> np.ndarray:
            return np.array(n % 2**64, np.uint64)

        stream = mix(number(attrs.get("seed", 0)), number(self.seed))
        stream = mix(stream, number(self.place[0] << 32 | self.place[1]))
        for loop in self.loops:
            stream = mix(stream, number(self.symbols[loop]))
        k = np.arange(math.prod(shape), dtype=np.uint64).reshape(shape)
        return (mix(stream, k) >> np.uint64(40)).astype(F32) * F32(2.0**-24)

    def _rng(self, dst: list, src: list, attrs: dict) -> None:
        self._write_float(dst[0], self._uniform(dst[0][1], attrs))

    def _dropout(self, dst: list, src: list, attrs: dict) -> None:
        dtype = self._dtype(dst[0][0])
        probability = self._vector(np.asarray(self._float(src[1])), len(dst[0][1]))
        dropped = self._uniform(dst[0][1], attrs) < probability
        zero = np.zeros((), DTYPE[dtype])
        self._write(dst[0], np.where(dropped, zero, self._copied(src[0], dtype)), self._masks(dst[0], *src))

"""Results that are wrong in a way in which kernels are wrong. No task may accept one of them.

Most replace one output of a task and leave the others right, so that each output is judged by itself. Those
that come from a changed input or weight replace all outputs: not every output depends on every input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from nkiagent_worker.reference.task import Problem

from nkiagent_bench.evaluate import Outputs, Reference

# As on the device: 128 partitions, 512 columns of a PSUM bank.
TILE_ROWS = 128
TILE_COLUMNS = 512


@dataclass
class Fake:
    """One wrong result: `outputs` in the place of the right ones. It passes if all of them pass."""

    kind: str
    outputs: Outputs


def _last_tile(extent: int, tile: int) -> slice:
    return slice((extent - 1) // tile * tile, extent)


def constants(name: str, expected: torch.Tensor) -> Iterator[Fake]:
    """Zeros, and the constants that come closest to the output."""
    yield Fake("zeros", {name: torch.zeros_like(expected)})
    values = expected.double()
    picks = {
        "mean": values.mean(),
        "median": values.median(),
        "mid-range": (values.min() + values.max()) / 2,
        "first": values.flatten()[0],
    }
    if expected.numel() == 1:  # A constant of another trial is what `other inputs` gives.
        picks = {"one": torch.tensor(1.0)}
    for label, value in picks.items():
        yield Fake(f"constant ({label})", {name: torch.full_like(expected, 0) + value.to(expected.dtype)})


def copies(name: str, expected: torch.Tensor, arguments: dict[str, torch.Tensor]) -> Iterator[Fake]:
    """Each argument that can be laid over the output."""
    for label, tensor in arguments.items():
        if tensor.shape == expected.shape:
            value = tensor
        elif tensor.numel() >= expected.numel():
            value = tensor.reshape(-1)[: expected.numel()].reshape(expected.shape)
        else:
            continue
        yield Fake(f"copy of {label}", {name: value.to(expected.dtype)})


def unfinished(name: str, expected: torch.Tensor) -> Iterator[Fake]:
    """The last tile of rows, the last tile of columns, or the last index of an axis is left at zero."""
    if expected.numel() == 1:
        return
    rows = expected.shape[0] if expected.dim() == 1 else expected.numel() // expected.shape[-1]
    columns = expected.numel() // rows
    for label, extent, tile, axis in (("rows", rows, TILE_ROWS, 0), ("columns", columns, TILE_COLUMNS, 1)):
        if extent > 1:
            value = expected.clone().reshape(rows, columns)
            value.narrow(axis, *_start_length(_last_tile(extent, tile))).zero_()
            yield Fake(f"last tile of {label} missing", {name: value.reshape(expected.shape)})
    for axis, extent in enumerate(expected.shape):
        if extent > 1:
            value = expected.clone()
            value.select(axis, extent - 1).zero_()
            yield Fake(f"last index of axis {axis} missing", {name: value})


def _start_length(where: slice) -> tuple[int, int]:
    return where.start, where.stop - where.start


def scaled(name: str, expected: torch.Tensor, narrow: bool) -> Iterator[Fake]:
    """A wrong factor, a wrong sign, a wrong offset."""
    if not expected.is_floating_point():
        yield Fake("off by one", {name: expected + 1 if expected.dtype != torch.bool else ~expected})
        return
    step = 0.1 if narrow else 0.01
    for factor in (1 - step, 1 + step, 2.0, -1.0):
        yield Fake(f"times {factor:g}", {name: expected * factor})


def shifted(name: str, expected: torch.Tensor) -> Iterator[Fake]:
    """Everything one place further along an axis; two axes of equal extent swapped."""
    for axis, extent in enumerate(expected.shape):
        if extent > 1:
            yield Fake(f"shifted along axis {axis}", {name: torch.roll(expected, 1, axis)})
    for first in range(expected.dim()):
        for second in range(first + 1, expected.dim()):
            if expected.shape[first] == expected.shape[second] > 1:
                yield Fake(f"axes {first} and {second} swapped", {name: expected.transpose(first, second)})


def one_at_a_time(kind: str, wrong: Outputs) -> Iterator[Fake]:
    """The outputs of another computation, each by itself."""
    for name, value in wrong.items():
        yield Fake(kind, {name: value})


def with_last_tile(inputs: list[Any], position: int, axis: int, source: torch.Tensor) -> list[Any]:
    """The inputs, one of them with its last tile along an axis taken from `source`."""
    tensor = inputs[position].clone()
    extent = tensor.shape[axis]
    tile = TILE_ROWS if extent > TILE_ROWS else max(1, extent // 4)
    where = (axis, *_start_length(_last_tile(extent, tile)))
    tensor.narrow(*where).copy_(source.narrow(*where))
    return [tensor if index == position else value for index, value in enumerate(inputs)]


def _equal(left: Outputs, right: Outputs) -> bool:
    return all(torch.equal(tensor, right[name]) for name, tensor in left.items())


def of_inputs(reference: Reference, inputs: list[Any], names: list[str], other: list[Any]) -> Iterator[Fake]:
    """An input of another seed; an input whose last tile is read as zeros, unless nothing depends on it."""
    right = reference.run(inputs)
    for position, value in enumerate(inputs):
        if not torch.is_tensor(value):
            continue
        replaced = [other[i] if i == position else v for i, v in enumerate(inputs)]
        yield Fake(f"{names[position]} of another seed", reference.run(replaced))
        for axis, extent in enumerate(value.shape):
            if extent == 1:
                continue
            lost = reference.run(with_last_tile(inputs, position, axis, torch.zeros_like(value)))
            if _equal(lost, right):
                changed = reference.run(with_last_tile(inputs, position, axis, other[position]))
                if _equal(changed, right):
                    continue
            yield Fake(f"last tile of {names[position]} not read along axis {axis}", lost)


def of_weights(reference: Reference, inputs: list[Any], used: set[str]) -> Iterator[Fake]:
    """A weight that is left out: zero, one, or everywhere its mean."""
    changes = {
        "zero": lambda t: torch.zeros_like(t, dtype=torch.float64),
        "one": lambda t: torch.ones_like(t, dtype=torch.float64),
        "its mean": lambda t: torch.full_like(t, float(t.double().mean()), dtype=torch.float64),
    }
    for name, tensor in reference.weights().items():
        if name not in used:
            continue
        for label, change in changes.items():
            if tensor.numel() == 1 and label == "its mean":
                continue
            try:
                wrong = reference.with_weight(name, change, inputs)
            except Problem:  # No number comes out at all, which is no way to pass.
                continue
            yield Fake(f"{name} taken for {label}", wrong)

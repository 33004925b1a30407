"""A task's reference under other seeds, weights, inputs and precisions, all in this process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from nkiagent_worker.reference import handler
from nkiagent_worker.reference.task import Entry, Task, forward
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

Outputs = dict[str, torch.Tensor]
_PARAMETER_BYTES = 1 << 30


def quiet() -> None:
    """One thread, since tasks are small and cores are shared; no warnings of PyTorch's about itself."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def describe(source: str, weight_seed: int = 0, seed: int = 0) -> dict[str, Any]:
    """What the services say about a task (reference role, `describe`). Raises its Problem."""
    fd = os.memfd_create("parameters", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, _PARAMETER_BYTES)
        return handler.describe(
            {"op": "describe", "source": source, "entry": {}, "weight_seed": weight_seed, "seed": seed}, [fd]
        )
    finally:
        os.close(fd)


class _Rounding(TorchDispatchMode):
    """Rounds every operation's result to a narrow type: what accumulating in that type costs at least."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        held = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}

        def narrow(value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
                return value
            if value.untyped_storage().data_ptr() in held:  # A view of what is rounded already, or in place.
                return value
            return value.to(self._dtype).to(torch.float32)

        return tree_map(narrow, result)


class Reference:
    """A task that has been loaded; each method is deterministic."""

    def __init__(self, source: str, weight_seed: int = 0) -> None:
        """Raises the reference role's Problem."""
        self._task = Task(source, Entry())
        self._weight_seed = weight_seed
        self.model = self._task.build(weight_seed)

    def inputs(self, seed: int) -> list[Any]:
        """The arguments of forward."""
        return self._task.inputs(seed)

    def run(self, inputs: list[Any], model: torch.nn.Module | None = None) -> Outputs:
        """The outputs, by name; `inputs` stay as they are."""
        copies = [value.clone() if isinstance(value, torch.Tensor) else value for value in inputs]
        torch.manual_seed(0)
        return {name: tensor.clone() for name, tensor in forward(model or self.model, copies).items()}

    def with_weights_of(self, weight_seed: int, inputs: list[Any]) -> Outputs | None:
        """The outputs with the weights of another seed; nothing if no weight depends on the seed."""
        other = self._task.build(weight_seed)
        pairs = zip(other.state_dict().values(), self.model.state_dict().values(), strict=True)
        if all(left.shape == right.shape and bool((left == right).all()) for left, right in pairs):
            return None
        return self.run(inputs, other)

    def weights(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers with numbers in them."""
        return {
            name: tensor
            for name, tensor in [*self.model.named_parameters(), *self.model.named_buffers()]
            if tensor.dim() > 0 and (tensor.is_floating_point() or tensor.dtype == torch.int8)
        }

    def with_weight(
        self, name: str, change: Callable[[torch.Tensor], torch.Tensor], inputs: list[Any]
    ) -> Outputs:
        """The outputs with one weight changed."""
        tensor = self.weights()[name]
        kept = tensor.detach().clone()
        try:
            with torch.no_grad():
                tensor.copy_(change(kept).to(tensor.dtype))
            return self.run(inputs)
        finally:
            with torch.no_grad():
                tensor.copy_(kept)

    def rounded(self, dtype: torch.dtype, inputs: list[Any]) -> Outputs:
        """The outputs when inputs, weights and every operation's result are rounded to `dtype`."""

        def narrow(value: Any) -> Any:
            wide = isinstance(value, torch.Tensor) and value.dtype == torch.float32
            return value.to(dtype).to(torch.float32) if wide else value

        model = self._task.build(self._weight_seed)
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                if tensor.dtype == torch.float32:
                    tensor.copy_(narrow(tensor))
        narrowed = [narrow(value) for value in inputs]
        with _Rounding(dtype):
            return self.run(narrowed, model)

    def wider(self, inputs: list[Any]) -> Outputs:
        """The outputs computed in float64 (float32 for bf16 tasks), in the types of the reference."""
        plain = self.run(inputs)
        half = any(t.dtype == torch.bfloat16 for t in [*plain.values(), *inputs] if torch.is_tensor(t))
        target = torch.float32 if half else torch.float64
        wide = [
            value.to(target) if torch.is_tensor(value) and value.is_floating_point() else value
            for value in inputs
        ]
        with _default_dtype(target):
            outputs = self.run(wide, self._task_in(target))
        return {name: outputs[name].to(tensor.dtype) for name, tensor in plain.items()}

    def _task_in(self, dtype: torch.dtype) -> torch.nn.Module:
        with _default_dtype(torch.float32):
            return self._task.build(self._weight_seed).to(dtype)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

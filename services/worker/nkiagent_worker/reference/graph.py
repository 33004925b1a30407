"""The exported graph of a module as text in the form nki.graph.v1, one node of core ATen in each line.

    graph nki.graph.v1
    input x: float32[128, 512]
    param norm_weight: float32[512]
    const c0: float32[] = 0.5
    %mean: float32[128, 1] = aten.mean.dim(%x, [-1], True)
    return %mean

Types and shapes are the reference's own. Arguments are Python literals (inf and nan included), %name
references and dtypes such as torch.float32; keyword arguments that only place a tensor (device, layout…) are
left out.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from nkiagent_worker.reference import decompositions
from nkiagent_worker.reference.task import identifier, kept_state, plain_tensors
from nkiagent_worker.reference.tensors import dtype_name

# Keyword arguments without a meaning for a kernel.
_PLACEMENT = {"device", "layout", "pin_memory", "memory_format"}
# Nodes that return their first argument.
_ALIASES = {
    "aten.lift_fresh_copy.default",
    "aten.detach.default",
    "aten.alias.default",
    "aten.lift_fresh.default",
}


class Unsupported(Exception):
    """The module has no graph that could be written down; the message is a sentence for a note."""


@dataclass
class Lifted:
    """A tensor that the graph uses beside its inputs."""

    name: str  # At the kernel boundary.
    role: str  # "parameter" or "buffer".
    reference_name: str
    tensor: torch.Tensor


@dataclass
class Graph:
    """A graph as text, with the tensors that it needs, in the order of the kernel's arguments."""

    text: str
    lifted: list[Lifted]


def export(model: torch.nn.Module, inputs: tuple[Any, ...]) -> torch.export.ExportedProgram:
    """The module as a graph of core ATen. Raises Unsupported."""
    with kept_state(model):
        try:
            return _export(model, inputs)
        except Unsupported:
            if not any(plain_tensors(module) for module in model.modules()):
                raise
    # A plain attribute that forward assigns is a memory; registered as a buffer it may be.
    for module in model.modules():
        for name, tensor in plain_tensors(module).items():
            delattr(module, name)
            module.register_buffer(name, tensor, persistent=False)
    with kept_state(model):
        return _export(model, inputs)


def _export(model: torch.nn.Module, inputs: tuple[Any, ...]) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad(), decompositions.without_value_checks():
            program = torch.export.export(model, inputs, strict=False)
            return program.run_decompositions(decompositions.table())
    except MemoryError:
        raise
    except BaseException as error:
        summary = (str(error).strip().splitlines() or [""])[0][:300]
        if isinstance(error, GuardOnDataDependentSymNode):
            raise Unsupported(
                f"what forward does, or the shape of what it computes, depends on the data: {summary}"
            ) from error
        raise Unsupported(f"torch.export fails: {type(error).__name__}: {summary}") from error


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        for extent in value.shape:
            if not isinstance(extent, int):
                raise Unsupported("its shape depends on the data")
        return f"{dtype_name(value.dtype)}[{', '.join(str(extent) for extent in value.shape)}]"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_type(item) for item in value)})"
    if value is None:
        return "None"
    raise Unsupported(f"the graph has a value of type {type(value).__name__}")


class _Writer:
    """Writes one exported program."""

    def __init__(self, program: torch.export.ExportedProgram, names: list[str]) -> None:
        self._program = program
        self._names = names
        self._taken: set[str] = set(names)
        self._text: dict[torch.fx.Node, str] = {}
        self._lines: list[str] = ["graph nki.graph.v1"]
        self._lifted: list[Lifted] = []

    def _fresh(self, wanted: str) -> str:
        name, number = identifier(wanted), 0
        while name in self._taken:
            number += 1
            name = f"{identifier(wanted)}_{number}"
        self._taken.add(name)
        return name

    def write(self) -> Graph:
        nodes = {node.name: node for node in self._program.graph.nodes if node.op == "placeholder"}
        self._write_inputs(nodes)
        self._write_lifted(nodes)
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                self._write_call(node)
            elif node.op not in ("placeholder", "output"):
                raise Unsupported(f"the graph has a node of kind {node.op}")
        results = []
        for spec in self._program.graph_signature.output_specs:
            if spec.kind == OutputKind.USER_OUTPUT:
                if isinstance(spec.arg, ConstantArgument) and spec.arg.value is None:
                    continue
                if not hasattr(spec.arg, "name") or spec.arg.name is None:
                    raise Unsupported("the module returns a constant")
                results.append(self._by_name(spec.arg.name))
        self._lines.append(f"return {', '.join(results)}")
        return Graph("\n".join(self._lines) + "\n", self._lifted)

    def _by_name(self, name: str) -> str:
        for node in self._program.graph.nodes:
            if node.name == name:
                return self._text[node]
        raise Unsupported(f"the graph returns {name}, which it doesn't compute")

    def _write_inputs(self, nodes: dict[str, torch.fx.Node]) -> None:
        specs = [s for s in self._program.graph_signature.input_specs if s.kind == InputKind.USER_INPUT]
        if len(specs) != len(self._names):
            raise Unsupported(f"the graph takes {len(specs)} inputs, the module {len(self._names)}")
        for spec, name in zip(specs, self._names, strict=True):
            node = nodes[spec.arg.name]
            self._text[node] = f"%{name}"
            value = node.meta.get("val")
            if isinstance(value, torch.Tensor):
                self._lines.append(f"input {name}: {_type(value)}")

    def _write_lifted(self, nodes: dict[str, torch.fx.Node]) -> None:
        constants = 0
        lines: dict[str, list[str]] = {"param": [], "buffer": [], "const": []}
        lifted: dict[str, list[Lifted]] = {"param": [], "buffer": []}
        for spec in self._program.graph_signature.input_specs:
            node = nodes[spec.arg.name]
            if spec.kind == InputKind.USER_INPUT or not node.users:
                continue
            target = spec.target or spec.arg.name
            if spec.kind == InputKind.PARAMETER:
                keyword, role, tensor = "param", "parameter", self._program.state_dict[target]
            elif spec.kind == InputKind.BUFFER and spec.persistent:
                keyword, role, tensor = "buffer", "buffer", self._program.state_dict[target]
            elif spec.kind in (InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
                keyword, role, tensor = "buffer", "buffer", self._program.constants[target]
            else:
                raise Unsupported(
                    "the graph has operations with effects, such as a check of their own result"
                    if spec.kind == InputKind.TOKEN
                    else f"the graph takes an input of kind {spec.kind.name}"
                )
            if spec.kind == InputKind.CONSTANT_TENSOR and tensor.dim() == 0:
                name = self._fresh(f"c{constants}")
                constants += 1
                lines["const"].append(f"const {name}: {_type(tensor)} = {tensor.item()!r}")
            else:
                name = self._fresh(target)
                lines[keyword].append(f"{keyword} {name}: {_type(tensor)}")
                lifted[keyword].append(Lifted(name, role, target, tensor.detach()))
            self._text[node] = f"%{name}"
        self._lines += lines["param"] + lines["buffer"] + lines["const"]
        self._lifted = lifted["param"] + lifted["buffer"]

    def _argument(self, value: Any) -> str:
        if isinstance(value, torch.fx.Node):
            constant = value.meta.get("val")
            if value.op == "placeholder" and not isinstance(constant, torch.Tensor):
                return repr(constant)  # A Python scalar among the inputs.
            return self._text[value]
        if isinstance(value, (list, tuple)):
            items = ", ".join(self._argument(item) for item in value)
            return f"[{items}]"
        if isinstance(value, torch.dtype):
            return str(value)
        if value is None or isinstance(value, (bool, int, float, str)):
            return repr(value)
        raise Unsupported(f"the graph has an argument of type {type(value).__name__}")

    def _write_call(self, node: torch.fx.Node) -> None:
        if node.target is operator.getitem:
            target = "getitem"
        elif isinstance(node.target, torch._ops.OpOverload):
            target = str(node.target)
        else:
            raise Unsupported(f"the graph calls {node.target}, which is no ATen operator")
        if target in _ALIASES:
            self._text[node] = self._argument(node.args[0])
            return
        if not node.users and "_assert" in target:
            return
        arguments = [self._argument(argument) for argument in node.args]
        arguments += [f"{k}={self._argument(v)}" for k, v in node.kwargs.items() if k not in _PLACEMENT]
        name = self._fresh(node.name)
        self._text[node] = f"%{name}"
        try:
            kind = _type(node.meta.get("val"))
        except Unsupported as reason:
            raise Unsupported(f"node %{name} ({target}): {reason}") from None
        self._lines.append(f"%{name}: {kind} = {target}({', '.join(arguments)})")


def write(program: torch.export.ExportedProgram, names: list[str]) -> Graph:
    """The program as text; `names` are those of its inputs, scalars included. Raises Unsupported."""
    return _Writer(program, names).write()

"""The two operations of the reference role. Requests and replies are JSON; tensors go to shared memory.

describe  {"op": "describe", "source", "entry", "weight_seed", "seed"}; one descriptor: an arena for the
          parameters
          -> {"arguments", "outputs", "signature", "graph", "folded_scalars", "notes", "slots",
              "reference_time_s", "torch_version"}; `slots` are those of the arguments that are no inputs
run       {"op": "run", "source", "entry", "weight_seed", "trials": [{"seed", "family"}], "arguments",
          "outputs", "slots"}; descriptors: the arena of the parameters, then for each trial one for the
          inputs and one for the expected outputs
          -> {"trials": [{"input_slots", "output_slots", "reference_time_s", "sensitivity"} or {"skipped"}]};
          `sensitivity`: for each output how far a rounding of the inputs moves it, families only;
          `skipped`: why a family says nothing about this task

Either may answer {"problem": {"kind", "message", "line", "traceback"}}. A lack of memory is a MemoryError.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch

from nkiagent_worker.reference import families, graph, tensors
from nkiagent_worker.reference.task import (
    Entry,
    Problem,
    Task,
    forward,
    guarded,
    identifier,
    input_names,
    out_of_memory,
)

# Threads of one child. More would only compete with other children for the same cores.
MAX_THREADS = 2


def handle(payload: bytes, fds: list[int]) -> bytes:
    """Entry point of a child."""
    request = json.loads(payload)
    torch.set_num_threads(min(MAX_THREADS, torch.multiprocessing.cpu_count()))
    try:
        reply = describe(request, fds) if request["op"] == "describe" else run(request, fds)
    except Problem as problem:
        reply = {
            "problem": {
                "kind": problem.kind,
                "message": problem.message,
                "line": problem.line,
                "traceback": problem.trace,
            }
        }
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise
    return json.dumps(reply).encode()


def _load(request: dict[str, Any]) -> tuple[Task, torch.nn.Module]:
    task = Task(request["source"], Entry(**request.get("entry", {})))
    return task, task.build(request["weight_seed"])


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Bit for bit, in type and shape too; NaN equals NaN."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    left, right = left.detach().contiguous(), right.detach().contiguous()
    return torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8))


def _check_weights(model: torch.nn.Module, again: torch.nn.Module) -> None:
    first, second = _state(model), _state(again)
    if first.keys() != second.keys():
        raise Problem("NON_DETERMINISTIC", "two constructions with the same seed have different parameters")
    for name, tensor in first.items():
        if not _same(tensor, second[name]):
            raise Problem(
                "NON_DETERMINISTIC", f"two constructions with the same seed give different values of {name}"
            )


def _state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _check_inputs(inputs: list[Any], again: list[Any], names: list[str], same_seed: bool) -> None:
    if len(inputs) != len(again):
        raise Problem("SHAPES_DEPEND_ON_SEED", "two calls for inputs return different numbers of them")
    for name, left, right in zip(names, inputs, again, strict=True):
        both = isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor)
        if both and (left.shape != right.shape or left.dtype != right.dtype):
            raise Problem(
                "NON_DETERMINISTIC" if same_seed else "SHAPES_DEPEND_ON_SEED",
                f"input {name} has shape {list(left.shape)} in one call and {list(right.shape)} in another",
            )
        if not both and (type(left) is not type(right) or left != right):
            raise Problem(
                "SHAPES_DEPEND_ON_SEED", f"input {name} is {left!r} in one call and {right!r} in another"
            )
        if both and same_seed and not _same(left, right):
            raise Problem(
                "NON_DETERMINISTIC", f"two calls with the same seed give different values of input {name}"
            )


def _check_nan(outputs: dict[str, torch.Tensor]) -> None:
    for name, tensor in outputs.items():
        if tensor.is_floating_point() and bool(torch.isnan(tensor.float()).any()):
            raise Problem("NAN_OUTPUT", f"the reference's own {name} holds NaN, so no kernel can pass")


def _copies(inputs: list[Any]) -> list[Any]:
    """A module may change its inputs in place; what is handed out must be what it was given."""
    return [value.clone() if isinstance(value, torch.Tensor) else value for value in inputs]


def describe(request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """The operation `describe`. Raises Problem."""
    task, model = _load(request)
    _check_weights(model, task.build(request["weight_seed"]))
    seed = request["seed"]
    inputs = task.inputs(seed)
    names = input_names(model, len(inputs))
    _check_inputs(inputs, task.inputs(seed), names, same_seed=True)
    _check_inputs(inputs, task.inputs(seed + 1), names, same_seed=False)
    specs = [
        tensors.make_spec(value, name, "input", name)
        for name, value in zip(names, inputs, strict=True)
        if isinstance(value, torch.Tensor)
    ]
    if not specs:
        raise Problem("BAD_INPUTS", "there is no tensor among the inputs")

    before = _copies(inputs)
    torch.manual_seed(seed)
    outputs = forward(model, inputs)
    outputs = {name: tensor.clone() for name, tensor in outputs.items()}
    torch.manual_seed(seed + 1)
    started = time.perf_counter()
    again = forward(model, _copies(before))
    elapsed = time.perf_counter() - started
    for name, tensor in outputs.items():
        if name not in again or not _same(tensor, again[name]):
            raise Problem("NON_DETERMINISTIC", f"two runs on the same inputs give different values of {name}")
    output_specs = [tensors.make_spec(tensor, name, "output") for name, tensor in outputs.items()]
    _check_nan(outputs)

    notes: list[str] = []
    if any(isinstance(a, torch.Tensor) and not _same(a, b) for a, b in zip(before, inputs, strict=True)):
        notes.append("forward changes its inputs in place; the kernel must return the outputs only")
    text, lifted = _graph(model, before, names, notes)
    argument_specs = specs + [
        tensors.make_spec(item.tensor, item.name, item.role, item.reference_name) for item in lifted
    ]
    slots = tensors.write_arena(
        fds[0], [(item.tensor, f"{item.role} {item.reference_name}") for item in lifted]
    )
    for spec in argument_specs + output_specs:
        if spec.dtype != spec.reference_dtype:
            verb = "is returned as" if spec.role == "output" else "is passed as"
            notes.append(f"{spec.name} is {spec.reference_dtype} in the module and {verb} {spec.dtype}")
        if spec.rank_zero:
            notes.append(f"{spec.name} has rank 0 in the module and shape (1,) in the kernel")
    return {
        "arguments": [spec.to_json() for spec in argument_specs],
        "outputs": [spec.to_json() for spec in output_specs],
        "signature": f"def nki_kernel({', '.join(spec.name for spec in argument_specs)}):",
        "graph": text,
        "folded_scalars": [
            {"name": name, "literal": repr(value)}
            for name, value in zip(names, inputs, strict=True)
            if not isinstance(value, torch.Tensor)
        ],
        "notes": notes,
        "slots": slots,
        "reference_time_s": elapsed,
        "torch_version": torch.__version__,
    }


def _graph(
    model: torch.nn.Module, inputs: list[Any], names: list[str], notes: list[str]
) -> tuple[str, list[graph.Lifted]]:
    """The graph and the tensors it uses; without a graph, all parameters and buffers."""
    try:
        written = guarded(
            "FORWARD_RAISES", "export", lambda: graph.write(graph.export(model, tuple(inputs)), names)
        )
        return written.text, written.lifted
    except graph.Unsupported as reason:
        notes.append(f"There is no reference graph: {reason}")
    except Problem as problem:
        if not isinstance(problem.__cause__, graph.Unsupported):
            notes.append(f"There is no reference graph: {problem.message}")
        else:
            notes.append(f"There is no reference graph: {problem.__cause__}")
    lifted: list[graph.Lifted] = []
    taken = set(names)
    for role, named in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for reference_name, tensor in named:
            name = identifier(reference_name)
            while name in taken:
                name += "_"
            taken.add(name)
            lifted.append(graph.Lifted(name, role, reference_name, tensor.detach()))
    return "", lifted


def run(request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """The operation `run`. Raises Problem."""
    task, model = _load(request)
    _check_against_arena(request, model, fds[0])
    trials = []
    for position, trial in enumerate(request["trials"]):
        arenas = fds[1 + 2 * position], fds[2 + 2 * position]
        try:
            trials.append(_run_trial(request, task, model, trial["seed"], trial["family"], arenas))
        except Problem as problem:
            if trial["family"] == families.DRAWN:
                raise
            trials.append({"skipped": problem.message})
    return {"trials": trials}


def _run_trial(
    request: dict[str, Any],
    task: Task,
    model: torch.nn.Module,
    seed: int,
    family: str,
    arenas: tuple[int, int],
) -> dict[str, Any]:
    """Inputs and expected outputs of one trial. Raises Problem; a family is skipped then."""
    inputs = task.inputs(seed)
    if family != families.DRAWN:
        if not families.has_floats(inputs):
            raise Problem("BAD_INPUTS", "no input is of a floating-point type")
        inputs = families.change(inputs, family, seed)
    names = input_names(model, len(inputs))
    given = [
        (value, name) for value, name in zip(inputs, names, strict=True) if isinstance(value, torch.Tensor)
    ]
    _check_specs(request["arguments"], [(tensor, name) for tensor, name in given], "input")
    # Before forward, which may change them in place.
    input_slots = tensors.write_arena(arenas[0], [(tensor, f"input {name}") for tensor, name in given])
    before = _copies(inputs) if family != families.DRAWN else []
    torch.manual_seed(seed)
    started = time.perf_counter()
    outputs = forward(model, inputs)
    elapsed = time.perf_counter() - started
    _check_specs(request["outputs"], [(tensor, name) for name, tensor in outputs.items()], "output")
    if family not in families.NON_FINITE:
        _check_nan(outputs)
    output_slots = tensors.write_arena(arenas[1], [(t, f"output {name}") for name, t in outputs.items()])
    reply = {"input_slots": input_slots, "output_slots": output_slots, "reference_time_s": elapsed}
    if family != families.DRAWN:
        reply["sensitivity"] = _sensitivity(model, before, outputs, seed, family)
    return reply


def _sensitivity(
    model: torch.nn.Module, inputs: list[Any], outputs: dict[str, torch.Tensor], seed: int, family: str
) -> list[float]:
    """How far each output moves when all inputs are rounded differently. Problem if forward overflows."""
    outputs = {name: tensor.clone() for name, tensor in outputs.items()}
    torch.manual_seed(seed)
    moved = forward(model, families.rounded_differently(inputs, seed))
    result = []
    for name, tensor in outputs.items():
        if not tensor.is_floating_point():
            result.append(0.0)
            continue
        left, right = tensor.double(), moved[name].double()
        finite = torch.isfinite(left) & torch.isfinite(right)
        if family not in families.NON_FINITE and not bool(finite.all()):
            raise Problem("BAD_OUTPUTS", f"forward overflows in {name}")
        move = float((left - right)[finite].abs().max()) if bool(finite.any()) else 0.0
        size = float(left[finite].square().mean().sqrt()) if bool(finite.any()) else 0.0
        if families.ROUNDINGS * move > size > 0:
            raise Problem(
                "BAD_OUTPUTS", f"rounding the inputs moves {name} by {move:.2g}, and it is {size:.2g} large"
            )
        result.append(move)
    return result


def _check_against_arena(request: dict[str, Any], model: torch.nn.Module, fd: int) -> None:
    """The weights of this process must be those that were described: the kernel gets the latter."""
    state = _state(model)
    rest = [spec for spec in request["arguments"] if spec["role"] != "input"]
    known = [
        (slot, state[spec["reference_name"]])
        for slot, spec in zip(request["slots"], rest, strict=True)
        if spec["reference_name"] in state
    ]
    if known and not tensors.equals_arena(fd, [slot for slot, _ in known], [tensor for _, tensor in known]):
        raise Problem("NON_DETERMINISTIC", "the weights differ from one process to another")


def _check_specs(specs: list[dict[str, Any]], found: list[tuple[torch.Tensor, str]], role: str) -> None:
    expected = [spec for spec in specs if spec["role"] == role]
    if len(expected) != len(found):
        raise Problem(
            "SHAPES_DEPEND_ON_SEED", f"there are {len(found)} {role}s now, {len(expected)} when described"
        )
    for spec, (tensor, name) in zip(expected, found, strict=True):
        dims = list(tensor.shape) or [1]
        if dims != spec["dims"] or tensors.dtype_name(tensor.dtype) != spec["reference_dtype"]:
            raise Problem(
                "SHAPES_DEPEND_ON_SEED",
                f"{role} {name} is {tensors.dtype_name(tensor.dtype)}{dims} for this seed, "
                f"{spec['reference_dtype']}{spec['dims']} when described",
            )

"""A task file in KernelBench style as a live module; whatever is wrong with it is a typed problem."""

from __future__ import annotations

import contextlib
import inspect
import linecache
import random
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy
import torch

T = TypeVar("T")

# The name under which a task's source appears in tracebacks.
FILE_NAME = "reference.py"
MODULE_NAME = "reference"
MAX_TRACEBACK_BYTES = 4096


class Problem(Exception):
    """Why a task can't be judged. `kind` is the name of a TaskProblemKind without its prefix."""

    def __init__(self, kind: str, message: str, line: int = 0, trace: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.line = line
        self.trace = trace


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that an allocation failed. PyTorch's CPU allocator raises RuntimeError."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in str(error) or "not enough memory" in str(error))
    )


def problem_from(kind: str, what: str, error: BaseException) -> Problem:
    """An exception of the task's own code, with the line it came from and the end of the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == FILE_NAME]
    # Our own frames above the task's say nothing to its author.
    first = frames.index(own[0]) if own else len(frames)
    lines = traceback.format_list(frames[first:]) + traceback.format_exception_only(type(error), error)
    trace = "".join(lines)
    if len(trace) > MAX_TRACEBACK_BYTES:
        trace = "…" + trace[-MAX_TRACEBACK_BYTES + 4 :]
    line = (own[-1].lineno or 0) if own else 0
    summary = "".join(traceback.format_exception_only(type(error), error)).strip()[:500]
    return Problem(kind, f"{what}: {summary}", line, trace)


def guarded(kind: str, what: str, function: Callable[[], T]) -> T:
    """Calls the task's code; whatever it raises becomes a Problem, but for a lack of memory."""
    try:
        return function()
    except Problem:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the task's doing too.
        if out_of_memory(error):
            raise MemoryError from error
        raise problem_from(kind, what, error) from error


def seed_everything(seed: int) -> None:
    """Seeds every generator that a task may draw from."""
    torch.manual_seed(seed & 0xFFFF_FFFF_FFFF_FFFF)
    random.seed(seed)
    numpy.random.seed(seed & 0xFFFF_FFFF)


@dataclass
class Entry:
    """Names of the entry points."""

    model_class: str = "Model"
    inputs_function: str = "get_inputs"
    init_inputs_function: str = "get_init_inputs"


class Task:
    """A loaded task file."""

    def __init__(self, source: str, entry: Entry) -> None:
        """Imports the source. Raises Problem."""
        try:
            code = compile(source, FILE_NAME, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 0
            text = "".join(traceback.format_exception_only(type(error), error))
            raise Problem("SYNTAX", f"the source doesn't parse: {error}", line, text) from error
        except (RecursionError, MemoryError) as error:
            raise Problem("SYNTAX", f"the source is nested too deeply: {type(error).__name__}") from error
        linecache.cache[FILE_NAME] = (len(source), None, source.splitlines(keepends=True), FILE_NAME)
        module = types.ModuleType(MODULE_NAME)
        module.__file__ = FILE_NAME
        sys.modules[MODULE_NAME] = module
        seed_everything(0)
        guarded("IMPORT", "importing the source raised", lambda: exec(code, module.__dict__))
        self._entry = entry
        self._model_class = getattr(module, entry.model_class, None)
        if not (isinstance(self._model_class, type) and issubclass(self._model_class, torch.nn.Module)):
            found = "is no torch.nn.Module" if self._model_class is not None else "does not exist"
            raise Problem("NO_MODEL", f"the class {entry.model_class} {found}")
        self._get_inputs = getattr(module, entry.inputs_function, None)
        if not callable(self._get_inputs):
            raise Problem("NO_INPUTS_FUNCTION", f"there is no function {entry.inputs_function}")
        self._get_init_inputs = getattr(module, entry.init_inputs_function, None)

    def build(self, weight_seed: int) -> torch.nn.Module:
        """The module with the weights of `weight_seed`, in evaluation mode."""
        seed_everything(weight_seed)
        arguments: Any = []
        if callable(self._get_init_inputs):
            name = self._entry.init_inputs_function
            arguments = guarded("BAD_INPUTS", f"{name} raised", self._get_init_inputs)
            if not isinstance(arguments, (list, tuple)):
                raise Problem("BAD_INPUTS", f"{name} returned {type(arguments).__name__}, not a list")
        name = self._entry.model_class
        model = guarded("CONSTRUCTOR_RAISES", f"{name}() raised", lambda: self._model_class(*arguments))
        return model.eval()

    def inputs(self, seed: int) -> list[Any]:
        """The arguments of `forward` for a trial's seed: tensors and Python scalars."""
        seed_everything(seed)
        name = self._entry.inputs_function
        inputs = guarded("BAD_INPUTS", f"{name} raised", self._get_inputs)
        if not isinstance(inputs, (list, tuple)):
            raise Problem("BAD_INPUTS", f"{name} returned {type(inputs).__name__}, not a list")
        for position, value in enumerate(inputs):
            if not isinstance(value, (torch.Tensor, bool, int, float, str, type(None))):
                raise Problem(
                    "BAD_INPUTS",
                    f"input {position} is a {type(value).__name__}, not a tensor or a Python scalar",
                )
        return list(inputs)


def plain_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Tensors that are attributes of a module without being registered as its parameters or buffers."""
    return {name: value for name, value in vars(module).items() if isinstance(value, torch.Tensor)}


@contextlib.contextmanager
def kept_state(model: torch.nn.Module) -> Iterator[None]:
    """Puts buffers and plain tensors back afterwards: every run of a module with a memory starts alike."""
    saved = [
        (owner, name, tensor.clone())
        for module in model.modules()
        for owner in (module._buffers, vars(module))
        for name, tensor in owner.items()
        if isinstance(tensor, torch.Tensor)
    ]
    try:
        yield
    finally:
        # Replaced, not overwritten: what forward returned may be the very tensor.
        for owner, name, tensor in saved:
            owner[name] = tensor


def input_names(model: torch.nn.Module, count: int) -> list[str]:
    """Names of the parameters of `forward` that `count` positional inputs bind to."""
    names: list[str] = []
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
        elif parameter.kind == parameter.VAR_POSITIONAL:
            while len(names) < count:
                names.append(f"{parameter.name}_{len(names)}")
    while len(names) < count:
        names.append(f"input_{len(names)}")
    return [identifier(name) for name in names[:count]]


def identifier(name: str) -> str:
    """The name with everything that no identifier may hold replaced by an underscore."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return text if re.match(r"[A-Za-z_]", text) else f"_{text}"


def forward(model: torch.nn.Module, inputs: list[Any]) -> dict[str, torch.Tensor]:
    """Runs `forward` and returns its outputs by name, in order. What it changes in the module is undone."""
    with torch.no_grad(), kept_state(model):
        result = guarded("FORWARD_RAISES", "forward raised", lambda: model(*inputs))
    if result is None:
        raise Problem("BAD_OUTPUTS", "forward returned NoneType, not a tensor")
    items = _flattened("output", result)
    names = [name for name, _ in items]
    if not items or len(set(names)) != len(names):
        raise Problem("BAD_OUTPUTS", "forward returned no tensors, or two of the same name")
    return dict(items)


def _flattened(name: str, value: Any) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a nested result in order, None left out. Names tell the way: output_1_0, or keys."""
    if value is None:
        return []
    if isinstance(value, torch.Tensor):
        return [(name, value)]
    items: list[tuple[str, Any]]
    if isinstance(value, dict):
        prefix = "" if name == "output" else f"{name}_"
        items = [(prefix + identifier(str(key)), entry) for key, entry in value.items()]
    elif isinstance(value, (tuple, list)):
        items = [(f"{name}_{position}", entry) for position, entry in enumerate(value)]
    else:
        what = "forward returned" if name == "output" else f"forward's {name} is"
        raise Problem("BAD_OUTPUTS", f"{what} {type(value).__name__}, not a tensor")
    return [leaf for key, entry in items for leaf in _flattened(key, entry)]

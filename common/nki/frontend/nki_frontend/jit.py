"""nki.jit and its relatives: kernels as callables."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from . import context, dtypes, torch_bridge
from .context import Options
from .errors import MissingApi, NkiError
from .tracer import TensorSpec, Traced, trace_kernel

_MODES = ("auto", "trace", "torchxla", "jax", "baremetal", "benchmark", "simulation", "profile")


# Values of platform_target: NeuronCore-v2 is what is modelled; trn2 adds the calls of NeuronCore-v3 whose
# results are known (Options.platform).
_PLATFORMS = ("trn1", "inf2", "trn2")

# Modes that run as the SDK's simulator does.
_SIMULATED = ("simulation", "trace")


def missing_attribute(module: Any, name: str) -> AttributeError:
    """The error for `nl.something` that does not exist, with the nearest names that do."""
    short = module.__name__.rsplit(".", 1)[-1]
    names = [n for n in dir(module) if not n.startswith("_")]
    error = MissingApi(f"module '{module.__name__}' (SDK 2.24) has no attribute '{name}'")
    if name.startswith("__"):
        return AttributeError(str(error))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    elsewhere = _elsewhere(short, name)
    if elsewhere:
        error.hint = f"did you mean {elsewhere}?"
    elif near:
        error.hint = f"did you mean {', '.join(near)}?"
    return error


def _elsewhere(short: str, name: str) -> str:
    import sys

    other = {"language": "isa", "isa": "language"}.get(short)
    module = sys.modules.get(f"neuronxcc.nki.{other}") if other else None
    return (
        f"{'nisa' if other == 'isa' else 'nl'}.{name}" if module is not None and name in vars(module) else ""
    )


class TensorAnnotation:
    """nt.tensor, nt.mutable_tensor: usable bare, with a shape, as in nt.tensor[128, 512], and with shape and
    dtype, as in nt.tensor[[128, 512], nl.bfloat16], which in a call stands for a tensor without contents.
    """

    def __init__(
        self,
        name: str,
        tensor_type: type,
        mutable: bool,
        shape: tuple | None = None,
        dtype: np.dtype | None = None,
    ):
        self.name = name
        self.tensor_type = tensor_type
        self.mutable = mutable
        self.shape = shape
        self.dtype = dtype

    def __getitem__(self, shape: object) -> TensorAnnotation:
        sizes, dtype = shape if isinstance(shape, tuple) else (shape,), None
        if len(sizes) == 2 and isinstance(sizes[0], (list, tuple)):
            sizes, dtype = tuple(sizes[0]), dtypes.normalize(sizes[1])
        return TensorAnnotation(self.name, self.tensor_type, self.mutable, sizes, dtype)

    def __or__(self, other: object) -> TensorAnnotation:
        return self

    __ror__ = __or__

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self.tensor_type)


def check_annotation(value: Any, annotation: Callable) -> Any:
    """`name: tensor[shape] = value` in a kernel: the shape must be the value's."""
    try:
        wanted = annotation()
    except Exception:  # noqa: BLE001  an annotation that does not evaluate says nothing
        return value
    from .memory import gathered_as
    from .tile import Tensor

    if isinstance(wanted, TensorAnnotation) and wanted.shape is not None and isinstance(value, Tensor):
        value = gathered_as(value, wanted.shape)
        value.assert_shape(wanted.shape)
    return value


class Kernel:
    """A function decorated with nki.jit."""

    is_nki_kernel = True

    def __init__(self, function: Callable, mode: str = "auto", grid: tuple = (), **options: Any):
        functools.update_wrapper(self, function)
        # No function in disguise: test runners would collect a kernel named test_... as a test.
        del self.__wrapped__
        self.__signature__ = inspect.signature(function)
        self.function = function
        self.mode = mode
        self.grid = grid
        self.options = options
        if self.platform not in _PLATFORMS:
            raise ValueError(
                f"platform_target {self.platform!r} of kernel {self.__name__} is not one of "
                f"{', '.join(_PLATFORMS)}"
            )

    def __getitem__(self, grid: object) -> Kernel:
        items = grid if isinstance(grid, (tuple, list)) else (grid,)
        sizes = tuple(int(g) for g in items)
        for g in sizes:
            if g < 1:
                raise ValueError(f"launch grid {sizes} has a dimension of size {g}")
        return Kernel(self.function, self.mode, sizes, **self.options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if context.maybe_current() is not None:
            if self.grid:
                raise NkiError(
                    "err_nested_kernel_with_spmd_grid",
                    f"kernel {self.__name__} is called with a launch grid inside another kernel",
                    hint="call it without the grid",
                )
            return self.function(*args, **kwargs)
        from .simulate import run

        return run(self, args, kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def finished(self, program: bytes) -> None:
        """Called after the program of a call has run."""

    def runs_on(self, values: tuple) -> bool:
        """Whether a call with these arguments is executed, or ends with finished()."""
        return True

    @property
    def flags(self) -> dict:
        """Marks set by the decorators of nki.compiler."""
        return getattr(self.function, "_nki_flags", {}) | getattr(self, "_nki_flags", {})

    @property
    def platform(self) -> str:
        """The `platform_target` given to the decorator."""
        return self.options.get("platform_target") or "trn1"

    @property
    def simulated(self) -> bool:
        """Whether it runs as the SDK's simulator would run it, rather than as the compiler would take it."""
        return self.mode in _SIMULATED

    def mutable_parameters(self) -> frozenset:
        """Names of parameters annotated as mutable tensors."""
        out = set()
        for name, parameter in inspect.signature(self.function).parameters.items():
            annotation = parameter.annotation
            if isinstance(annotation, TensorAnnotation) and annotation.mutable:
                out.add(name)
            elif isinstance(annotation, str) and "mutable_tensor" in annotation:
                out.add(name)
        return frozenset(out)

    def _written_parameters(self, positional: list, keywords: dict) -> frozenset:
        """Names of the tensor arguments that the kernel may write. nki.trace takes kernels of the form that
        came before results could be returned: those write into any argument.
        """
        if self.mode != "trace":
            return self.mutable_parameters()
        return frozenset(a.name for a in (*positional, *keywords.values()) if isinstance(a, TensorSpec))

    def bind(self, args: tuple, kwargs: dict) -> tuple[list, dict, list]:
        """The call's arguments with specs in place of arrays, and the arrays in the order of the program's
        inputs; those of torch tensors share their memory.
        """
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        arrays: list = []

        def spec(name: str, value: Any) -> Any:
            if torch_bridge.is_tensor(value):
                value = torch_bridge.to_numpy(value, name)
            if isinstance(value, TensorAnnotation) and value.dtype is not None:
                value = np.zeros(value.shape, value.dtype)
            if not isinstance(value, np.ndarray):
                return value
            arrays.append(value)
            return TensorSpec(name, value.shape or (1,), value.dtype)

        positional, keywords = [], {}
        for name, value in bound.arguments.items():
            parameter = bound.signature.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional.extend(spec(f"{name}{i}", v) for i, v in enumerate(value))
            elif parameter.kind is parameter.VAR_KEYWORD:
                keywords.update({k: spec(k, v) for k, v in value.items()})
            elif parameter.kind is parameter.KEYWORD_ONLY:
                keywords[name] = spec(name, value)
            else:
                positional.append(spec(name, value))
        return positional, keywords, arrays

    def trace(self, args: tuple, kwargs: dict, *, target: str = "trn1") -> Traced:
        """Traces the kernel; arrays among the arguments are taken for their shapes and dtypes."""
        positional, keywords, _ = self.bind(args, kwargs)
        return self.trace_bound(positional, keywords, target)

    def trace_bound(self, positional: list, keywords: dict, target: str = "trn1") -> Traced:
        """Traces the kernel for what bind() gave."""
        from .imported import rules_of_nki

        with rules_of_nki(self.function):
            return trace_kernel(
                self.function,
                positional,
                keywords,
                Options(target=target, grid=self.grid, platform=self.platform, simulation=self.simulated),
                name=self.__name__,
                mutable=self._written_parameters(positional, keywords),
                flags=self.flags,
            )


def decorator(mode: str, kind: type[Kernel] = Kernel) -> Callable:
    """A decorator that makes kernels of this mode, usable with and without options."""

    def decorate(function: Callable | None = None, **options: Any) -> Any:
        if function is None:
            return functools.partial(decorate, **options)
        if isinstance(function, Kernel):
            return kind(function.function, mode, function.grid, **{**function.options, **options})
        return kind(function, mode, **options)

    return decorate


def jit(func: Callable | None = None, mode: str = "auto", **kwargs: Any) -> Any:
    """Makes a function an NKI kernel. Called outside of a kernel it runs on the CPU, whatever the mode."""
    if mode not in _MODES:
        raise ValueError(f"nki.jit mode {mode!r} is not one of {', '.join(_MODES)}")
    if mode in ("benchmark", "profile"):
        from . import measure

        return getattr(measure, mode)(func, **kwargs)
    return decorator(mode)(func, **kwargs)


trace = decorator("trace")


def baremetal(kernel: Callable | None = None, **kwargs: Any) -> Any:
    """nki.baremetal: as jit."""
    return decorator("baremetal")(kernel, **kwargs)


def simulate_kernel(kernel: Callable, *args: Any, **kwargs: Any) -> Any:
    """Runs a kernel on the CPU with NumPy arrays and gives back NumPy arrays. Arguments that the kernel
    writes change in place.
    """
    if not isinstance(kernel, Kernel):
        kernel = Kernel(kernel, "trace")
    elif kernel.mode not in _SIMULATED:
        kernel = Kernel(kernel.function, "simulation", kernel.grid, **kernel.options)
    return kernel(*args, **kwargs)


class FrameworkKernel:
    """Base class of framework integrations; the methods that a framework must provide raise
    NotImplementedError.
    """

    def __init__(self, func: Callable | None = None, **kwargs: Any):
        self.func = func
        self.options = kwargs

    def translate_to_neuron_dtype(self, _dtype: object) -> np.dtype:
        """The NumPy dtype of a framework dtype."""
        return dtypes.normalize(_dtype)

    def is_framework_tensor(self, t: object) -> bool:
        """Whether an argument is a tensor of the framework."""
        raise NotImplementedError

    def map_framework_tensor(self, t: object) -> tuple:
        """(shape, dtype) of a framework tensor."""
        raise NotImplementedError

    def dump_config(self, *args: object, **kwargs: object) -> tuple:
        """Backend configuration: there is no HLO backend here."""
        raise NotImplementedError


# ---- decorators of nki.compiler ----------------------------------------------------------------------------


def _flag(name: str):
    def mark(function: Callable | None = None, *args: Any, **kwargs: Any) -> Any:
        if function is None or not callable(function):
            return mark
        flags = dict(getattr(function, "_nki_flags", {}))
        flags[name] = True
        function._nki_flags = flags
        return function

    mark.__name__ = name
    return mark


skip_middle_end_transformations = _flag("skip_middle_end_transformations")
enable_stack_allocator = _flag("enable_stack_allocator")
force_auto_alloc = _flag("force_auto_alloc")
multi_buffer = _flag("multi_buffer")


class no_reorder:  # noqa: N801  the SDK's name
    """Context that keeps instructions in order: programs here are in order already."""

    def __enter__(self) -> no_reorder:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

"""The state of one trace: open loops, recorded instructions, tensors, warnings."""

from __future__ import annotations

import dataclasses
import linecache
import re
import sys

import _nki
import numpy as np

from .errors import Diagnostic, NkiError, frame_location, user_frame
from .expr import Expr, Symbol
from .segments import Plan

# Values of the program's enums (ir/program.h).
LOCAL, INPUT, OUTPUT, CONSTANT = 0, 1, 2, 3
AFFINE, SEQUENTIAL, SPMD = 0, 1, 2
HBM, SHARED_HBM, PRIVATE_HBM, SBUF, PSUM = (
    _nki.BUFFERS[n] for n in ("hbm", "shared_hbm", "private_hbm", "sbuf", "psum")
)
OPCODE = {name: row[0] for name, row in _nki.OPCODES.items()}
OP_NAME = {number: name for name, number in OPCODE.items()}
BUFFER_NAME = {number: name for name, number in _nki.BUFFERS.items()}

# Unrolling a loop is bounded, so that a kernel can't make a program without end.
MAX_INSTRUCTIONS = 400_000


def is_hbm(buffer: int) -> bool:
    """Any of the device memory spaces."""
    return buffer <= PRIVATE_HBM


class Scope:
    """The body of a loop, or one iteration of an unrolled one. Tensors made in it die with it."""

    __slots__ = ("parent", "open", "symbol", "loc", "kind", "name", "repeated")

    def __init__(self, parent: object, symbol: object, loc: tuple, kind: object, name: str, repeated: bool):
        # A later iteration of a loop that is unrolled only because its index was needed: what the kernel
        # counts up in Python would stand at its first value in the SDK, which traces the body once.
        self.repeated = repeated or (parent is not None and parent.repeated)
        self.parent = parent
        self.open = True
        self.symbol = symbol  # of the innermost loop that stays a loop; None at kernel level
        self.loc = loc
        self.kind = kind
        self.name = name


class Buffer:
    """Storage of a tensor, or a view of another one's storage under another shape."""

    __slots__ = (
        "name",
        "buffer",
        "dtype",
        "role",
        "shape",
        "partition_axis",
        "scope",
        "base",
        "constant",
        "loc",
        "number",
        "manual",
        "declared",
        "lazy_zero",
        "mutable",
        "bits_of",
    )

    def __init__(
        self,
        name: str,
        buffer: object,
        dtype: object,
        shape: tuple,
        *,
        role: int = LOCAL,
        partition_axis: int = 0,
        scope: object = None,
        base: object = None,
        constant: bytes = b"",
        loc: tuple = (0, 0),
        declared: bool = False,
    ):
        self.name = name
        self.buffer = buffer
        self.dtype = dtype
        self.role = role
        self.shape = shape
        self.partition_axis = partition_axis
        self.scope = scope
        self.base = base
        self.constant = constant
        self.loc = loc
        self.number = -1
        self.manual = None  # (memory, placement) of the allocation API
        self.declared = declared  # by the kernel, as opposed to the result of a call
        self.lazy_zero = None  # accumulation target: place for the memset it may need
        self.mutable = False  # an argument that the kernel may write
        self.bits_of = None  # of a read-only view with another element size (bits.py): the tensor viewed

    def storage(self) -> Buffer:
        """The buffer that owns the elements."""
        owner = self
        while owner.base is not None:
            owner = owner.base
        return owner


class Instr:
    """One recorded instruction; operands are Access, Immediate tuples (value, dtype) or None."""

    __slots__ = ("op", "engine", "dst", "src", "attrs", "loc", "body", "splittable")

    def __init__(self, op: int, engine: int, dst: list, src: list, attrs: dict, loc: tuple, body: list):
        self.op = op
        self.engine = engine
        self.dst = dst
        self.src = src
        self.attrs = attrs
        self.loc = loc
        self.body = body
        self.splittable = False  # of an nl function: may become several instructions

    def touches(self, storage: Buffer) -> bool:
        """Whether it reads or writes any element of `storage`."""
        return any(
            isinstance(o, Access)
            and (
                o.buffer.storage() is storage
                or (o.indirect_buffer is not None and o.indirect_buffer.storage() is storage)
            )
            for o in self.dst + self.src
        )


class Access:
    """A tile of a buffer: `index` has one Expr for each axis of the buffer, over the dimensions of
    `shape`.
    """

    __slots__ = ("buffer", "shape", "index", "mask", "indirect_axis", "indirect_buffer", "indirect_index")

    def __init__(
        self,
        buffer: object,
        shape: tuple,
        index: tuple,
        mask: tuple = (),
        indirect_axis: int = -1,
        indirect_buffer: object = None,
        indirect_index: tuple = (),
    ):
        self.buffer = buffer
        self.shape = shape
        self.index = index
        self.mask = mask
        self.indirect_axis = indirect_axis
        self.indirect_buffer = indirect_buffer
        self.indirect_index = indirect_index

    def with_mask(self, mask: tuple) -> Access:
        """The same tile with more conditions."""
        if not mask:
            return self
        return Access(
            self.buffer,
            self.shape,
            self.index,
            self.mask + mask,
            self.indirect_axis,
            self.indirect_buffer,
            self.indirect_index,
        )


class Loop:
    """One recorded loop."""

    __slots__ = ("symbol", "kind", "start", "step", "trips", "body", "loc")

    def __init__(self, symbol: object, kind: object, start: int, step: int, trips: int, loc: tuple):
        self.symbol = symbol
        self.kind = kind
        self.start = start
        self.step = step
        self.trips = trips
        self.body: list = []
        self.loc = loc


@dataclasses.dataclass
class Options:
    """What a trace is made for."""

    target: str = "trn1"
    sdk: str = "2.24"
    grid: tuple[int, ...] = ()
    max_instructions: int = MAX_INSTRUCTIONS
    # The kernel's own `platform_target`: what of later hardware it may use. Limits stay those of `target`.
    platform: str = "trn1"
    # As nki.simulate_kernel runs a kernel: arguments that it writes are results as well, and results may lie
    # in any memory (with a warning: the compiler takes shared_hbm only).
    simulation: bool = False


_ASSIGNED = re.compile(r"^\s*([A-Za-z_]\w*)\s*(?::[^=]+)?=[^=]")
_LOOP_VARIABLE = re.compile(r"\bfor\s+([A-Za-z_]\w*)\s+in\b")


class Trace:
    """Collects one kernel's program. Made anew for each attempt when a loop has to be unrolled."""

    def __init__(self, kernel_name: str, options: Options, plan: Plan):
        self.kernel_name = kernel_name
        self.options = options
        self.plan = plan  # loops to unroll and to cut; kept over restarts
        self.open_ranges: dict = {}  # key of each open loop -> values its index may have now
        self.loop_conditions: set = set()  # positions of conditions on loop indices; kept over restarts
        self.symbols: list[Symbol] = []
        self.derived: dict = {}
        self.body: list = []
        self.bodies: list[list] = [self.body]
        self.scope: Scope | None = None
        self.loops: list[Loop] = []
        self.inputs: list[Buffer] = []
        self.outputs: list[Buffer] = []
        self.returned = 0  # outputs that the kernel returns, before those that it only writes
        self.warnings: list[Diagnostic] = []
        self.warned: set = set()
        self.names: dict[str, int] = {}
        self.program_ids: list = []  # Expr or int for each axis of the launch grid
        self.instructions = 0
        self.entry_code = None  # of the kernel function
        self.manual = False
        self.auto_alloc = False
        self.seed: int = 0
        self.random_calls = 0
        self.hbm_by_ordinal: list[Buffer] | None = None  # shared by the instances of an unrolled grid
        self.hbm_ordinal = 0
        self.zero_targets: list[Buffer] = []
        self.closed_by_break: Scope | None = None

    # ---- symbols -------------------------------------------------------------------------------------------

    def loop_symbol(self, name: str, key: object, low: int, high: int) -> Symbol:
        """A new loop index."""
        symbol = Symbol(Symbol.LOOP, name, loop=key, low=low, high=high, order=len(self.symbols))
        self.symbols.append(symbol)
        return symbol

    def derived_symbol(self, kind: int, argument: Expr, divisor: int) -> Symbol:
        """argument // divisor or argument % divisor; equal requests share one symbol."""
        key = (kind, argument.const, argument.terms, divisor)
        symbol = self.derived.get(key)
        if symbol is None:
            low, high = argument.range()
            bounds = (low // divisor, high // divisor) if kind == Symbol.FLOORDIV else (0, divisor - 1)
            name = f"({argument!r}) {'//' if kind == Symbol.FLOORDIV else '%'} {divisor}"
            symbol = Symbol(
                kind,
                name,
                argument=argument,
                divisor=divisor,
                low=bounds[0],
                high=bounds[1],
                order=len(self.symbols),
            )
            self.symbols.append(symbol)
            self.derived[key] = symbol
        return symbol

    # ---- scopes --------------------------------------------------------------------------------------------

    def open_scope(
        self, symbol: Symbol | None, loc: tuple, kind: str, name: str, repeated: bool = False
    ) -> Scope:
        """Enters a loop body."""
        inner = symbol if symbol is not None else (self.scope.symbol if self.scope else None)
        self.scope = Scope(self.scope, inner, loc, kind, name, repeated)
        return self.scope

    def close_scope(self, scope: Scope) -> None:
        """Leaves a loop body; an inner one that is still open was left by break or return."""
        if self.scope is not scope:
            raise left_early(self.scope)
        scope.open = False
        self.scope = scope.parent

    # ---- tensors -------------------------------------------------------------------------------------------

    def unique_name(self, wanted: str) -> str:
        """`wanted`, with a number behind it if it is taken."""
        n = self.names.get(wanted, 0)
        self.names[wanted] = n + 1
        return wanted if n == 0 else f"{wanted}.{n}"

    def new_buffer(
        self,
        buffer: int,
        dtype: np.dtype,
        shape: tuple,
        *,
        name: str = "",
        partition_axis: int = 0,
        declared: bool = False,
        loc: tuple | None = None,
        **kwargs,
    ) -> Buffer:
        """A new tensor in the current scope."""
        if loc is None or not name:
            frame = user_frame()
            loc = loc or frame_location(frame)
            name = name or _assigned_name(frame) or ("tile" if not is_hbm(buffer) else BUFFER_NAME[buffer])
        return Buffer(
            self.unique_name(name),
            buffer,
            dtype,
            shape,
            partition_axis=partition_axis,
            scope=self.scope,
            loc=loc,
            declared=declared,
            **kwargs,
        )

    # ---- instructions --------------------------------------------------------------------------------------

    def emit(
        self, op: str, dst: list, src: list, *, engine: int = 0, loc: tuple | None = None, **attrs
    ) -> Instr:
        """Records an instruction in the current loop body."""
        self.instructions += 1
        if self.instructions > self.options.max_instructions:
            raise NkiError(
                "err_program_too_large",
                "the kernel traces to more instructions than the toolchain accepts",
                limit=f"{self.options.max_instructions} instructions",
                actual=f"more than {self.options.max_instructions}",
                hint="use nl.affine_range or nl.sequential_range instead of Python's range for long loops",
            )
        for operand in dst + src:
            if isinstance(operand, Access):
                self._check_symbols(operand)
        body = self.bodies[-1]
        instr = Instr(OPCODE[op], engine, dst, src, attrs, loc or frame_location(user_frame()), body)
        body.append(instr)
        return instr

    def _check_symbols(self, access: Access) -> None:
        """A loop index has a value inside its loop only."""
        for e in access.index:
            e.check_open()

    # ---- findings ------------------------------------------------------------------------------------------

    def warn(self, rule: str, message: str, *, hint: str = "", loc: tuple | None = None) -> None:
        """One warning for each rule and line."""
        loc = loc or frame_location(user_frame())
        if (rule, loc[0]) not in self.warned:
            self.warned.add((rule, loc[0]))
            self.warnings.append(Diagnostic("warning", rule, message, loc[0], loc[1], hint=hint))


def left_early(scope: Scope) -> NkiError:
    """The error for a break or return out of a loop that is traced once."""
    return NkiError(
        "err_loop_exit_not_supported",
        f"loop '{scope.name}' ({scope.kind}) was left by break, return or an exception before its end",
        loc=scope.loc,
        hint="the body of nl.affine_range and nl.sequential_range is traced once for all iterations: use "
        "mask=, a smaller trip count, or nl.static_range",
    )


def _source_line(frame: object) -> str:
    return (
        linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)
        if frame is not None
        else ""
    )


def _assigned_name(frame: object) -> str:
    found = _ASSIGNED.match(_source_line(frame))
    return found.group(1) if found else ""


def loop_name(frame: object) -> str:
    """The variable of the `for` statement that a frame is at."""
    found = _LOOP_VARIABLE.search(_source_line(frame))
    return found.group(1) if found else "i"


_current: Trace | None = None


def current() -> Trace:
    """The trace under way."""
    if _current is None:
        frame = sys._getframe(1)
        raise NkiError(
            "err_nki_api_outside_of_nki_kernel",
            f"{frame.f_code.co_name} was called outside of an NKI kernel",
            hint="call it from a function decorated with @nki.jit",
        )
    return _current


def maybe_current() -> Trace | None:
    """The trace under way, or None."""
    return _current


def set_current(trace: Trace | None) -> Trace | None:
    """Installs a trace and returns the one before."""
    global _current
    previous, _current = _current, trace
    return previous

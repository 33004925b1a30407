"""Index expressions: affine functions of loop indices and of the positions inside a tile, and comparisons of
them.

An expression has a NumPy-like shape with one coefficient for each of its dimensions: `nl.arange(n)[:,
None] * 4 + i` has shape (n, 1), coefficients (4, 0) and a term for the loop index i. A loop index alone
has shape ().
"""

from __future__ import annotations

import numpy as np

from .errors import NkiError, Retrace


class Symbol:
    """A loop index, or the quotient or remainder of an affine function of them."""

    __slots__ = ("kind", "name", "loop", "argument", "divisor", "low", "high", "order", "closed")

    LOOP, FLOORDIV, MOD = 0, 1, 2

    def __init__(
        self,
        kind: object,
        name: str,
        loop: object = None,
        argument: object = None,
        divisor: int = 1,
        low: int = 0,
        high: int = 0,
        order: int = 0,
    ):
        self.kind = kind
        self.name = name
        self.loop = loop  # of a loop index: what to unroll when its value is needed
        self.argument = argument  # of a derived symbol: Expr of shape ()
        self.divisor = divisor
        self.low = low  # inclusive bounds of its value
        self.high = high
        self.order = order  # position among the program's symbols
        self.closed = False  # its loop has ended

    def loops(self) -> set:
        """The loops whose index the symbol depends on."""
        if self.kind == Symbol.LOOP:
            return {self.loop}
        return self.argument.loops()


def _is_int(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def _broadcast(a: tuple, b: tuple) -> tuple:
    if a == b:
        return a
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise NkiError(
            "err_index_shape_mismatch",
            f"index expressions of shapes {a} and {b} can't be broadcast",
            actual=f"{a} and {b}",
            hint="give every index one axis of its own, as in [:, None] and [None, :]",
        ) from None


def _spread(coefs: tuple, rank: int) -> tuple:
    return coefs if len(coefs) == rank else (0,) * (rank - len(coefs)) + coefs


class Expr:
    """constant + sum(coefficient * symbol) + sum(coefs[d] * position along dimension d)."""

    __slots__ = ("const", "terms", "shape", "coefs", "grid")
    __array_ufunc__ = None  # NumPy scalars leave arithmetic to us

    def __init__(self, const: int, terms: tuple, shape: tuple = (), coefs: tuple = (), grid: bool = False):
        self.const = const
        self.terms = terms  # ((symbol, coefficient), ...) sorted by symbol.order, no zeros
        self.shape = shape
        self.coefs = coefs
        self.grid = grid  # made by mgrid

    # ---- what it is ----------------------------------------------------------------------------------------

    def loops(self) -> set:
        """The loops whose index it depends on."""
        out: set = set()
        for symbol, _ in self.terms:
            out |= symbol.loops()
        return out

    def range(self) -> tuple[int, int]:
        """Inclusive bounds, by interval arithmetic."""
        low = high = self.const
        for symbol, k in self.terms:
            a, b = symbol.low * k, symbol.high * k
            low, high = low + min(a, b), high + max(a, b)
        for size, k in zip(self.shape, self.coefs, strict=False):
            low, high = low + min(0, k * (size - 1)), high + max(0, k * (size - 1))
        return low, high

    def check_open(self) -> None:
        """A loop index has a value inside its loop only."""
        for symbol, _ in self.terms:
            if symbol.closed:
                raise NkiError(
                    "err_local_variable_used_out_of_scope",
                    f"loop index '{symbol.name}' is used outside of its loop",
                    hint="use it inside the loop body",
                )

    def is_constant(self) -> bool:
        """True for a number in disguise."""
        return not self.terms and not any(self.coefs)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    # ---- what needs a number -------------------------------------------------------------------------------

    def _concrete(self) -> int:
        if any(k and n > 1 for k, n in zip(self.coefs, self.shape, strict=False)):
            raise NkiError(
                "err_control_flow_condition_depending_on_arange",
                "a nl.arange or nl.mgrid expression has no single value",
                hint="use mask= instead of control flow; nisa.iota makes a tile of the indices",
            )
        if self.terms:
            low, high = self.range()
            if low == high:
                return low
            self.check_open()
            raise Retrace(self.loops())
        return self.const

    __index__ = __int__ = _concrete

    def __float__(self) -> float:
        return float(self._concrete())

    def __bool__(self) -> bool:
        return bool(Predicate.compare(self, "not_equal"))

    def __hash__(self) -> int:
        return hash(self._concrete())

    def __round__(self, digits: int = 0) -> int:
        return round(self._concrete(), digits)

    def __ceil__(self) -> int:
        return self._concrete()

    __floor__ = __trunc__ = __ceil__

    # ---- arithmetic ----------------------------------------------------------------------------------------

    def _add(self, other: object, sign: int) -> Expr:
        if _is_int(other):
            return Expr(self.const + sign * int(other), self.terms, self.shape, self.coefs, self.grid)
        if not isinstance(other, Expr):
            return NotImplemented
        if other.terms:
            merged = dict(self.terms)
            for symbol, k in other.terms:
                merged[symbol] = merged.get(symbol, 0) + sign * k
            terms = tuple(sorted(((s, k) for s, k in merged.items() if k), key=lambda t: t[0].order))
        else:
            terms = self.terms
        if self.shape or other.shape:
            shape = _broadcast(self.shape, other.shape)
            rank = len(shape)
            coefs = tuple(
                a + sign * b
                for a, b in zip(_spread(self.coefs, rank), _spread(other.coefs, rank), strict=False)
            )
        else:
            shape = coefs = ()
        return Expr(self.const + sign * other.const, terms, shape, coefs, self.grid or other.grid)

    def __add__(self, other: object):
        return self._add(other, 1)

    __radd__ = __add__

    def __sub__(self, other: object):
        return self._add(other, -1)

    def __rsub__(self, other: object):
        return (self * -1)._add(other, 1)

    def __neg__(self):
        return self * -1

    def __pos__(self):
        return self

    def __mul__(self, other: object):
        if isinstance(other, Expr):
            if other.is_constant() and not other.shape:
                other = other.const
            elif self.is_constant() and not self.shape:
                return other * self.const
            else:
                return _not_affine("*", self, other)
        if isinstance(other, float) and other.is_integer():
            other = int(other)
        if not _is_int(other):
            if isinstance(other, float):
                return float(self) * other
            return NotImplemented
        other = int(other)
        if other == 0:
            return Expr(0, (), self.shape, (0,) * len(self.shape), self.grid)
        return Expr(
            self.const * other,
            tuple((s, k * other) for s, k in self.terms),
            self.shape,
            tuple(k * other for k in self.coefs),
            self.grid,
        )

    __rmul__ = __mul__

    def __floordiv__(self, other: object):
        return self._divide(other, Symbol.FLOORDIV)

    def __mod__(self, other: object):
        return self._divide(other, Symbol.MOD)

    def __divmod__(self, other: object):
        return self // other, self % other

    def __truediv__(self, other: object):
        return self._concrete() / other

    def __rtruediv__(self, other: object):
        return other / self._concrete()

    def __rfloordiv__(self, other: object):
        return other // self._concrete()

    def __rmod__(self, other: object):
        return other % self._concrete()

    def __pow__(self, other: object):
        return self._concrete() ** other

    def __rpow__(self, other: object):
        return other ** self._concrete()

    def __abs__(self):
        low, _ = self.range()
        return self if low >= 0 else abs(self._concrete())

    def __lshift__(self, other: object):
        return self * (1 << int(other))

    def __rshift__(self, other: object):
        return self // (1 << int(other))

    def __and__(self, other: object):
        return self._concrete() & other

    __rand__ = __and__

    def _divide(self, other: object, kind: int) -> Expr:
        if isinstance(other, Expr):
            other = other._concrete()
        if not _is_int(other):
            if isinstance(other, float):
                value = self._concrete()
                return value // other if kind == Symbol.FLOORDIV else value % other
            return NotImplemented
        d = int(other)
        if d == 0:
            raise ZeroDivisionError("index expression divided by zero")
        if d < 0:
            value = self._concrete()
            return value // d if kind == Symbol.FLOORDIV else value % d
        divides = all(k % d == 0 for _, k in self.terms) and all(k % d == 0 for k in self.coefs)
        if divides:
            if kind == Symbol.MOD:
                return Expr(self.const % d, (), self.shape, (0,) * len(self.shape), self.grid)
            return Expr(
                self.const // d,
                tuple((s, k // d) for s, k in self.terms),
                self.shape,
                tuple(k // d for k in self.coefs),
                self.grid,
            )
        low, high = self.range()
        if low // d == high // d:
            if kind == Symbol.MOD:
                return self - (low // d) * d
            return Expr(low // d, (), self.shape, (0,) * len(self.shape), self.grid)
        if any(self.coefs):
            return _not_affine("//" if kind == Symbol.FLOORDIV else "%", self, d)
        from .context import current

        symbol = current().derived_symbol(kind, Expr(self.const, self.terms), d)
        return Expr(0, ((symbol, 1),), self.shape, self.coefs, self.grid)

    # ---- comparisons ---------------------------------------------------------------------------------------

    def _compare(self, other: object, op: str) -> Predicate:
        if isinstance(other, float) and not other.is_integer():
            # An integer e satisfies e < 2.5 exactly if it satisfies e < 3.
            import math

            other = math.floor(other) if op in ("less_equal", "greater") else math.ceil(other)
        elif isinstance(other, float):
            other = int(other)
        if not _is_int(other) and not isinstance(other, Expr):
            return NotImplemented
        return Predicate.compare(self - other, op)

    def __lt__(self, other: object):
        return self._compare(other, "less")

    def __le__(self, other: object):
        return self._compare(other, "less_equal")

    def __gt__(self, other: object):
        return self._compare(other, "greater")

    def __ge__(self, other: object):
        return self._compare(other, "greater_equal")

    def __eq__(self, other: object):
        return self._compare(other, "equal")

    def __ne__(self, other: object):
        return self._compare(other, "not_equal")

    # ---- views ---------------------------------------------------------------------------------------------

    def __getitem__(self, subscript: object) -> Expr:
        items = subscript if isinstance(subscript, tuple) else (subscript,)
        if any(i is Ellipsis for i in items):
            at = next(n for n, i in enumerate(items) if i is Ellipsis)
            missing = len(self.shape) - sum(1 for i in items if i is not None and i is not Ellipsis)
            items = items[:at] + (slice(None),) * missing + items[at + 1 :]
        shape, coefs, const, d = [], [], self.const, 0
        for item in items:
            if item is None:
                shape.append(1)
                coefs.append(0)
                continue
            if d >= len(self.shape):
                raise NkiError(
                    "err_index_shape_mismatch",
                    f"too many indices for an index expression of shape {self.shape}",
                    limit=f"{len(self.shape)} axes",
                )
            size, k = self.shape[d], self.coefs[d]
            d += 1
            if isinstance(item, slice):
                start, stop, step = item.indices(size)
                count = len(range(start, stop, step))
                shape.append(count)
                coefs.append(k * step)
                const += k * start
            elif _is_int(item):
                if not -size <= item < size:
                    raise IndexError(f"index {item} is out of bounds for axis {d - 1} with size {size}")
                const += k * (int(item) % size)
            else:
                raise TypeError(f"an index expression can't be indexed with {type(item).__name__}")
        shape.extend(self.shape[d:])
        coefs.extend(self.coefs[d:])
        return Expr(const, self.terms, tuple(shape), tuple(coefs), self.grid)

    def __setitem__(self, subscript: object, value: object) -> None:
        raise NkiError(
            "err_cannot_assign_to_index",
            "an index expression (nl.arange, nl.mgrid) can't be assigned to",
            hint="make a tile of it with nisa.iota(expr, dtype=nl.int32) and change that",
        )

    def broadcast_to(self, shape: object) -> Expr:
        """The expression with a larger shape."""
        shape = tuple(int(s) for s in shape)
        if _broadcast(self.shape, shape) != shape:
            raise NkiError(
                "err_index_shape_mismatch", f"an index of shape {self.shape} can't be broadcast to {shape}"
            )
        return Expr(self.const, self.terms, shape, _spread(self.coefs, len(shape)), self.grid)

    def reshape(self, *shape) -> Expr:
        """Only insertion and removal of size-1 axes keep an index affine in its dimensions."""
        want = tuple(int(s) for s in (shape[0] if len(shape) == 1 and not _is_int(shape[0]) else shape))
        kept = [(n, k) for n, k in zip(self.shape, self.coefs, strict=False) if n != 1]
        if [n for n in want if n != 1] != [n for n, _ in kept]:
            return _not_affine("reshape", self, want)
        rest = iter(kept)
        coefs = tuple(0 if n == 1 else next(rest)[1] for n in want)
        return Expr(self.const, self.terms, want, coefs, self.grid)

    def __repr__(self) -> str:
        parts = [f"{k}*{s.name}" if k != 1 else s.name for s, k in self.terms]
        parts += [
            f"{k}*arange({n})@{d}" for d, (n, k) in enumerate(zip(self.shape, self.coefs, strict=False)) if k
        ]
        if self.const or not parts:
            parts.append(str(self.const))
        return " + ".join(parts)


def _not_affine(op: str, a: object, b: object):
    raise NkiError(
        "err_index_not_affine",
        f"'{op}' of ({a!r}) and ({b!r}) is not an affine index expression",
        hint="indices may be sums of loop indices and nl.arange values times constants; "
        "'//' and '%' work on loop indices with a constant divisor",
    )


_NEGATED = {
    "less": "greater_equal",
    "less_equal": "greater",
    "greater": "less_equal",
    "greater_equal": "less",
    "equal": "not_equal",
    "not_equal": "equal",
}


class Predicate:
    """Comparisons of index expressions: what masks and conditions are made of.

    `constraints` are expressions that must all be >= 0, or None where it is no conjunction of comparisons
    (`!=`, `|`); such a predicate can steer control flow but can't be a mask.
    """

    __slots__ = ("constraints", "parts", "op", "expr", "shape")
    __array_ufunc__ = None

    def __init__(self, constraints: tuple | None, parts: tuple, op: str, expr: object, shape: tuple):
        self.constraints = constraints
        self.parts = parts  # for "or" and "not": operands
        self.op = op  # comparison operator of a single comparison `expr op 0`, else "and", "or"
        self.expr = expr
        self.shape = shape

    @staticmethod
    def compare(e: Expr, op: str) -> Predicate:
        """The predicate `e op 0`."""
        constraints = {
            "less": lambda: (e * -1 - 1,),
            "less_equal": lambda: (e * -1,),
            "greater": lambda: (e - 1,),
            "greater_equal": lambda: (e,),
            "equal": lambda: (e, e * -1),
            "not_equal": lambda: None,
        }[op]()
        return Predicate(constraints, (), op, e, e.shape)

    def truth(self) -> bool | None:
        """Its value if it is the same for all values of the loop indices, else None."""
        if self.constraints is not None:
            ranges = [c.range() for c in self.constraints]
            if all(low >= 0 for low, _ in ranges):
                return True
            if any(high < 0 for _, high in ranges):
                return False
            return None
        if self.op == "not_equal":
            low, high = self.expr.range()
            if low > 0 or high < 0:
                return True
            return False if low == high == 0 else None
        values = [p.truth() for p in self.parts]
        if self.op == "or":
            return True if True in values else False if all(v is False for v in values) else None
        return False if False in values else True if all(v is True for v in values) else None

    def loops(self) -> set:
        """The loops it depends on, those left out whose part is already decided."""
        out: set = set()
        if self.parts:
            for p in self.parts:
                if p.truth() is None:
                    out |= p.loops()
            return out
        return self.expr.loops() if self.expr is not None else out

    def undecided(self) -> list:
        """The comparisons `expr op 0` that it takes to decide it."""
        if self.truth() is not None:
            return []
        if self.parts:
            return [leaf for p in self.parts for leaf in p.undecided()]
        return [(self.expr, self.op)]

    def __bool__(self) -> bool:
        if any(n > 1 for n in self.shape):
            raise NkiError(
                "err_control_flow_condition_depending_on_arange",
                "a condition depends on an nl.arange or nl.mgrid expression",
                hint="pass the comparison as mask= of the call; join comparisons with & and not with 'and'",
            )
        value = self.truth()
        if value is None:
            undecided = self.undecided()
            for e, _ in undecided:
                e.check_open()
            raise Retrace(self.loops(), undecided)
        return value

    def __and__(self, other: object):
        if isinstance(other, (bool, np.bool_)) or _is_int(other) and other in (0, 1):
            return self if other else Predicate.compare(Expr(-1, ()), "greater_equal")
        if not isinstance(other, Predicate):
            return NotImplemented
        shape = _broadcast(self.shape, other.shape)
        both = None
        if self.constraints is not None and other.constraints is not None:
            both = self.constraints + other.constraints
        return Predicate(both, (self, other), "and", None, shape)

    __rand__ = __and__

    def __or__(self, other: object):
        if isinstance(other, (bool, np.bool_)) or _is_int(other) and other in (0, 1):
            return Predicate.compare(Expr(0, ()), "greater_equal") if other else self
        if not isinstance(other, Predicate):
            return NotImplemented
        return Predicate(None, (self, other), "or", None, _broadcast(self.shape, other.shape))

    __ror__ = __or__

    def __invert__(self):
        if self.op in _NEGATED:
            return Predicate.compare(self.expr, _NEGATED[self.op])
        a, b = (~p for p in self.parts)
        return a | b if self.op == "and" else a & b

    def __eq__(self, other: object):
        if isinstance(other, (bool, np.bool_)):
            return self if other else ~self
        return NotImplemented

    __hash__ = None

    def __getitem__(self, subscript: object):
        if self.op in _NEGATED:
            return Predicate.compare(self.expr[subscript], self.op)
        raise TypeError("only a single comparison can be indexed")

    def __repr__(self) -> str:
        return f"{self.expr!r} {self.op} 0" if self.op in _NEGATED else f"{self.op}{self.parts!r}"

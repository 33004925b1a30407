"""Which loops can't stay as they are because a condition depends on their index, and where they are cut.

`if i < n:` has one value for the first n iterations and another for the rest. So the loop over i becomes two
loops of the program, each traced once with the condition decided, and no other loop changes. A condition on
several indices (`i * 128 >= j * 512`) cuts each of their loops where the condition changes for some value of
the others. That is exact for every condition, for Python values bound in a branch, and for whatever the
branches do; masks, the alternative, would make every instruction of a branch a partial write, which hides
from the checks that a tile is written whole. Where a kernel needs the very number (`range(i)`, a list index),
there is nothing to cut at and the loop is unrolled.

A trace learns of a condition when the kernel comes to it, so it starts again with the cuts known (`Retrace`).
Loops are known by source position, symbols are new in each trace: conditions are kept in terms of loop keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .errors import Retrace
from .expr import Expr, Symbol

# More conditions than this on one loop: it is unrolled. Each costs a restart of the trace.
MAX_CONDITIONS = 24
# Largest number of (iteration, values of other indices) pairs that are tried for one condition.
MAX_POINTS = 1 << 22
# Numbers beyond this could overflow when conditions are evaluated in 64 bits.
_LARGE = 1 << 40


class _Form:
    """An affine expression in terms of loop keys: hashable, and independent of any trace."""

    __slots__ = ("const", "terms")

    def __init__(self, e: Expr):
        self.const = e.const
        self.terms = tuple((_term(symbol), k) for symbol, k in e.terms)

    def identity(self) -> tuple:
        """What two equal forms have in common."""
        return (
            self.const,
            tuple((t if t[0] == "loop" else (t[0], t[1].identity(), t[2]), k) for t, k in self.terms),
        )

    def keys(self) -> set:
        """The loops it depends on."""
        out: set = set()
        for term, _ in self.terms:
            out |= {term[1]} if term[0] == "loop" else term[1].keys()
        return out

    def large(self) -> bool:
        """Whether its numbers are too large to be tried."""
        return abs(self.const) > _LARGE or any(
            abs(k) > _LARGE or (t[0] != "loop" and t[1].large()) for t, k in self.terms
        )

    def linear(self) -> bool:
        """No quotient or remainder."""
        return all(t[0] == "loop" for t, _ in self.terms)

    def value(self, env: Mapping) -> np.ndarray:
        """Its values for arrays of index values."""
        out = np.asarray(self.const, np.int64)
        for term, k in self.terms:
            if term[0] == "loop":
                v = env[term[1]]
            else:
                inner = term[1].value(env)
                v = inner // term[2] if term[0] == "//" else inner % term[2]
            out = out + v * k
        return out


def _term(symbol: Symbol) -> tuple:
    if symbol.kind == Symbol.LOOP:
        return ("loop", symbol.loop)
    return ("//" if symbol.kind == Symbol.FLOORDIV else "%", _Form(symbol.argument), symbol.divisor)


_TRUTH = {
    "less": lambda v: v < 0,
    "less_equal": lambda v: v <= 0,
    "greater": lambda v: v > 0,
    "greater_equal": lambda v: v >= 0,
    "equal": lambda v: v == 0,
    "not_equal": lambda v: v != 0,
}


class Plan:
    """What is known, over the restarts of one kernel's trace, of loops that are unrolled or cut."""

    def __init__(self) -> None:
        self.unroll: set = set()
        # key of a loop -> identity of a condition -> (form, operator)
        self._conditions: dict[object, dict] = {}
        # key of a loop -> all values its index has had, as a range
        self._ranges: dict[object, range] = {}
        # Loops that have grown since a condition was seen: its cuts may have become more.
        self._grown = False

    def entered(self, key: object, values: range) -> None:
        """Remembers a loop's values. Its bounds may differ from one time to the next, if they depend on an
        unrolled loop."""
        known = self._ranges.get(key)
        if known == values or not values:
            return
        if known is None:
            self._ranges[key] = values
            return
        step = math.gcd(known.step, values.step, known.start - values.start)
        low, high = min(known.start, values.start), max(known[-1], values[-1])
        if range(low, high + 1, step) != known:
            self._ranges[key] = range(low, high + 1, step)
            self._grown = True

    def learn(self, restart: Retrace) -> bool:
        """Takes in why a trace has ended. False if it knew that already."""
        if not restart.conditions:
            fresh = not restart.loops <= self.unroll
            self.unroll |= restart.loops
            return fresh
        fresh, self._grown = self._grown, False
        for e, op in restart.conditions:
            form = _Form(e)
            for key in form.keys():
                # Instances of a kernel are no loop that could be cut.
                if key[0] == "spmd" or form.large():
                    fresh |= key not in self.unroll
                    self.unroll.add(key)
                    continue
                known = self._conditions.setdefault(key, {})
                identity = (form.identity(), op)
                fresh |= identity not in known
                known[identity] = (form, op)
                if len(known) > MAX_CONDITIONS:
                    fresh |= key not in self.unroll
                    self.unroll.add(key)
        if not fresh:
            fresh = not restart.loops <= self.unroll
            self.unroll |= restart.loops
        return fresh

    def segments(self, key: object, values: range, around: Mapping) -> list[range] | None:
        """The parts of a loop for which each of its conditions has one value, or None for a loop that has to
        be unrolled. `around` has the values that the indices of the loops around it may have now."""
        conditions = self._conditions.get(key)
        if not conditions or len(values) == 1:
            return [values]
        cuts: set[int] = set()
        for form, op in conditions.values():
            found = self._cuts(form, op, key, values, around)
            if found is None:
                return None
            cuts |= found
        edges = [0, *sorted(cuts), len(values)]
        return [values[a:b] for a, b in zip(edges, edges[1:], strict=False)]

    def _cuts(self, form: _Form, op: str, key: object, values: range, around: Mapping) -> set[int] | None:
        # A loop around this one is itself cut at the condition: one value stands for all of its part.
        others = {k: around[k][:1] if k in around else self._ranges[k] for k in form.keys() if k != key}
        if form.linear() and len(others) == 1:
            ((other, r),) = others.items()
            others[other] = _within_reach(form, key, values, other, r)
            if not others[other]:
                return set()
        points = math.prod(len(r) for r in others.values())
        if points > MAX_POINTS or any(
            abs(v) > _LARGE for r in (values, *others.values()) for v in (r[0], r[-1])
        ):
            return None
        env = {}
        for d, (k, r) in enumerate(others.items()):
            axis = np.arange(r.start, r[-1] + 1, r.step, dtype=np.int64)
            env[k] = axis.reshape([-1 if i == d else 1 for i in range(len(others))])
        if form.linear():
            return _linear_cuts(form, op, key, values, env)
        if points * len(values) > MAX_POINTS:
            return None
        env = {k: v[np.newaxis] for k, v in env.items()}
        own = np.arange(values.start, values[-1] + 1, values.step, dtype=np.int64)
        env[key] = own.reshape(-1, *([1] * len(others)))
        truth = _TRUTH[op](form.value(env)).reshape(len(values), -1)
        return {int(t) + 1 for t in np.nonzero((truth[1:] != truth[:-1]).any(axis=1))[0]}


def _within_reach(form: _Form, key: object, values: range, other: object, r: range) -> range:
    """The values of another index for which `a * i + b * j + c` comes near zero for an i of the loop: beyond
    them the comparison is the same for all i.
    """
    a, b = (sum(k for term, k in form.terms if term[1] == loop) for loop in (key, other))
    if b == 0:
        return r
    ends = [a * v + form.const for v in (values[0], values[-1])]
    margin = abs(a * values.step)
    low, high = min(ends) - margin, max(ends) + margin
    # low <= -b * j <= high
    bounds = sorted((-low // b, -high // b))
    first = max(0, (bounds[0] - 1 - r.start) // r.step)
    last = min(len(r) - 1, (bounds[1] + 1 - r.start) // r.step + 1)
    return r[first : last + 1] if first <= last else range(0)


def _linear_cuts(form: _Form, op: str, key: object, values: range, env: dict) -> set[int]:
    """Iterations in front of which `a * i + rest op 0` changes, from where the line crosses zero: the cost
    does not depend on the trip count."""
    a = sum(k for term, k in form.terms if term[1] == key)
    rest = np.unique(form.value({**env, key: np.asarray(values.start, np.int64)}))
    slope = a * values.step
    if slope == 0:
        return set()
    if slope < 0:
        slope, rest = -slope, -rest
    # First iterations t at which slope * t + rest is >= 0, and > 0.
    reach = (slope - 1 - rest) // slope
    passed = (slope - rest) // slope
    rising = a * values.step > 0
    if op in ("equal", "not_equal"):
        found = np.concatenate([reach, passed])
    elif (op in ("less", "greater_equal")) == rising:
        found = reach
    else:
        found = passed
    return {int(t) for t in found if 0 < t < len(values)}

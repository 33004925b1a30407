"""Seeded mutations of kernel sources, for fuzz_tracer.py: of the syntax tree mostly, so that what comes out is still
a kernel, and of the text sometimes.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable

import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl

NL = [n for n in dir(nl) if not n.startswith("_")]
NISA = [n for n in dir(nisa) if not n.startswith("_")]
NUMBERS = (0, 1, 2, -1, 3, 7, 127, 128, 129, 511, 512, 513, 4096, 65537, 2**31, -(2**31), 2**63, 10**30)
LITERALS = (None, True, False, 0.5, -1e30, 1e308, float("inf"), "x", "", (), [], {}, b"", 1j)
LOOPS = ("nl.affine_range", "nl.sequential_range", "nl.static_range", "range", "reversed", "list")
CONDITIONS = ("{i} < {n}", "{i} * 128 >= {n}", "({i} > {n}) & True", "{i} % 2 == 0", "{i} // 3 != {n}", "not {i}",
              "nl.program_id(0) == {n}", "nl.arange({n}) < 2", "{i} is None", "x > {n}")  # fmt: skip
SUBSCRIPTS = ("...", ":", "None", "0", "-1", "{n}", "nl.ds({n}, {n})", "nl.arange({n})[:, None]", "0:{n}", "::2",
              "nl.arange({n})[None, :] + {n}", "nl.mgrid[0:{n}, 0:8].p", "x", "1.5", "{n}:0:-1")  # fmt: skip


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


class Mutator:
    """Makes one mutant at a time from a corpus of sources; equal seeds make equal mutants."""

    def __init__(self, corpus: list[str], seed: int):
        self._corpus = corpus
        self._random = random.Random(seed)
        self._changes: tuple[Callable[[ast.Module], None], ...] = (
            self._number, self._literal, self._number, self._name, self._attribute, self._attribute, self._keyword,
            self._argument, self._subscript, self._subscript, self._delete, self._duplicate, self._swap, self._loop,
            self._wrap, self._wrap, self._splice, self._operator, self._range,
        )  # fmt: skip

    def mutant(self) -> tuple[int, str]:
        """The next one, and which source it was made of."""
        origin = self._random.randrange(len(self._corpus))
        return origin, self._mutant(self._corpus[origin])

    def _mutant(self, source: str) -> str:
        r = self._random
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return self._text(source)
        for _ in range(r.choice((1, 1, 2, 3, 5))):
            r.choice(self._changes)(tree)
        try:
            text = ast.unparse(ast.fix_missing_locations(tree))
        except Exception:  # noqa: BLE001  a tree that no text has
            return self._text(source)
        return self._text(text) if r.random() < 0.1 else text

    # ---- what there is to change ---------------------------------------------------------------------------

    def _pick(self, tree: ast.AST, kind: type | tuple) -> ast.AST | None:
        found = [n for n in ast.walk(tree) if isinstance(n, kind)]
        return self._random.choice(found) if found else None

    def _bodies(self, tree: ast.AST) -> list[list]:
        """Statement lists inside of functions."""
        out = []
        for f in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            out.extend(n.body for n in ast.walk(f) if isinstance(getattr(n, "body", None), list) and n.body)
        return out

    def _names(self, tree: ast.AST) -> list[str]:
        return sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}) or ["x"]

    def _any_number(self) -> int:
        return self._random.choice(NUMBERS)

    # ---- changes -------------------------------------------------------------------------------------------

    def _number(self, tree: ast.Module) -> None:
        node = self._pick(tree, ast.Constant)
        if node is not None and isinstance(node.value, (int, float)):
            near = node.value + self._random.choice((-1, 1)) if isinstance(node.value, int) else -node.value
            node.value = self._random.choice((near, near, self._any_number()))

    def _literal(self, tree: ast.Module) -> None:
        node = self._pick(tree, ast.Constant)
        if node is not None:
            node.value = self._random.choice(
                tuple(v for v in LITERALS if not isinstance(v, (tuple, list, dict)))
            )

    def _name(self, tree: ast.Module) -> None:
        node = self._pick(tree, ast.Name)
        if node is not None:
            node.id = self._random.choice(self._names(tree))

    def _attribute(self, tree: ast.Module) -> None:
        node = self._pick(tree, ast.Attribute)
        if node is not None:
            node.attr = self._random.choice(self._random.choice((NL, NISA)))

    def _keyword(self, tree: ast.Module) -> None:
        call = self._pick(tree, ast.Call)
        if call is None:
            return
        if call.keywords and self._random.random() < 0.5:
            call.keywords.remove(self._random.choice(call.keywords))
        else:
            name = self._random.choice(
                ("mask", "dtype", "axis", "buffer", "engine", "op", "keepdims", "bias", "scale")
            )
            if all(k.arg != name for k in call.keywords):
                call.keywords.append(ast.keyword(name, self._value(tree)))

    def _argument(self, tree: ast.Module) -> None:
        call = self._pick(tree, ast.Call)
        if call is None:
            return
        if call.args and self._random.random() < 0.4:
            call.args.remove(self._random.choice(call.args))
        elif call.args:
            call.args[self._random.randrange(len(call.args))] = self._value(tree)
        else:
            call.args.append(self._value(tree))

    def _value(self, tree: ast.Module) -> ast.expr:
        r = self._random
        kind = r.randrange(5)
        if kind == 0:
            return _expression(repr(self._any_number()))
        if kind == 1:
            value = r.choice(LITERALS)
            return _expression("1e999" if value == float("inf") else repr(value))
        if kind == 2:
            return ast.Name(r.choice(self._names(tree)), ast.Load())
        if kind == 3:
            return _expression(f"nl.{r.choice(NL)}")
        found = self._pick(tree, ast.expr)
        return copy.deepcopy(found) if found is not None else _expression("x")

    def _subscript(self, tree: ast.Module) -> None:
        node = self._pick(tree, ast.Subscript)
        if node is not None:
            count = self._random.choice((1, 1, 2, 2, 3, 4))
            items = [self._random.choice(SUBSCRIPTS).format(n=self._any_number()) for _ in range(count)]
            node.slice = _expression(f"x[{', '.join(items)}]").slice

    def _delete(self, tree: ast.Module) -> None:
        body = self._random.choice(self._bodies(tree) or [[]])
        if len(body) > 1:
            body.pop(self._random.randrange(len(body)))

    def _duplicate(self, tree: ast.Module) -> None:
        bodies = self._bodies(tree)
        if bodies:
            source, target = self._random.choice(bodies), self._random.choice(bodies)
            target.insert(self._random.randrange(len(target) + 1), copy.deepcopy(self._random.choice(source)))

    def _swap(self, tree: ast.Module) -> None:
        body = self._random.choice(self._bodies(tree) or [[]])
        if len(body) > 1:
            a, b = self._random.randrange(len(body)), self._random.randrange(len(body))
            body[a], body[b] = body[b], body[a]

    def _loop(self, tree: ast.Module) -> None:
        node = self._pick(tree, ast.For)
        if node is not None and isinstance(node.iter, ast.Call):
            node.iter.func = _expression(self._random.choice(LOOPS))

    def _range(self, tree: ast.Module) -> None:
        node = self._pick(tree, ast.For)
        if node is not None and isinstance(node.iter, ast.Call):
            node.iter.args = [self._value(tree) for _ in range(self._random.choice((1, 1, 2, 3)))]

    def _wrap(self, tree: ast.Module) -> None:
        """Puts a statement under a condition or into a loop."""
        body = self._random.choice(self._bodies(tree) or [[]])
        if not body:
            return
        at = self._random.randrange(len(body))
        loops = [
            n.target.id for n in ast.walk(tree) if isinstance(n, ast.For) and isinstance(n.target, ast.Name)
        ]
        values = {
            "i": self._random.choice(loops or ["x"]),
            "n": self._random.choice((0, 1, 2, 3, 128, 10**9)),
        }
        if self._random.random() < 0.7:
            new: ast.stmt = ast.If(
                _expression(self._random.choice(CONDITIONS).format(**values)), [body[at]], []
            )
            if self._random.random() < 0.5:
                new.orelse = [copy.deepcopy(self._random.choice(body))]
        else:
            call = f"{self._random.choice(LOOPS)}({self._random.choice((0, 1, 2, 5, 100, 10**6))})"
            new = ast.For(ast.Name("extra", ast.Store()), _expression(call), [body[at]], [])
        body[at] = new

    def _splice(self, tree: ast.Module) -> None:
        """Takes a statement from another kernel."""
        try:
            other = ast.parse(self._random.choice(self._corpus))
        except SyntaxError:
            return
        bodies, others = self._bodies(tree), self._bodies(other)
        if bodies and others:
            target = self._random.choice(bodies)
            statement = self._random.choice(self._random.choice(others))
            target.insert(self._random.randrange(len(target) + 1), statement)

    def _operator(self, tree: ast.Module) -> None:
        node = self._pick(tree, ast.BinOp)
        if node is not None:
            kinds = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.LShift, ast.BitAnd,
                     ast.MatMult)  # fmt: skip
            node.op = self._random.choice(kinds)()

    def _text(self, source: str) -> str:
        r = self._random
        at = r.randrange(len(source) + 1)
        length = r.choice((1, 1, 3, 20))
        insert = r.choice(
            ("", "", "(", "]", ":", "\n", "\t", "\0", "é", "nl.", "0", "-", "*", "return\n    ")
        )
        return source[:at] + insert + source[at + (0 if insert else length) :]

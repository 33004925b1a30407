"""Classes of bugs as changes of a kernel's syntax tree. Each mutant has exactly one."""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_LOOPS = ("affine_range", "sequential_range", "static_range", "range")


@dataclass
class Mutant:
    """A kernel with one bug."""

    kind: str
    line: int  # In the original.
    change: str  # What was done, for people.
    source: str


def _name(node: ast.AST) -> str:
    """`load` for `nl.load(...)`."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_const(node: ast.AST, least: float) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value >= least


def _minus_one(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Constant):
        return ast.Constant(node.value - 1)
    return ast.BinOp(node, ast.Sub(), ast.Constant(1))


def lost_last_tile(node: ast.AST, _: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """A loop over tiles ends one too early."""
    if isinstance(node, ast.For) and isinstance(node.iter, ast.Call) and _name(node.iter) in _LOOPS:
        position = min(1, len(node.iter.args) - 1)
        bound = node.iter.args[position]
        if isinstance(bound, ast.Constant) and not _is_const(bound, 2):
            return
        node.iter.args[position] = _minus_one(bound)
        yield node, "the loop ends one tile early"


def wrong_tile_bound(node: ast.AST, _: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """A tile covers one row or column less than it should."""
    if isinstance(node, ast.Call) and _name(node) == "arange" and _is_const(node.args[-1], 2):
        node.args[-1] = _minus_one(node.args[-1])
        yield node, "arange is one short"
    if isinstance(node, ast.Slice) and node.upper is not None and _is_const(node.upper, 2):
        node.upper = _minus_one(node.upper)
        yield node, "a slice is one short"


def dropped_accumulation(node: ast.AST, _: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """A partial result replaces the sum so far instead of being added."""
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        target = node.target
        if isinstance(target, ast.Name):
            target = ast.Subscript(target, ast.Constant(...), ast.Store())
        yield ast.Assign([target], node.value, lineno=node.lineno), "+= became ="
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and len(node.value.args) == 2:
        target = node.targets[0]
        base = target.value if isinstance(target, ast.Subscript) else target
        first = node.value.args[0]
        read = first.value if isinstance(first, ast.Subscript) else first
        if _name(node.value) in ("add", "maximum", "minimum") and isinstance(base, ast.Name):
            if isinstance(read, ast.Name) and read.id == base.id:
                node.value = node.value.args[1]
                yield node, "the value so far is forgotten"


def swapped_axis(node: ast.AST, _: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """Two axes are taken for each other."""
    if isinstance(node, ast.Call) and _name(node) in ("nc_transpose", "transpose") and node.args:
        yield node.args[0], "a transposition is left out"
    elif isinstance(node, ast.keyword) and node.arg == "axis":
        value = node.value.elts[0] if isinstance(node.value, ast.List) and node.value.elts else node.value
        if isinstance(value, ast.Constant) and value.value in (0, 1):
            value.value = 1 - value.value
            yield node, "another axis is reduced"
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and len(node.slice.elts) >= 2:
        last = node.slice.elts[-2:]
        # As in out[i, j]: index arithmetic on both; nl.arange(n)[:, None] is no access.
        if any(isinstance(part, (ast.Slice, ast.Constant)) for part in last):
            return
        node.slice.elts[-2:] = last[::-1]
        yield node, "two subscripts are swapped"


def off_by_one_mask(node: ast.AST, _: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """A mask lets one element too many through, or one too few."""
    if not (isinstance(node, ast.keyword) and node.arg in ("mask", "pred")):
        return
    compares = [n for n in ast.walk(node.value) if isinstance(n, ast.Compare) and len(n.ops) == 1]
    flips = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
    for compare in compares:
        if type(compare.ops[0]) in flips:
            kept = compare.ops[0]
            compare.ops[0] = flips[type(kept)]()
            yield node, "the mask's comparison is off by one"
            compare.ops[0] = kept
            bound = compare.comparators[0]
            compare.comparators[0] = _minus_one(bound)
            yield node, "the mask's bound is one too low"
            compare.comparators[0] = bound


def wrong_reduction_init(node: ast.AST, _: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """A sum, maximum or minimum begins with the wrong value."""
    if not isinstance(node, ast.Call):
        return
    if _name(node) == "zeros" and node.args:
        node.func = ast.Attribute(node.func.value, "full", ast.Load())
        node.args.insert(1, ast.Constant(1.0))
        yield node, "zeros became ones"
    elif _name(node) == "full" and len(node.args) >= 2:
        value = node.args[1]
        negative = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub)
        huge = isinstance(value, ast.Attribute) and "min" in value.attr
        node.args[1] = ast.Constant(0.0) if negative or huge else ast.Constant(1.0)
        if ast.dump(value) != ast.dump(node.args[1]):
            yield node, "the initial value is wrong"


def missing_store(node: ast.AST, _: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """A result is not written: to HBM, or to the tile that gathers results."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        if _name(node.value) in ("store", "dma_copy"):
            yield ast.Pass(), "a store is left out"
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        yield ast.Pass(), "a tile is not written"


def stale_buffer(node: ast.AST, loops: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """What an earlier step left is read again: the first tile instead of this one."""
    if not (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)):
        return
    for variable in loops:
        if not any(isinstance(n, ast.Name) and n.id == variable for n in ast.walk(node.slice)):
            continue
        kept = node.slice
        node.slice = _Replace(variable).visit(copy.deepcopy(kept))
        yield node, f"{variable} is 0 in a read"
        node.slice = kept


class _Replace(ast.NodeTransformer):
    """Zero in the place of a name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def visit_Name(self, node: ast.Name) -> ast.expr:  # noqa: N802  the base class's name
        return ast.Constant(0) if node.id == self._name else node


Operator = Callable[[ast.AST, list[str]], Iterator[tuple[ast.AST, str]]]
OPERATORS: dict[str, Operator] = {
    "wrong tile bound": wrong_tile_bound,
    "lost last tile": lost_last_tile,
    "dropped accumulation": dropped_accumulation,
    "swapped axis": swapped_axis,
    "off-by-one mask": off_by_one_mask,
    "wrong reduction init": wrong_reduction_init,
    "missing store": missing_store,
    "stale buffer": stale_buffer,
}


def _sites(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, list[str]]]:
    """Every node with its parent's field (and place in it), and the loop variables around it."""

    def walk(node: ast.AST, loops: list[str]) -> Iterator[tuple[ast.AST, str, int | None, list[str]]]:
        for field, value in ast.iter_fields(node):
            inner = loops
            if isinstance(node, ast.For) and field == "body" and isinstance(node.target, ast.Name):
                inner = [*loops, node.target.id]
            children = value if isinstance(value, list) else [value]
            for place, child in enumerate(children):
                if isinstance(child, ast.AST):
                    yield node, field, place if isinstance(value, list) else None, inner
                    yield from walk(child, inner)

    yield from walk(tree, [])


def _child(parent: ast.AST, field: str, place: int | None) -> ast.AST:
    value = getattr(parent, field)
    return value if place is None else value[place]


def mutants(source: str, kind: str) -> list[Mutant]:
    """All mutants of one class, without those that come out the same."""
    operator = OPERATORS[kind]
    pristine = ast.parse(source)
    found: list[Mutant] = []
    seen = {ast.unparse(pristine)}
    for number, (parent, field, place, loops) in enumerate(_sites(pristine)):
        # Only where the operator has something to do is a tree made for it.
        if not any(True for _ in operator(copy.deepcopy(_child(parent, field, place)), loops)):
            continue
        tree = ast.parse(source)
        parent, field, place, loops = next(itertools.islice(_sites(tree), number, None))
        node = _child(parent, field, place)
        line = getattr(node, "lineno", getattr(parent, "lineno", 0))
        for changed, change in operator(node, loops):
            if place is None:
                setattr(parent, field, changed)
            else:
                getattr(parent, field)[place] = changed
            text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
            if text not in seen:
                seen.add(text)
                found.append(Mutant(kind, line, change, text + "\n"))
    return found


def spread(found: list[Mutant], most: int) -> list[Mutant]:
    """At most so many, evenly spread over the kernel."""
    if len(found) <= most:
        return found
    return [found[(2 * i + 1) * len(found) // (2 * most)] for i in range(most)]

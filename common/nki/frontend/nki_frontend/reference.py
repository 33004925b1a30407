"""What a name of the kernel language is, as text for whoever writes a kernel: signature, meaning,
operands, engines, cost, rules with their usual fixes, an example.

Everything but the hand-written notes (reference_notes.py) comes from the modules and the instruction
table themselves, so it can't say what the toolchain doesn't do.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import types
from dataclasses import dataclass, field

import _nki

from .reference_notes import NOTES
from .tile import Tensor

MAX_TEXT = 4096
MAX_SIMILAR = 8

# The usual short name of each module, in the order in which a bare name is looked for.
MODULES = {
    "nl": "neuronxcc.nki.language",
    "nisa": "neuronxcc.nki.isa",
    "nki": "neuronxcc.nki",
    "ncc": "neuronxcc.nki.compiler",
    "nt": "neuronxcc.nki.typing",
}
_SHORT = {full: short for short, full in MODULES.items()}
# Longest first, so that "nki.language.load" is not taken for an attribute of "nki".
_PREFIXES = sorted(
    [(full, full) for full in MODULES.values()]
    + [(full.removeprefix("neuronxcc."), full) for full in MODULES.values()]
    + list(MODULES.items()),
    key=lambda pair: -len(pair[0]),
)


@dataclass
class Entry:
    """An answer. `text` is empty unless `found`."""

    found: bool
    full_name: str = ""
    text: str = ""
    similar: list[str] = field(default_factory=list)


def lookup(name: str) -> Entry:
    """The entry of a name in any usual spelling: "nl.load", "nki.isa.nc_matmul(...)", "tile.reshape"."""
    wanted = name.strip().lstrip("@").partition("(")[0].strip().rstrip(".")
    for path, thing in _candidates(wanted):
        return Entry(True, path, _text(path, thing)[:MAX_TEXT])
    return Entry(False, similar=_similar(wanted))


def names() -> list[str]:
    """Every public name in its short spelling, such as "nl.load"."""
    out = [f"tensor.{member}" for member in _members(Tensor)]
    for short, full in MODULES.items():
        module = importlib.import_module(full)
        out += [f"{short}.{name}" for name in _members(module) if not inspect.ismodule(getattr(module, name))]
    return out


def _candidates(wanted: str):
    for prefix, full in _PREFIXES:
        if wanted == prefix:
            yield full, importlib.import_module(full)
        elif wanted.startswith(prefix + "."):
            yield from _attribute(full, importlib.import_module(full), wanted[len(prefix) + 1 :])
    if "." not in wanted:
        for full in MODULES.values():
            yield from _attribute(full, importlib.import_module(full), wanted)
    # Methods are asked for on whatever the tile is called.
    yield from _attribute("tensor", Tensor, wanted.rpartition(".")[2])


def _attribute(path: str, thing: object, rest: str):
    for part in rest.split("."):
        if not part or part.startswith("_"):
            return
        try:
            thing = inspect.getattr_static(thing, part) if inspect.isclass(thing) else getattr(thing, part)
        except AttributeError:
            return
        path = f"{path}.{part}"
    yield path, thing


def _members(owner: object) -> list[str]:
    return [
        name for name in dir(owner) if not name.startswith("_") and (owner is not Tensor or _is_api(name))
    ]


def _is_api(name: str) -> bool:
    """Slots of a tensor are not for kernels."""
    thing = inspect.getattr_static(Tensor, name)
    return not isinstance(thing, types.MemberDescriptorType)


def _similar(wanted: str) -> list[str]:
    last = wanted.rpartition(".")[2].lower()
    by_name: dict[str, list[str]] = {}
    for name in names():
        by_name.setdefault(name.rpartition(".")[2].lower(), []).append(name)
    near = difflib.get_close_matches(last, by_name, n=MAX_SIMILAR, cutoff=0.6)
    near += [name for name in by_name if len(last) > 2 and last in name and name not in near]
    return [full for name in near for full in by_name[name]][:MAX_SIMILAR]


def _text(path: str, thing: object) -> str:
    lines = [_signature(path, thing)]
    if doc := inspect.getdoc(thing):
        lines.append(doc.split("\n\n")[0].replace("\n", " "))
    if inspect.ismodule(thing) or inspect.isclass(thing):
        members = ", ".join(_members(thing))
        lines.append(f"members: {members}")
    module, _, name = path.rpartition(".")
    if module == MODULES["nisa"] and (row := _nki.instruction(name)):
        lines += _instruction(row)
    if note := NOTES.get(f"{_SHORT.get(module, module)}.{name}"):
        lines += [f"limit: {limit}" for limit in note.limits]
        lines += [f"error: {error}" for error in note.errors]
        lines += ["example:", *(f"    {line}" for line in note.example.strip().splitlines())]
    return "\n".join(lines) + "\n"


def _signature(path: str, thing: object) -> str:
    if isinstance(thing, property):
        return f"{path} (property)"
    if inspect.ismodule(thing):
        return f"{path} (module)"
    try:
        parameters = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return path
    shown = [p for p in parameters.parameters.values() if p.name != "self"]
    return path + str(parameters.replace(parameters=shown, return_annotation=inspect.Signature.empty))


def _instruction(row: dict) -> list[str]:
    def operand(rule: tuple) -> str:
        name, kind, memories, optional = rule
        return f"{name} ({'optional ' if optional else ''}{kind} in {memories})"

    lines = [
        f"engine: {' or '.join(row['engines'])}",
        f"operands: {', '.join(map(operand, row['src'])) or 'none'} -> {', '.join(map(operand, row['dst']))}",
        f"cost in cycles, N elements per partition: {row['cycles']}",
    ]
    lines += [f"error: {rule}; fix: {fix}" for rule, fix in row["rules"]]
    return lines

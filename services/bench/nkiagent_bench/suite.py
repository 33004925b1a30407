"""Task files, their metadata and suites on disk. What is wrong with them is a SuiteError with the file."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
LEVELS = (1, 2, 3)
SOURCES = ("kernelbench", "decomposed", "native")
_KEYS = {
    "id": str,
    "title": str,
    "level": int,
    "category": str,
    "source": str,
    "origin": str,
    "ranks": list,
    "inputs": list,
    "outputs": list,
    "atol": float,
    "rtol": float,
    "tolerance_reason": str,
}
# What `calibrate` measures; a new task comes without them.
MEASURED = ("ranks", "inputs", "outputs", "atol", "rtol", "tolerance_reason")
_ID = re.compile(r"[a-z0-9_]{1,64}")
MAX_SOURCE_BYTES = 64 << 10


class SuiteError(Exception):
    """A task or a suite on disk is not what it must be. The message names the file and the rule."""


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error."""


def _unique_mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: the key {key} is given twice")
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


# As YAML 1.2 has it (and yaml-cpp): 2e-05 is a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping. Raises SuiteError."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError as error:
        raise SuiteError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SuiteError(f"{path}: can't be read: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise SuiteError(f"{path}: holds no mapping")
    return document


@dataclass
class TaskFile:
    """A task as it lies on disk."""

    path: Path
    source: str
    meta: dict[str, Any]

    @property
    def id(self) -> str:
        """The stem of both files."""
        return self.path.stem

    @property
    def level(self) -> int:
        """1 to 3, by the folder."""
        return int(self.path.parent.name.removeprefix("level"))

    @property
    def atol(self) -> float:
        """Absolute tolerance."""
        return float(self.meta["atol"])

    @property
    def rtol(self) -> float:
        """Relative tolerance."""
        return float(self.meta["rtol"])

    @property
    def is_bf16(self) -> bool:
        """Whether a bf16 tensor is among the outputs."""
        return any(output["dtype"] == "bfloat16" for output in self.meta["outputs"])


def _check_tensor(where: str, value: Any) -> None:
    keys = {"shape", "dtype"}
    if not isinstance(value, dict) or set(value) != keys:
        raise SuiteError(f"{where} must have the keys shape and dtype")
    shape = value["shape"]
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        raise SuiteError(f"{where}: shape must be a list of positive integers")
    if not isinstance(value["dtype"], str):
        raise SuiteError(f"{where}: dtype must be a name")


def check_meta(path: Path, meta: dict[str, Any], measured: bool = True) -> None:
    """The form of a metadata file; without `measured` what calibrate fills in may lack. Raises SuiteError."""
    optional = () if measured else MEASURED
    for key, kind in _KEYS.items():
        if key not in meta:
            if key in optional:
                continue
            raise SuiteError(f"{path}: the key {key} is missing")
        value = meta[key]
        number = kind is float and type(value) in (int, float)
        if not number and type(value) is not kind:
            raise SuiteError(f"{path}: {key} must be of type {kind.__name__}, not {type(value).__name__}")
        if number and not 0 <= value < 1e9:
            raise SuiteError(f"{path}: {key} is {value}, outside 0..1e9")
        if kind is str and not value.strip():
            raise SuiteError(f"{path}: {key} is empty")
    for key in meta:
        if key not in _KEYS:
            raise SuiteError(f"{path}: unknown key {key}; known are {', '.join(_KEYS)}")
    if meta["id"] != path.stem:
        raise SuiteError(f"{path}: id is {meta['id']}, and the file's stem {path.stem}")
    if not _ID.fullmatch(meta["id"]):
        raise SuiteError(f"{path}: id {meta['id']} must match {_ID.pattern}")
    if f"level{meta['level']}" != path.parent.name:
        raise SuiteError(f"{path}: level is {meta['level']}, and the folder {path.parent.name}")
    if meta["source"] not in SOURCES:
        raise SuiteError(f"{path}: source is {meta['source']}; known are {', '.join(SOURCES)}")
    if meta["source"] == "kernelbench" and not re.match(r"KernelBench level [123], \d+_\w", meta["origin"]):
        raise SuiteError(f"{path}: origin must name the KernelBench problem, not {meta['origin']!r}")
    for key in ("inputs", "outputs"):
        for position, tensor in enumerate(meta.get(key, [])):
            _check_tensor(f"{path}: {key}[{position}]", tensor)


def check_source(path: Path, source: str) -> None:
    """What can be said of a task's source without running it. Raises SuiteError."""
    if len(source.encode()) > MAX_SOURCE_BYTES:
        raise SuiteError(f"{path}: is larger than {MAX_SOURCE_BYTES} bytes")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise SuiteError(f"{path}: doesn't parse: {error}") from error
    docstring = ast.get_docstring(tree, clean=False)
    if not docstring or "\n" in docstring:
        raise SuiteError(f"{path}: needs a module docstring of one line")
    defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    for name in ("Model", "get_inputs", "get_init_inputs"):
        if name not in defined:
            raise SuiteError(f"{path}: {name} is not defined")


def load_task(path: Path, measured: bool = True) -> TaskFile:
    """The task of a `.py` file and the metadata beside it. Raises SuiteError."""
    try:
        source = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SuiteError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: can't be read: {error}") from error
    check_source(path, source)
    meta_path = path.with_suffix(".yaml")
    meta = read_yaml(meta_path)
    check_meta(meta_path, meta, measured)
    return TaskFile(path, source, meta)


def find_tasks(root: Path = ROOT) -> dict[str, Path]:
    """Ids of all tasks under `root`/tasks to their `.py` files, by level and id. Raises SuiteError."""
    found: dict[str, Path] = {}
    problems = []
    for level in LEVELS:
        folder = root / "tasks" / f"level{level}"
        for path in sorted(folder.glob("*.py")):
            if path.stem in found:
                problems.append(f"the id {path.stem} is both {found[path.stem]} and {path}")
            found.setdefault(path.stem, path)
        for path in sorted(folder.glob("*.yaml")):
            if not path.with_suffix(".py").exists():
                problems.append(f"{path}: there is no {path.stem}.py beside it")
    if problems:
        raise SuiteError("; ".join(problems))
    if not found:
        raise SuiteError(f"{root / 'tasks'}: there are no tasks")
    return found


@dataclass
class Suite:
    """A named, fixed list of tasks."""

    name: str
    version: str
    tasks: list[str] = field(default_factory=list)


def load_suite(path: Path, known: dict[str, Path]) -> Suite:
    """A suite whose tasks are all `known`, each once. Raises SuiteError with everything that is wrong."""
    document = read_yaml(path)
    for key in ("name", "version", "tasks"):
        if key not in document:
            raise SuiteError(f"{path}: the key {key} is missing")
    if set(document) != {"name", "version", "tasks"}:
        unknown = ", ".join(sorted(set(document) - {"name", "version", "tasks"}))
        raise SuiteError(f"{path}: unknown keys: {unknown}")
    tasks = document["tasks"]
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, str) for task in tasks):
        raise SuiteError(f"{path}: tasks must be a list of ids with at least one")
    if document["name"] != path.stem:
        raise SuiteError(f"{path}: name is {document['name']}, and the file's stem {path.stem}")
    problems = [f"{task} is listed twice" for task in sorted({t for t in tasks if tasks.count(t) > 1})]
    problems += [f"there is no task {task}" for task in tasks if task not in known]
    if problems:
        raise SuiteError(f"{path}: {'; '.join(problems)}")
    return Suite(document["name"], str(document["version"]), tasks)


def find_suites(root: Path = ROOT) -> dict[str, Path]:
    """Names of the suites under `root`/suites to their files."""
    return {path.stem: path for path in sorted((root / "suites").glob("*.yaml"))}

"""Every name of the SDK's modules exists here, functions with the SDK's parameters."""

import importlib
import inspect
import pathlib
import re

import pytest

LINES = [
    line
    for line in (pathlib.Path(__file__).parent / "sdk_2_24_names.txt").read_text().splitlines()
    if not line.startswith("#")
]


def _find(path: str):
    """The object behind a dotted path, its longest prefix that is a module imported first."""
    parts = path.split(".")
    for n in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for name in parts[n:]:
            found = getattr(found, name)
        return found
    raise AssertionError(path)


@pytest.mark.parametrize("line", LINES)
def test_name(line):
    path, _, parameters = line.partition("(")
    found = _find(path)
    if not parameters:
        return
    have = inspect.signature(found).parameters
    if any(p.kind is p.VAR_POSITIONAL for p in have.values()):
        return
    wanted = [p for p in parameters.rstrip(")").split(", ") if p and not p.startswith("**")]
    keyword_only = wanted.index("*") if "*" in wanted else len(wanted)
    for position, text in enumerate(p for p in wanted if p != "*"):
        name = re.sub(r"=$", "", text)
        assert name in have, f"{path} lacks {name}"
        parameter = have[name]
        assert (parameter.default is not parameter.empty) == text.endswith("="), f"{path}: default of {name}"
        assert (parameter.kind is parameter.KEYWORD_ONLY) == (position >= keyword_only), (
            f"{path}: kind of {name}"
        )
        if position < keyword_only:
            assert list(have)[position] == name, f"{path}: order of {name}"


def test_places_that_the_samples_import_from():
    from neuronxcc.nki import isa, language
    from neuronxcc.nki.isa.constants import oob_mode
    from neuronxcc.nki.language.constants import sizeinbytes

    assert oob_mode is isa.oob_mode
    assert [sizeinbytes(t) for t in (language.float32, language.bfloat16, language.float8_e4m3)] == [4, 2, 1]

"""docs/errors.md names every rule that the tracer reports."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[4]


def test_error_page_names_every_rule():
    page = (ROOT / "docs" / "errors.md").read_text()
    named = set(re.findall(r"(?:err|warn)_[a-z0-9_]+", page))
    frontend = ROOT / "common" / "nki" / "frontend"
    used = set()
    for folder in ("nki_frontend", "neuronxcc"):
        for file in (frontend / folder).rglob("*.py"):
            used |= set(re.findall(r"\"((?:err|warn)_[a-z0-9_]+)\"", file.read_text()))
    assert used
    assert used <= named, sorted(used - named)

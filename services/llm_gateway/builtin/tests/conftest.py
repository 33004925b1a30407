"""Makes the worker's printer of reference graphs and the tests' own harness importable."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
for path in (HERE, HERE.parents[2] / "worker"):
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))

"""Makes the frontend's packages importable also where the test runs from the source tree alone."""

import pathlib
import sys

FRONTEND = pathlib.Path(__file__).resolve().parents[1]
for path in (FRONTEND,):
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))

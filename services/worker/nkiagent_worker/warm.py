"""What the mains of Python warm parents share: the jail, then imports, then a child for each request."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

Handler = Callable[[bytes, list[int]], bytes]


@dataclass
class Role:
    """What the children of one parent do."""

    handle: Handler
    # Runs in each child before its request is known: whatever it touches then costs the request nothing.
    prepare: Callable[[], None] | None = None


def readonly_paths() -> list[str]:
    """Folders that imports need: the interpreter's prefixes and everything on sys.path."""
    # Without PYTHONSAFEPATH the first entry is the folder in which the service happens to have been started.
    search = sys.path if sys.flags.safe_path else sys.path[1:]
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, *search}
    return sorted(path for path in paths if os.path.isabs(path) and path != "/")


def run_parent(policy: str, load: Callable[[], Role]) -> None:
    """Serves requests until the service goes away.

    Args:
      policy: System call policy of the children: "python" or "torch".
      load: Imports what the handler needs and returns the role. It runs once, in the parent, inside the
        jail, and must leave no thread behind.
    """
    import nki_sandbox

    server = nki_sandbox.connect(policy, readonly_paths())
    role = load()
    # What exists now lives as long as the parent. Frozen, it is never visited by a child's collector, whose
    # marks would copy every page.
    gc.collect()
    gc.freeze()
    server.serve(role.handle, role.prepare)

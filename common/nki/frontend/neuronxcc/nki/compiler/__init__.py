"""neuronxcc.nki.compiler: decorators and the allocation API. Placements are checked; what a kernel
computes does not depend on them.
"""

import sys as _sys

from nki_frontend.jit import (
    enable_stack_allocator,
    force_auto_alloc,
    multi_buffer,
    no_reorder,
    skip_middle_end_transformations,
)
from nki_frontend.jit import (
    missing_attribute as _missing,
)

from . import psum, sbuf

__all__ = [
    "enable_stack_allocator",
    "force_auto_alloc",
    "multi_buffer",
    "no_reorder",
    "psum",
    "sbuf",
    "skip_middle_end_transformations",
]


def __getattr__(name):
    raise _missing(_sys.modules[__name__], name)

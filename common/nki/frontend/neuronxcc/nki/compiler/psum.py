"""neuronxcc.nki.compiler.psum: where a tensor lies in PSUM."""

from nki_frontend.context import PSUM as _PSUM
from nki_frontend.placement import auto_alloc as _auto_alloc
from nki_frontend.placement import psum_alloc as alloc
from nki_frontend.placement import psum_mod_alloc as mod_alloc


def auto_alloc():
    """Leaves the place to the compiler."""
    return _auto_alloc(_PSUM)


__all__ = ["alloc", "auto_alloc", "mod_alloc"]

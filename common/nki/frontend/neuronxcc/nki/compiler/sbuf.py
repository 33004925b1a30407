"""neuronxcc.nki.compiler.sbuf: where a tensor lies in SBUF."""

from nki_frontend.context import SBUF as _SBUF
from nki_frontend.placement import auto_alloc as _auto_alloc
from nki_frontend.placement import sbuf_alloc as alloc
from nki_frontend.placement import sbuf_mod_alloc as mod_alloc


def auto_alloc():
    """Leaves the place to the compiler."""
    return _auto_alloc(_SBUF)


__all__ = ["alloc", "auto_alloc", "mod_alloc"]

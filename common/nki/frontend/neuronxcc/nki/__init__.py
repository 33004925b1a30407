"""neuronxcc.nki of Neuron SDK 2.24, backed by the tracer in nki_frontend."""

from nki_frontend.jit import FrameworkKernel, baremetal, jit, simulate_kernel, trace
from nki_frontend.measure import benchmark, profile
from nki_frontend.tile import Tensor as tensor

from . import compiler, isa, language, typing

__all__ = [
    "FrameworkKernel",
    "baremetal",
    "benchmark",
    "compiler",
    "isa",
    "jit",
    "language",
    "profile",
    "simulate_kernel",
    "tensor",
    "trace",
    "typing",
]

"""neuronxcc.nki.language of Neuron SDK 2.24."""

# ruff: noqa: F401

import sys as _sys

import numpy as _np

from nki_frontend import operators as _operators  # noqa: F401  (gives tensors their operators)
from nki_frontend.dtypes import bfloat16, float8_e4m3, float8_e5m2, tfloat32
from nki_frontend.index_ranges import arange, mgrid
from nki_frontend.jit import missing_attribute as _missing
from nki_frontend.language_ops import FUNCTIONS as _FUNCTIONS
from nki_frontend.language_ops import Fp32 as fp32
from nki_frontend.language_ops import NeuronCores as nc
from nki_frontend.language_ops import SpmdDim as spmd_dim
from nki_frontend.language_ops import TileSize as tile_size
from nki_frontend.loops import affine_range, sequential_range, static_range
from nki_frontend.memory import ParDim as par_dim
from nki_frontend.placement import hbm, private_hbm, psum, sbuf, shared_hbm
from nki_frontend.tile import Tensor as tensor

float32 = float32r = _np.float32
float16 = _np.float16
int8, int16, int32 = _np.int8, _np.int16, _np.int32
uint8, uint16, uint32 = _np.uint8, _np.uint16, _np.uint32
bool_ = _np.bool_

globals().update(_FUNCTIONS)

__all__ = sorted([n for n in globals() if not n.startswith("_")])


def __getattr__(name):
    raise _missing(_sys.modules[__name__], name)

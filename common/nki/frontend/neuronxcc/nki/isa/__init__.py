"""neuronxcc.nki.isa of Neuron SDK 2.24."""

# ruff: noqa: F401

import sys as _sys

from nki_frontend import operators as _operators  # noqa: F401
from nki_frontend.arguments import checked as _checked
from nki_frontend.isa_common import DgeMode as dge_mode
from nki_frontend.isa_common import Engine as engine
from nki_frontend.isa_common import NcVersion as nc_version
from nki_frontend.isa_common import OobMode as oob_mode
from nki_frontend.isa_common import ReduceCmd as reduce_cmd
from nki_frontend.isa_compute import (
    activation,
    activation_reduce,
    bn_aggr,
    bn_stats,
    nc_matmul,
    nc_transpose,
    reciprocal,
    scalar_tensor_tensor,
    tensor_copy,
    tensor_partition_reduce,
    tensor_reduce,
    tensor_scalar,
    tensor_scalar_reduce,
    tensor_tensor,
    tensor_tensor_scan,
)
from nki_frontend.isa_data import (
    affine_select,
    builtin_custom_op,
    dma_copy,
    dma_transpose,
    dropout,
    get_nc_version,
    iota,
    local_gather,
    max8,
    memset,
    nc_find_index8,
    nc_match_replace8,
    nc_stream_shuffle,
    range_select,
    tensor_copy_dynamic_dst,
    tensor_copy_dynamic_src,
    tensor_copy_predicated,
)
from nki_frontend.jit import missing_attribute as _missing
from nki_frontend.language_ops import Fp32 as fp32

for _name, _function in list(globals().items()):
    if _function.__class__.__name__ == "function" and not _name.startswith("_"):
        globals()[_name] = _checked(_function)
sb_transpose = globals()["nc_transpose"]  # its old name
tensor_engine = engine.tensor
vector_engine = engine.vector
scalar_engine = engine.scalar
gpsimd_engine = engine.gpsimd
dma_engine = engine.dma
unknown_engine = engine.unknown

__all__ = sorted(n for n in globals() if not n.startswith("_"))


def __getattr__(name):
    raise _missing(_sys.modules[__name__], name)

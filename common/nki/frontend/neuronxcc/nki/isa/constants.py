"""Where kernels of the SDK's samples (aws-neuron/nki-samples) import these names of nisa from."""

from nki_frontend.isa_common import DgeMode as dge_mode  # noqa: F401
from nki_frontend.isa_common import OobMode as oob_mode  # noqa: F401

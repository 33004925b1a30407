"""What kernels of the SDK's samples (aws-neuron/nki-samples) import from here."""

from nki_frontend.dtypes import normalize


def sizeinbytes(dtype: object) -> int:
    """Bytes of one element."""
    return normalize(dtype).itemsize

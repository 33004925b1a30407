"""neuronxcc.nki.typing: annotations of tensors in kernels."""

from nki_frontend.jit import TensorAnnotation as _TensorAnnotation
from nki_frontend.tile import Tensor as _Tensor

tensor = _TensorAnnotation("tensor", _Tensor, mutable=False)
mutable_tensor = _TensorAnnotation("mutable_tensor", _Tensor, mutable=True)
scalar = (int, float)

__all__ = ["mutable_tensor", "scalar", "tensor"]

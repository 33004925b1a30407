"""Package layout of the Neuron compiler, as far as NKI kernels import it."""

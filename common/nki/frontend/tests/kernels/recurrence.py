"""A recurrent cell: a state outside of a sequential loop, changed in every iteration."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x, weight):
    steps, batch, width = x.shape
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    w = nl.load(weight)
    state = nl.zeros((batch, width), dtype=nl.float32)
    for t in nl.sequential_range(steps):
        turned = nl.transpose(state)
        state[...] = nl.tanh(nl.add(nl.matmul(turned, w, transpose_x=True), nl.load(x[t])))
        nl.store(out[t], state)
    return out


def inputs(rng):
    return [
        rng.standard_normal((6, 16, 32), dtype=np.float32),
        rng.standard_normal((32, 32), dtype=np.float32) * 0.1,
    ]


def reference(x, weight):
    state, out = np.zeros(x.shape[1:], np.float32), []
    for step in x:
        state = np.tanh(state @ weight + step)
        out.append(state)
    return np.stack(out)

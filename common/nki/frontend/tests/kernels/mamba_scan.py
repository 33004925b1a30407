"""Fused selective scan: an exponential decay, a scan along the sequence, a sum over states."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(delta, u, a, b, c):
    batch, channels, seq = delta.shape
    states = a.shape[1]
    out = nl.ndarray(delta.shape, dtype=delta.dtype, buffer=nl.shared_hbm)
    for n in nl.affine_range(batch):
        for g in nl.affine_range(channels // 128):
            rows = nl.ds(g * 128, 128)
            total = nl.zeros((128, seq), dtype=nl.float32)
            d = nl.load(delta[n, rows, :])
            x = nl.load(u[n, rows, :])
            for s in nl.sequential_range(states):
                decay = nisa.activation(nl.exp, d, scale=nl.load(a[rows, s]))
                push = nisa.tensor_tensor(
                    nisa.tensor_tensor(d, x, op=nl.multiply),
                    nl.load(b[n, s : s + 1, :]).broadcast_to((128, seq)),
                    op=nl.multiply,
                )
                state = nisa.tensor_tensor_scan(decay, push, initial=0, op0=np.multiply, op1=np.add)
                gain = nl.load(c[n, s : s + 1, :]).broadcast_to((128, seq))
                total += nisa.tensor_tensor(state, gain, op=nl.multiply)
            nl.store(out[n, rows, :], total)
    return out


def inputs(rng):
    return [
        rng.random((1, 256, 64), dtype=np.float32) * 0.1,
        rng.standard_normal((1, 256, 64), dtype=np.float32),
        -rng.random((256, 4), dtype=np.float32),
        rng.standard_normal((1, 4, 64), dtype=np.float32),
        rng.standard_normal((1, 4, 64), dtype=np.float32),
    ]


def reference(delta, u, a, b, c):
    out = np.zeros_like(delta)
    state = np.zeros(delta.shape[:2] + a.shape[1:], dtype=np.float32)
    for t in range(delta.shape[2]):
        d = delta[:, :, t, None]
        state = np.exp(d * a[None]) * state + d * u[:, :, t, None] * b[:, None, :, t]
        out[:, :, t] = (state * c[:, None, :, t]).sum(axis=-1)
    return out

"""Matrix product in tiles of 128 x 128 x 512, ragged edges masked, sums in PSUM."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(a, b):
    m, k = a.shape
    _, n = b.shape
    out = nl.ndarray((m, n), dtype=a.dtype, buffer=nl.shared_hbm)
    i_p = nl.arange(128)[:, None]
    i_k = nl.arange(128)[None, :]
    i_n = nl.arange(n)[None, :]
    for row in nl.affine_range((m + 127) // 128):
        product = nl.zeros((128, n), dtype=nl.float32, buffer=nl.psum)
        for step in nl.affine_range((k + 127) // 128):
            # Zeros beyond the edge add nothing.
            left = nl.zeros((128, 128), dtype=a.dtype, buffer=nl.sbuf)
            left[i_p, i_k] = nl.load(
                a[row * 128 + i_p, step * 128 + i_k],
                mask=((row * 128 + i_p < m) & (step * 128 + i_k < k)),
            )
            right = nl.zeros((128, n), dtype=b.dtype, buffer=nl.sbuf)
            right[i_p, i_n] = nl.load(b[step * 128 + i_p, i_n], mask=(step * 128 + i_p < k))
            turned = nl.copy(nisa.nc_transpose(left))
            product += nisa.nc_matmul(turned, right)
        result = nl.copy(product, dtype=a.dtype)
        nl.store(out[row * 128 + i_p, i_n], value=result, mask=(row * 128 + i_p < m))
    return out

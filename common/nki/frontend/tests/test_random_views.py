"""Random chains of views of tiles and HBM tensors against NumPy: what a subscript or a reshape selects."""

import math
import random

import numpy as np
import pytest
from harness import HEAD, rules, run, trace

P = 16


def _step(rng: random.Random, shape: tuple, on_chip: bool) -> str:
    """One more view of something with `shape`, as text behind its name."""
    first = 1 if on_chip else 0
    kind = rng.choice(["slice", "slice", "index", "reshape", "expand", "advanced"])
    if kind == "slice":
        parts = [":"] * first
        for n in shape[first:]:
            a = rng.randrange(n)
            b = rng.randrange(a + 1, n + 1)
            parts.append(rng.choice([":", f"{a}:{b}", f"{a}:{b}:{rng.randint(1, 3)}", f"-{n - a}:{b}"]))
        return f"[{', '.join(parts)}]"
    if kind == "index" and len(shape) > 2:
        axis = rng.randrange(first, len(shape))
        parts = [str(rng.randrange(n)) if d == axis else ":" for d, n in enumerate(shape)]
        return f"[{', '.join(parts)}]"
    if kind == "reshape":
        total = math.prod(shape[first:])
        factors = [f for f in (2, 3, 4, 5, 6) if total % f == 0]
        inner = rng.choice(factors) if factors else 1
        new = (*shape[:first], total // inner, inner) if rng.random() < 0.6 else (*shape[:first], total)
        return f".reshape({new})" if len(new) > 1 else f".reshape({new + (1,)})"
    if kind == "expand" and len(shape) < 4:
        axis = rng.randrange(1, len(shape) + 1)
        new = (*shape[:axis], 1, *shape[axis:])
        return f".reshape({new})"
    if kind == "advanced" and len(shape) >= 2:
        sizes = [n if d < first else rng.randint(1, n) for d, n in enumerate(shape)]
        steps = [
            1 if d < first else rng.randint(1, max(1, n // s))
            for d, (n, s) in enumerate(zip(shape, sizes, strict=True))
        ]
        grid = ", ".join(f"0:{s}" for s in sizes)
        index = ", ".join(f"np.mgrid[{grid}][{d}] * {k}" for d, k in enumerate(steps))
        return f"[{index}]"
    return "[...]"


def _chain(seed: int, shape: tuple, on_chip: bool) -> tuple[str, np.ndarray]:
    rng = random.Random(seed)
    data = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    text, value = "", data
    for _ in range(rng.randint(1, 4)):
        step = _step(rng, value.shape, on_chip)
        value = eval(f"v{step}", {"v": value, "np": np})
        text += step
        if value.ndim < 2 or value.size == 0:
            break
    return text, value


def _compare(source: str, data: np.ndarray, expected: np.ndarray) -> None:
    """Equal, or refused for the one thing views can't do: reshape what does not lie in a row."""
    refused = rules(trace(source, [data]))
    if refused == ["err_reshape_not_supported"]:
        assert ".reshape" in source
        pytest.skip("not contiguous")
    np.testing.assert_array_equal(run(source, [data])[0], expected)


@pytest.mark.parametrize("seed", range(60))
def test_view_of_an_hbm_tensor(seed):
    text, expected = _chain(seed, (6, 5, 8), False)
    if expected.size == 0 or expected.shape[0] > 128:
        pytest.skip("no tile")
    source = HEAD + (
        f"@nki.jit\ndef nki_kernel(x):\n    out = nl.ndarray({expected.shape}, nl.float32, buffer=nl.shared_hbm)\n"
        f"    nl.store(out, nl.load(x{text.replace('np.mgrid', 'nl.mgrid')}))\n    return out\n"
    )
    data = np.arange(240, dtype=np.float32).reshape(6, 5, 8)
    _compare(source, data, expected)


@pytest.mark.parametrize("seed", range(60))
def test_view_of_a_tile(seed):
    text, expected = _chain(1000 + seed, (P, 6, 8), True)
    if expected.size == 0:
        pytest.skip("selects nothing")
    source = HEAD + (
        f"@nki.jit\ndef nki_kernel(x):\n    out = nl.ndarray({expected.shape}, nl.float32, buffer=nl.shared_hbm)\n"
        f"    t = nl.load(x)\n    nl.store(out, nl.copy(t{text.replace('np.mgrid', 'nl.mgrid')}))\n    return out\n"
    )
    data = np.arange(P * 48, dtype=np.float32).reshape(P, 6, 8)
    _compare(source, data, expected)


@pytest.mark.parametrize("seed", range(40))
def test_assignment_to_a_view_of_a_tile(seed):
    text, selected = _chain(2000 + seed, (P, 6, 8), True)
    if selected.size == 0 or not text.startswith("["):
        pytest.skip("selects nothing that can be assigned to")
    text = text[: text.index("]") + 1]
    expected = np.arange(P * 48, dtype=np.float32).reshape(P, 6, 8)
    if "mgrid" in text:
        text = "[...]"  # cut off in the middle of an index grid
    exec(f"v{text} = -1.0", {"v": expected, "np": np})
    source = HEAD + (
        "@nki.jit\ndef nki_kernel(x):\n    out = nl.ndarray(x.shape, nl.float32, buffer=nl.shared_hbm)\n"
        f"    t = nl.load(x)\n    t{text} = -1.0\n    nl.store(out, t)\n    return out\n"
    )
    data = np.arange(P * 48, dtype=np.float32).reshape(P, 6, 8)
    np.testing.assert_array_equal(run(source, [data])[0], expected)

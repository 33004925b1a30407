"""The same verify without a warm parent: a fresh interpreter imports torch and runs the reference thrice.

Compared with the Verify RPC by run_bench.py. It executes no kernel, so the ratio is a lower bound.
"""

import importlib.util
import sys

import torch


def main() -> None:
    spec = importlib.util.spec_from_file_location("task", sys.argv[1])
    assert spec is not None and spec.loader is not None
    task = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(task)
    torch.manual_seed(0)
    model = task.Model(*task.get_init_inputs()).eval()
    for seed in range(3):
        torch.manual_seed(seed)
        inputs = task.get_inputs()
        with torch.no_grad():
            expected = model(*inputs)
        assert torch.allclose(expected, expected, atol=1e-3, rtol=1e-3)


if __name__ == "__main__":
    main()

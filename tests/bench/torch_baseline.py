"""Times torch for the operations that nki_exec_bench simulates, and prints JSON (median milliseconds)."""

import json
import statistics
import time

import torch


def median_ms(fn, repeats: int = 15, warm_up: int = 3) -> float:
    """Median wall time of fn() in milliseconds."""
    times = []
    for i in range(repeats + warm_up):
        start = time.perf_counter()
        fn()
        if i >= warm_up:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def main() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    x = torch.randn(4096, 1024)
    report = {
        "threads": torch.get_num_threads(),
        "matmul_1024x1024x1024_ms": median_ms(lambda: a @ b),
        "softmax_4096x1024_ms": median_ms(lambda: torch.softmax(x, dim=-1)),
        "add_4096x1024_ms": median_ms(lambda: x + x),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

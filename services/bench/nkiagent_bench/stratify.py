"""Balanced subsets: as many tasks of each level as asked, spread over categories as the whole level is."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from nkiagent_bench.suite import LEVELS, Suite, load_task

# Tasks of each level in the suites that are published; others may have any make-up.
SIZES = {"nkigen-250": (100, 100, 50), "nkigen-150": (50, 50, 50), "nkigen-60": (20, 20, 20)}


def quotas(sizes: dict[str, int], wanted: int) -> dict[str, int]:
    """Shares of `wanted` proportional to `sizes`, by largest remainders; ties go by name."""
    total = sum(sizes.values())
    exact = {name: wanted * size / total for name, size in sizes.items()}
    shares = {name: int(value) for name, value in exact.items()}
    rest = wanted - sum(shares.values())
    for name in sorted(exact, key=lambda name: (shares[name] - exact[name], name))[:rest]:
        shares[name] += 1
    return shares


def choose(known: dict[str, Path], per_level: int) -> list[str]:
    """A stratified choice: within a category evenly spread over its tasks in the order of their ids."""
    by_level: dict[int, dict[str, list[str]]] = {level: defaultdict(list) for level in LEVELS}
    for task, path in sorted(known.items()):
        loaded = load_task(path, measured=False)
        by_level[loaded.level][loaded.meta["category"]].append(task)
    chosen: list[str] = []
    for level in LEVELS:
        shares = quotas({name: len(tasks) for name, tasks in by_level[level].items()}, per_level)
        for name, count in sorted(shares.items()):
            tasks = by_level[level][name]
            chosen += [tasks[(2 * i + 1) * len(tasks) // (2 * count)] for i in range(count)]
    return chosen


def problems(suite: Suite, known: dict[str, Path]) -> list[str]:
    """What keeps a published suite from being balanced: sizes of levels, shares of categories."""
    if suite.name not in SIZES:
        return []
    found: list[str] = []
    levels = Counter(known[task].parent.name for task in suite.tasks)
    for level, wanted in zip(LEVELS, SIZES[suite.name], strict=True):
        if levels[f"level{level}"] != wanted:
            found.append(f"{suite.name}: level {level} has {levels[f'level{level}']} tasks, not {wanted}")
    if found:
        return found
    category = {task: load_task(path, measured=False).meta["category"] for task, path in known.items()}
    for level, wanted in zip(LEVELS, SIZES[suite.name], strict=True):
        folder = f"level{level}"
        sizes = Counter(category[task] for task, path in known.items() if path.parent.name == folder)
        shares = Counter(category[task] for task in suite.tasks if known[task].parent.name == folder)
        total = sum(sizes.values())
        for name, size in sorted(sizes.items()):
            exact = wanted * size / total
            if abs(shares[name] - exact) >= 1:
                have = f"level {level} has {shares[name]} tasks of {name}"
                found.append(f"{suite.name}: {have}, its share is {exact:.1f}")
    return found

"""NKIGEN-BENCH as Python sees it: tasks, suites, the linter and the verifier's mutation score.

suite.py     task files, their metadata, suites; every way in which they can be wrong
evaluate.py  a task's reference under other seeds, weights, inputs and precisions
compare.py   the comparison of verify-service
fakes.py     results that no task may accept
lint.py      the checks of one task, and the command
report.py    what the linter found, as JSON and as Markdown
calibrate.py shapes and tolerances into metadata files
mutation/    bugs injected into right kernels
"""

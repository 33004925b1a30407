"""Bugs injected into right kernels: does verification catch them?

operators.py   the classes of bugs, as changes of a kernel's syntax tree
subjects.py    right kernels: of the rule-based writer, and by hand (services/bench/mutation/kernels)
effect.py      whether a mutant's results differ from the original's, found without the verifier
score.py       mutants through the real services, the table, the command
"""

"""The reference role: what a PyTorch module takes, returns and computes.

handler.py   the two operations, describe and run, as JSON in and out
task.py      a task file as a module: its entry points, seeds, and every way in which it can be wrong
tensors.py   tensors as a kernel sees them, and their place in shared memory
graph.py     the exported graph as text
warmup.py    what the parent does before it forks
"""

"""The tracer behind `neuronxcc.nki`: runs a kernel as ordinary Python with symbolic tensors and records a
program.
"""

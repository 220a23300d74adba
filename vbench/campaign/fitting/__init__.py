"""The command `vbench fit`: how a model's memory is spent on GPUs, by shapes and by records, before any GPU is held.

It starts no engine and submits nothing; the arithmetic is vbench.plan.memory's.
"""

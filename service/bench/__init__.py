"""Measures training throughput on the machine at hand, in PyTorch, with models written in `torch.nn` alone.

`service.bench.workloads` says what can be trained, `service.bench.models` builds it (and is the only one that imports
PyTorch, with `service.bench.training`), `service.bench.machine` looks at the machine, and `service.bench.measurement`
makes a row of the vocabulary of it.
"""

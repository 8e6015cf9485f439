"""Replicas of a model: which states they share out, among how many of them, and which of them the fast link joins."""

from __future__ import annotations

import numpy as np

from service.engine.table import BoolArray, FloatArray, Table, filled

SHARDS_WEIGHTS = ("zero3", "fsdp", "hsdp")
SHARDS_GRADIENTS = ("zero2", *SHARDS_WEIGHTS)
SHARDS_OPTIMIZER = ("zero1", *SHARDS_GRADIENTS)
# Of these, plain replicas share out the optimizer's states too: their recipes build Megatron's distributed optimizer
# (github:NVIDIA/NeMo nemo/collections/llm/recipes/optim/adam.py, use_distributed_optimizer).
SHARE_OPTIMIZER = ("nemo", "megatron-bridge")


def domain(table: Table) -> FloatArray:
    """Accelerators joined by the fast link, shape (n,)."""
    return np.maximum(filled(table["domain"], 8.0), 1.0)


def state_holders(table: Table, replicas: FloatArray, in_node: FloatArray) -> FloatArray:
    """Ranks that one copy of what replicas share out is spread over, shape (n,), at least 1.

    All replicas, unless groups of them are stated; of hybrid shards those in one node (`replicas_in_node`).
    """
    usual = np.where(table.among("sharding", ("hsdp",)), in_node, replicas)
    group = table["sharding_group"]
    return np.maximum(np.where(group > 0, np.minimum(group, replicas), usual), 1.0)


def replicas_in_node(replicas: FloatArray, tensor: FloatArray, node: FloatArray) -> FloatArray:
    """Of the `node` ranks that the fast link joins, those that hold the same part of the model, shape (n,), at least 1.

    Args:
        replicas: of the model's copy, with those that share its sequences.
        tensor: tensor-parallel degree.
    """
    return np.maximum(np.minimum(node / tensor, replicas), 1.0)


def shares_optimizer(table: Table) -> BoolArray:
    """Where replicas share out the optimizer's states, shape (n,)."""
    plain = table.among("framework", SHARE_OPTIMIZER) & table.among("sharding", ("ddp",))
    result: BoolArray = table.among("sharding", SHARDS_OPTIMIZER) | plain
    return result

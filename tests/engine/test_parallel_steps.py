"""What the ranks of a parallel run wait for: messages over the link that carries them."""

from typing import Any

import pytest

from service.engine.forecast import Forecaster
from service.engine.table import FloatArray
from tests.engine.conftest import LLAMA, TableOf


def parts(forecaster: Forecaster, table_of: TableOf, *flats: dict[str, Any]) -> dict[str, FloatArray]:
    return forecaster.predict(table_of(*flats)).breakdown


def test_hybrid_shards_spare_the_slow_link_between_nodes(forecaster: Forecaster, table_of: TableOf) -> None:
    def data_communication(count: int) -> FloatArray:
        flat = {
            **LLAMA, "hardware.count": count, "hardware.per_node": 8, "hardware.inter_node_gbs": 3.0,
            "training.tensor_parallel": 1, "training.pipeline_parallel": 1, "training.global_batch": 16 * count,
        }  # fmt: skip
        ways = [{**flat, "training.sharding": sharding} for sharding in ("fsdp", "hsdp")]
        return parts(forecaster, table_of, *ways)["data_communication"]

    sharded, hybrid = data_communication(64)
    assert hybrid < 0.5 * sharded
    # A node alone holds one copy either way.
    sharded, hybrid = data_communication(8)
    assert hybrid == pytest.approx(sharded, rel=0.2)


MIXTURE = {
    "model.name": "qwen3-235b-a22b", "data.sequence_length": 4096, "training.precision": "bf16",
    "training.tensor_parallel": 2, "training.expert_parallel": 64, "training.pipeline_parallel": 1,
    "training.micro_batch": 1, "training.global_batch": 1024,
}  # fmt: skip


def test_experts_that_all_lie_in_one_rack_do_not_wait_for_the_network(
    forecaster: Forecaster, table_of: TableOf
) -> None:
    rack = {**MIXTURE, "hardware.accelerator": "GB200-186GB", "hardware.count": 64, "hardware.per_node": 4}
    networks = [{**rack, "hardware.inter_node_gbs": gbs} for gbs in (5.0, 100.0)]
    slow, quick = parts(forecaster, table_of, *networks)["expert_communication"]
    assert slow == pytest.approx(quick)


def test_tokens_cross_to_few_nodes_less_often_than_they_have_experts(forecaster: Forecaster, table_of: TableOf) -> None:
    nodes = {**MIXTURE, "hardware.accelerator": "H100-SXM5-80GB", "hardware.per_node": 8}
    spread = [
        {**nodes, "hardware.count": count, "training.expert_parallel": count, "training.tensor_parallel": 1}
        for count in (16, 64)
    ]
    two_nodes, eight_nodes = parts(forecaster, table_of, *({**run, "hardware.inter_node_gbs": 2.0} for run in spread))[
        "expert_communication"
    ] / [64, 16]  # micro-batches of each replica
    assert eight_nodes > 3.0 * two_nodes


def test_kernels_that_are_fused_take_less_of_the_host(forecaster: Forecaster, table_of: TableOf) -> None:
    small = {**LLAMA, "training.micro_batch": 1, "data.sequence_length": 512}
    frameworks = [{**small, "software.framework": name} for name in ("megatron-lm", "transformers")]
    fused, separate = parts(forecaster, table_of, *frameworks)["launch"]
    assert fused < 0.5 * separate

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

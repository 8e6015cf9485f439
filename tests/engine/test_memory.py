"""Peak memory against runs whose batch was lowered until they fitted."""

import numpy as np

from service.catalog.catalog import Catalog
from service.catalog.resolve import resolve_table
from service.engine.forecast import Forecaster
from tests.conftest import ShippedRows

NEXT_BATCH = 4.0 / 3.0  # at least: the source lowers a batch that does not fit to 3/4 or 2/3 of it


def test_the_largest_batch_that_fitted_a_card_nearly_fills_it(
    catalog: Catalog, forecaster: Forecaster, every_row: ShippedRows
) -> None:
    rows, _ = every_row
    tuned = [
        row
        for row in rows
        if str(row["provenance.source"]).startswith("timm") and 8 <= float(str(row["training.global_batch"])) < 512
    ]
    table, _ = resolve_table(tuned[::4], catalog, measured=True)
    filled = forecaster.predict(table).memory_gb.p50 / table["memory_gb"]
    assert len(table) > 200
    assert 1.0 / NEXT_BATCH < np.median(filled) < 1.0
    assert np.mean((filled > 0.5 / NEXT_BATCH) & (filled < 1.5)) > 0.9


def test_what_a_framework_holds_of_a_model_is_counted_as_it_holds_it(catalog: Catalog, forecaster: Forecaster) -> None:
    def states(framework: str, global_batch: int) -> float:
        layout = {"tensor_parallel": 1, "pipeline_parallel": 1, "micro_batch": 4, "sharding": "none"}
        stated = {"global_batch": global_batch, "precision": "bf16", "mode": "pretrain", "optimizer": "adamw", **layout}
        row = {f"training.{name}": value for name, value in stated.items()} | {
            "model.name": "llama-3.2-1b",
            "data.sequence_length": 2048,
            "hardware.accelerator": "H100-SXM5-80GB",
            "hardware.count": 1,
            "software.framework": framework,
        }
        parts = forecaster.predict(resolve_table([row], catalog)[0]).memory_parts
        return float(sum(parts[part][0] for part in ("weights", "gradients", "optimizer")))

    # fp32 weights and moments; weights, a master copy, moments and gradients in bf16 or, added up, in fp32.
    assert np.isclose(states("maxtext", 4) / states("megatron-lm", 4), 12 / 18, rtol=0.01)
    assert np.isclose(states("maxtext", 16) / states("megatron-lm", 16), 16 / 18, rtol=0.01)
    assert np.isclose(states("nemo", 16) / states("megatron-lm", 16), 16 / 18, rtol=0.01)

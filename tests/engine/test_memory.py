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

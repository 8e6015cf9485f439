"""A few small lineages of the shipped measurements, to be held out in seconds."""

import pytest

from service.calibrations.shipped import Measured, measured, shipped_rows
from service.catalog.catalog import Catalog, load_catalog

SMALL = ("internevo-train-performance", "megatron-sc21-paper", "mxnet-perf-faq", "detectron2-model-zoo")


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def few(catalog: Catalog) -> Measured:
    """The measurements of `SMALL`, resolved."""
    rows, ids = shipped_rows()
    chosen = [index for index, row in enumerate(rows) if row.get("provenance.source") in SMALL]
    return measured([rows[index] for index in chosen], [ids[index] for index in chosen], catalog)

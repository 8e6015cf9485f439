"""Small sources of what ships: held out, or alone in a database whose calibrations are fitted in seconds."""

import pytest

from service.calibrations.shipped import Measured, measured
from service.catalog.catalog import Catalog, load_catalog
from tests.conftest import Databases, ShippedRows
from tests.replicas import keep_only

SMALL = ("internevo-train-performance", "megatron-sc21-paper", "mxnet-perf-faq", "detectron2-model-zoo")


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def few(catalog: Catalog, every_row: ShippedRows) -> Measured:
    """The measurements of `SMALL`, resolved."""
    rows, ids = every_row
    chosen = [index for index, row in enumerate(rows) if row.get("provenance.source") in SMALL]
    return measured([rows[index] for index in chosen], [ids[index] for index in chosen], catalog)


SMALL_SOURCES = (
    "jcjohnson-cnn-benchmarks",
    "litgpt-resource-tables",
    "maxtext-readme-tables",
    "megatron-lm-repo",
    "mxnet-perf-faq",
    "soumith-convnet-benchmarks",
)


FEWEST_SOURCES = ("litgpt-resource-tables", "megatron-lm-repo", "mxnet-perf-faq")
"""What a fit can do with, where it is its process that is looked at."""


@pytest.fixture(scope="session")
def small_template(databases: Databases) -> str:
    """The URL of a database that holds the fewest sources only, to be copied."""
    url = databases.seeded()
    keep_only(url, FEWEST_SOURCES)
    return url


@pytest.fixture
def small_database(databases: Databases, small_template: str) -> str:
    """The URL of a database of this test's own that holds the fewest sources only."""
    return databases.copy(small_template)

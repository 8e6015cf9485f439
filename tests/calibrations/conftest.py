"""A database whose calibrations are fitted in seconds: six small sources of what ships."""

import pytest

from tests.conftest import Databases
from tests.replicas import keep_only

SMALL_SOURCES = (
    "jcjohnson-cnn-benchmarks",
    "litgpt-resource-tables",
    "maxtext-readme-tables",
    "megatron-lm-repo",
    "mxnet-perf-faq",
    "soumith-convnet-benchmarks",
)


@pytest.fixture(scope="session")
def small_template(databases: Databases) -> str:
    """The URL of a database that holds the small sources only, to be copied."""
    url = databases.seeded()
    keep_only(url, SMALL_SOURCES)
    return url


@pytest.fixture
def small_database(databases: Databases, small_template: str) -> str:
    """The URL of a database of this test's own that holds the small sources only."""
    return databases.copy(small_template)

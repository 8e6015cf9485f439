"""The engine on the calibration that ships."""

from collections.abc import Callable
from typing import Any

import pytest

from service.catalog.catalog import Catalog, load_catalog
from service.catalog.records import DATA
from service.catalog.resolve import resolve
from service.engine.forecast import Forecaster
from service.engine.table import Table

TableOf = Callable[..., Table]

GPT3: dict[str, Any] = {
    "model.name": "gpt-3-175b",
    "data.tokens": 300e9,
    "data.sequence_length": 2048,
    "hardware.accelerator": "V100-SXM2-32GB",
    "hardware.count": 1024,
    "hardware.per_node": 8,
    "training.precision": "fp16",
    "training.global_batch": 1536,
}
LLAMA: dict[str, Any] = {
    "model.name": "llama-3-8b",
    "data.tokens": 1e9,
    "data.sequence_length": 4096,
    "hardware.accelerator": "H100-SXM5-80GB",
    "hardware.count": 8,
    "training.precision": "bf16",
    "training.global_batch": 128,
    "training.micro_batch": 1,
    "training.sharding": "fsdp",
    "training.recompute": "none",
}
RESNET: dict[str, Any] = {
    "model.name": "resnet-50",
    "data.name": "imagenet-1k",
    "data.epochs": 90,
    "hardware.accelerator": "V100-SXM2-16GB",
    "hardware.count": 8,
    "training.precision": "fp16",
    "training.global_batch": 2048,
}


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def forecaster() -> Forecaster:
    return Forecaster.load(DATA / "calibration.json.gz")


@pytest.fixture(scope="session")
def table_of(catalog: Catalog) -> TableOf:
    def build(*flats: dict[str, Any]) -> Table:
        return Table.from_rows([resolve(flat, catalog).values for flat in flats])

    return build

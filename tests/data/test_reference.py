"""The reference tables: every number has a source, every name has one meaning, every region a grid."""

import re

import pytest

from service.catalog.catalog import DATA, load_catalog, name_key


def test_every_accelerator_has_a_source_and_a_kind() -> None:
    for chip in load_catalog().accelerators.values():
        assert chip.source, chip.slug
        assert chip.kind in {"gpu", "asic", "cpu", "soc", "apu"}


def test_chips_of_measurements_with_tensor_peaks_are_consistent() -> None:
    for chip in load_catalog().accelerators.values():
        if chip.fp8_tflops > 0:
            assert chip.fp8_tflops >= chip.bf16_tflops
        if chip.tf32_tflops > 0 and chip.fp16_tflops > 0:
            assert chip.fp16_tflops >= chip.tf32_tflops


def test_every_price_is_of_a_known_chip_and_its_region_has_a_grid() -> None:
    catalog = load_catalog()
    for price in catalog.prices:
        assert price.accelerator in catalog.accelerators, price
        assert price.usd_per_accelerator_hour > 0
        grid = catalog.grid(price.region, price.provider)
        assert grid is not None, (price.provider, price.region)
        assert grid.gco2e_per_kwh > 0


def test_every_region_draws_from_a_grid_that_is_there() -> None:
    catalog = load_catalog()
    for region in catalog.regions:
        assert region.grid in catalog.grids, region


def test_a_grid_is_found_by_country_state_or_cloud_region() -> None:
    catalog = load_catalog()
    for name in ("FRA", "France", "US-CA", "us-central1", "eu-north-1", "eastus"):
        assert catalog.grid(name) is not None, name
    france = catalog.grid("FRA")
    world = catalog.grid("WORLD")
    assert france is not None
    assert world is not None
    assert france.gco2e_per_kwh < world.gco2e_per_kwh


def test_the_matmul_figures_are_of_known_chips_and_below_their_peak() -> None:
    catalog = load_catalog()
    for figure in catalog.matmul_figures:
        assert figure.accelerator in catalog.accelerators, figure
        assert figure.measured_tflops > 0


def test_facts_have_values_units_and_sources() -> None:
    facts = load_catalog().facts
    assert len(facts) > 480
    for fact in facts:
        assert fact.topic
        assert fact.key
        assert fact.value
        assert fact.source


def test_no_table_names_a_path_of_the_machine_it_was_gathered_on() -> None:
    for path in DATA.rglob("*.csv"):
        text = path.read_text(encoding="utf-8")
        found = re.search(r"""(?:^|[\s"'(,;])/[a-z][\w.-]*/[\w.-]+""", text)
        assert found is None, f"{path.name}: {found}"


@pytest.mark.parametrize("kind", ["accelerators", "datasets"])
def test_a_name_means_one_thing_unless_the_readme_says_which(kind: str) -> None:
    several = {"gfx90a", "gfx942", "gfx950", "nvidiageforcertx4060ti"}
    meanings: dict[str, set[str]] = {}
    catalog = load_catalog()
    records = catalog.accelerators if kind == "accelerators" else catalog.datasets
    for name, record in records.items():
        for spelling in (name, *record.aliases):
            meanings.setdefault(name_key(spelling), set()).add(name)
    assert {key for key, names in meanings.items() if len(names) > 1} <= several

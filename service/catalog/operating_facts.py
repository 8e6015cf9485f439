"""The published constants of long runs, as the facts that ship state them."""

from functools import lru_cache

from service.catalog.catalog import load_catalog
from service.engine.operating_facts import OperatingFacts, read_operating_facts


@lru_cache
def operating_facts() -> OperatingFacts:
    """Power, failures, checkpoints and the like, read once a process."""
    catalog = load_catalog()
    return read_operating_facts(catalog.facts, {slug: chip.tdp_w for slug, chip in catalog.accelerators.items()})

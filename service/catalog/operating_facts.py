"""The published constants of long runs, as the facts that ship state them."""

from functools import lru_cache

from service.catalog.catalog import load_catalog
from service.engine.embodied import EmbodiedFacts, read_embodied_facts
from service.engine.operating_facts import OperatingFacts, read_operating_facts


@lru_cache
def operating_facts() -> OperatingFacts:
    """Power, failures, checkpoints and the like, read once a process."""
    catalog = load_catalog()
    return read_operating_facts(catalog.facts, {slug: chip.tdp_w for slug, chip in catalog.accelerators.items()})


@lru_cache
def embodied_facts() -> EmbodiedFacts:
    """What making the machines emits, read once a process."""
    return read_embodied_facts(load_catalog().facts)


def publications(facts: OperatingFacts, name: str) -> list[str]:
    """What a constant stands on, by its name in `facts.sources`: of a repository its name, without the files."""
    return list(publications_of(facts.sources[name]))


@lru_cache
def publications_of(locators: tuple[str, ...]) -> tuple[str, ...]:
    """The publications that locators lie in."""
    return tuple(
        dict.fromkeys(
            ":".join(locator.split(":")[:2]) if locator.startswith("github:") else locator for locator in locators
        )
    )

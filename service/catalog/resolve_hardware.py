"""The hardware of a configuration: the chip, how many of it, and what joins them."""

from __future__ import annotations

import math
from functools import lru_cache

from service.catalog.catalog import Accelerator, Catalog
from service.catalog.links import links
from service.catalog.resolution import MOST_PARTS, Assumption, Flat, Items, Part, Values, stated_number
from service.catalog.stated_links import request_links, usual_links
from service.engine.layout import Flaw
from service.engine.machine import chip_group

MOST_ACCELERATORS = 1e7  # more than have been built; far beyond it, failures alone keep a run from ever ending
LEAST_ACCELERATORS = 0.1


@lru_cache(MOST_PARTS)
def resolve_hardware(catalog: Catalog, stated: Items, measured: bool) -> Part:
    """The chip with its data sheet, counts and links; flaws and no values where the chip is not known.

    Args:
        catalog: the reference tables.
        stated: the fields of `hardware`.
        measured: whether it was run as it is, so that counts are what they were.
    """
    flat = dict(stated)
    assumptions: list[Assumption] = []
    flaws: list[Flaw] = []
    chip = _accelerator(flat, catalog, flaws)
    if not measured:
        flaws += _counts(flat)
    if chip is None:
        return Part(stated, {}, flaws=flaws)
    count, per_node = _counted(flat, assumptions)
    wired = _wired(flat, catalog, chip, per_node, count, measured)
    assumptions += wired.assumptions
    values: Values = {
        "accelerator": chip.slug,
        "chip_group": chip_group(chip.slug),
        "chip_vendor": chip.vendor,
        "chip_year": chip.year,
        "memory_gb": chip.memory_gb,
        "tdp_w": chip.tdp_w,
        "count": count,
        "per_node": per_node,
        **wired.values,
    }
    doubts = [] if measured else [*_counting_doubts(flat), *wired.warnings]
    return Part(stated, values, assumptions, doubts, flaws)


def _accelerator(flat: Flat, catalog: Catalog, flaws: list[Flaw]) -> Accelerator | None:
    name = flat.get("hardware.accelerator")
    if not name:
        flaws.append(Flaw("hardware.accelerator", "is required", "see GET /v1/accelerators for the catalog"))
        return None
    chip = catalog.accelerator(str(name))
    if chip is None:
        near = catalog.suggest("accelerators", str(name))
        hint = f"did you mean {', '.join(near)}?" if near else "see GET /v1/accelerators for the catalog"
        flaws.append(Flaw("hardware.accelerator", f"unknown accelerator {str(name)!r}", hint))
    return chip


def _counts(flat: Flat) -> list[Flaw]:
    """How many accelerators, and whether what is said of them agrees."""
    flaws: list[Flaw] = []
    count, nodes, per_node = (stated_number(flat, f"hardware.{name}") for name in ("count", "nodes", "per_node"))
    if not math.isnan(count) and not LEAST_ACCELERATORS <= count <= MOST_ACCELERATORS:
        flaws.append(
            Flaw(
                "hardware.count",
                f"{count:g} accelerators is outside {LEAST_ACCELERATORS:g} to {MOST_ACCELERATORS:g}",
                "give the number of accelerators of the job",
            )
        )
    elif count > 1 and not count.is_integer():
        flaws.append(
            Flaw(
                "hardware.count",
                f"{count:g} is no whole number of accelerators",
                f"give {math.floor(count)} or {math.ceil(count)}; less than 1 is a part of a chip (0.5: one die)",
            )
        )
    if count > 0 and nodes > 0 and per_node > 0 and not math.isclose(count, nodes * per_node):
        flaws.append(
            Flaw(
                "hardware.nodes",
                f"{nodes:g} nodes of {per_node:g} are {nodes * per_node:g} in all, but hardware.count is {count:g}",
                "leave one of the three out",
            )
        )
    return flaws


def _counting_doubts(flat: Flat) -> list[str]:
    """What is odd about how many there are, though it can be."""
    count, per_node = stated_number(flat, "hardware.count"), stated_number(flat, "hardware.per_node")
    if not count > per_node > 0 or math.isclose(count / per_node, round(count / per_node)):
        return []
    return [
        f"hardware.count is {count:g}, no multiple of hardware.per_node = {per_node:g}: one machine is taken to be "
        "used in part; give whole machines, or what each of them holds"
    ]


def _counted(flat: Flat, assumptions: list[Assumption]) -> tuple[float, float]:
    """Accelerators in all, and in one machine."""
    count, nodes = stated_number(flat, "hardware.count"), stated_number(flat, "hardware.nodes")
    per_node = stated_number(flat, "hardware.per_node")
    if not count > 0 and (nodes > 0 or per_node > 0):
        count = (nodes if nodes > 0 else 1.0) * (per_node if per_node > 0 else 1.0)
        assumptions.append(Assumption("hardware.count", count, "nodes x accelerators per node"))
    if not count > 0:
        count = 1.0
        assumptions.append(Assumption("hardware.count", 1, "one accelerator"))
    return count, per_node if per_node >= 1 else min(8.0, max(count, 1.0))


def _wired(flat: Flat, catalog: Catalog, chip: Accelerator, per_node: float, count: float, measured: bool) -> Part:
    """Rates and reach of the links; what a request says of them is read more closely than what a source does."""
    text = str(flat.get("hardware.interconnect") or "")
    given = stated_number(flat, "hardware.inter_node_gbs")
    rate = given if given > 0 else None
    assumptions: list[Assumption] = []
    warnings: list[str] = []
    if measured or not text:
        wired = links(text or None, rate, chip, per_node, count, catalog)
        assumptions += [usual_links(wired, chip)] if wired.assumed else []
    else:
        wired, assumptions, warnings = request_links(text, rate, chip, per_node, count, catalog)
    values: Values = {
        "intra_gbs": wired.intra_gbs,
        "inter_gbs": wired.inter_gbs,
        "domain": wired.domain,
        "interconnect": wired.intra_name,
    }
    return Part((), values, assumptions, warnings)

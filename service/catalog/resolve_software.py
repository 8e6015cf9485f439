"""The software of a configuration, and when and where it ran."""

from __future__ import annotations

import math
from functools import lru_cache

from service.catalog.catalog import Accelerator, Catalog
from service.catalog.resolution import MOST_PARTS, Assumption, Flat, Items, Part, Values, to_number
from service.engine.layout import Flaw
from service.engine.machine import chip_group
from service.engine.operations import TRANSFORMER_FAMILIES

# Years from a chip's release to a measurement on it: the median over lineages of their medians. Who states no date is
# taken to run software of that time.
USUAL_CHIP_AGE = 3.0
FUSED_ATTENTION_SINCE = 2023.0  # FlashAttention reached PyTorch, Megatron and NeMo defaults during 2022 and 2023
# Others have such kernels, but leave them to the user's choice (optimum-habana, NeuronX); MindSpeed's launchers
# switch theirs on.
FUSED_ATTENTION_VENDORS = ("nvidia", "amd", "huawei")


@lru_cache(MOST_PARTS)
def resolve_software(catalog: Catalog, stated: Items, slug: str, family: str, measured: bool) -> Part:
    """Framework, kernels, and the time and place of the run.

    Args:
        catalog: the reference tables.
        stated: the fields of `software` and, of `provenance`, those that the engine knows.
        slug: the chip.
        family: the model's.
        measured: whether it was run as it is.
    """
    flat, chip = dict(stated), catalog.accelerators[slug]
    dated = _measured_year(flat)
    values: Values = {
        "framework": str(flat.get("software.framework") or ""),
        "kernel_library": str(flat.get("software.kernel_library") or ""),
        "memory_format": str(flat.get("software.memory_format") or ""),
        "cuda_graphs": str(flat.get("software.cuda_graphs") or ""),
        "attention": str(flat.get("software.attention") or ""),
        "year": chip.year + USUAL_CHIP_AGE if math.isnan(dated) else dated,
        "evidence": str(flat.get("provenance.evidence") or ""),
        "site": str(flat.get("provenance.source") or ""),
    }
    compiled = flat.get("software.compile")
    if compiled is not None:
        values["compile"] = to_number(compiled)
    assumptions: list[Assumption] = []
    if not values["attention"] and family in TRANSFORMER_FAMILIES:
        values["attention"] = attention = _usual_attention(chip, dated)
        if not measured:
            assumptions.append(Assumption("software.attention", attention, "usual of current frameworks on this chip"))
    return Part(stated, values, assumptions, flaws=[] if measured else _unsupported(flat, chip))


def _usual_attention(chip: Accelerator, dated: float) -> str:
    """What a measured run used, its date tells; else FlashAttention 2 needs Ampere or later (its README)."""
    usable = chip.vendor != "nvidia" or chip.year >= 2020
    modern = usable if math.isnan(dated) else dated >= FUSED_ATTENTION_SINCE
    return "flash" if modern and chip.vendor in FUSED_ATTENTION_VENDORS else "math"


def _unsupported(flat: Flat, chip: Accelerator) -> list[Flaw]:
    """FlashAttention-3 is written for Hopper's asynchronous copies and matrix instructions (its README)."""
    if flat.get("software.attention") != "flash3" or chip_group(chip.slug) == "hopper":
        return []
    usual = "flash2" if chip.vendor in ("nvidia", "amd") else "fused"
    return [Flaw("software.attention", f"FlashAttention-3 needs a Hopper GPU, {chip.slug} is none", f"use {usual}")]


def _measured_year(flat: Flat) -> float:
    text = str(flat.get("provenance.measured_on") or "")
    try:
        year = float(text[:4])
    except ValueError:
        return math.nan
    month = text[5:7]
    return year + ((float(month) - 0.5) / 12.0 if month.isdigit() and 1 <= int(month) <= 12 else 0.5)

"""More accelerators, better ones, and better links between them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pydantic import JsonValue

from service.catalog.records import Accelerator
from service.engine.machine import chip_group
from service.levers.trials import Situation, Trial, Wanted, plain

GROWTH = (2, 4, 8)
# Judgement: what makes a change of machines worth proposing.
FASTER_CHIP, FASTER_LINK = 1.2, 1.5
# Degrees that follow from how many accelerators there are.
COUNTED = ("training.data_parallel", "training.gradient_accumulation", "hardware.nodes")
PORTS = ("IB HDR 4x port", "IB NDR 4x port", "IB XDR 4x port")


def more_accelerators(situation: Situation) -> Wanted:
    """Twice, four and eight times as many, at the same global batch."""
    for factor in GROWTH:
        yield Trial(
            f"more-accelerators-x{factor}",
            "hardware",
            {
                "hardware.count": plain(situation.number("count") * factor),
                **situation.same_batch(),
                **situation.released(*COUNTED),
            },
            f"{factor} times the accelerators to get hold of; each has a smaller share of the same batch, and more of "
            "them fail",
        )


def better_chips(situation: Situation) -> Wanted:
    """The next generation of the vendor, the vendor's fastest, and the fastest of the others."""
    for slug in dict.fromkeys(chip.slug for chip in _better(situation)):
        yield Trial(
            f"accelerator-{slug}",
            "hardware",
            {"hardware.accelerator": slug, **_of_no_machine(situation)},
            "other machines, at another price an hour; code may have to be ported"
            if situation.catalog.accelerators[slug].vendor != situation.chip.vendor
            else "other machines, at another price an hour",
        )


def better_links(situation: Situation) -> Wanted:
    """A switched module instead of a card in a slot; a faster network between nodes."""
    chip = situation.chip
    if situation.number("count") > 1 and not chip.link_gbs_bidirectional > 0:
        for module in _modules_of(situation):
            yield Trial(
                f"fast-links-{module.slug}",
                "hardware",
                {"hardware.accelerator": module.slug, **_of_no_machine(situation)},
                "machines with switched links instead of cards in slots",
            )
    if not situation.number("count") > situation.number("domain"):
        return
    links = situation.catalog.interconnects
    rates = {name: links[name].per_gpu_unidirectional_gbs for name in PORTS}
    faster = [name for name in PORTS if rates[name] >= FASTER_LINK * situation.number("inter_gbs")]
    for name in dict.fromkeys([*faster[:1], *faster[-1:]]):
        yield Trial(
            f"network-{rates[name]:g}-gbs",
            "hardware",
            {**situation.released("hardware.interconnect"), "hardware.inter_node_gbs": rates[name]},
            f"another network between nodes: {name.removesuffix(' 4x port')} for each accelerator",
        )


def _of_no_machine(situation: Situation) -> dict[str, JsonValue]:
    """The change that forgets what was stated of the present machines: links, price and power."""
    stated = {
        "pricing.usd_per_accelerator_hour": situation.request.pricing.usd_per_accelerator_hour,
        "location.watts_per_accelerator": situation.request.location.watts_per_accelerator,
    }
    return {
        **situation.released("hardware.interconnect", "hardware.inter_node_gbs"),
        **{path: None for path, value in stated.items() if value is not None},
    }


def _better(situation: Situation) -> Iterator[Accelerator]:
    """Chips that can be rented, hold as much, compute clearly faster at this precision, and are linked as well."""
    now, precision = situation.chip, situation.text("precision")
    peak = now.peak_tflops(precision)
    if math.isnan(peak):
        peak = situation.number("peak_tflops")
    rented = dict.fromkeys(price.accelerator for price in situation.catalog.prices)
    found = [
        chip
        for chip in (situation.catalog.accelerators[slug] for slug in rented if slug in situation.catalog.accelerators)
        if chip.peak_tflops(precision) > FASTER_CHIP * peak
        and chip.memory_gb >= 0.99 * now.memory_gb
        and (chip.link_gbs_bidirectional > 0 or not now.link_gbs_bidirectional > 0)
    ]
    found.sort(key=lambda chip: (-chip.peak_tflops(precision), -chip.memory_bandwidth_gbs, chip.slug))
    kin = [chip for chip in found if chip.vendor == now.vendor]
    newer = [chip for chip in kin if chip.year > now.year and chip_group(chip.slug) != chip_group(now.slug)]
    if newer:
        first = min(newer, key=lambda chip: chip.year)
        yield next(chip for chip in newer if chip_group(chip.slug) == chip_group(first.slug))
    yield from kin[:1]
    yield from [chip for chip in found if chip.vendor != now.vendor][:1]


def _modules_of(situation: Situation) -> list[Accelerator]:
    """The switched modules of a card's own kind: A100-SXM4-40GB of A100-PCIe-40GB."""
    now = situation.chip
    kind = now.slug.partition("-")[0]
    same = [
        chip
        for chip in situation.catalog.accelerators.values()
        if chip.slug.partition("-")[0] == kind and "SXM" in chip.slug and chip.memory_gb >= now.memory_gb
    ]
    return sorted(same, key=lambda chip: (chip.memory_gb, chip.slug))[:1]

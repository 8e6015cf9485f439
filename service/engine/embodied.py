"""Carbon of making the machines: a run's share of it is the share of their lifetime that it takes.

Published life-cycle assessments differ by a factor of three between methods and chips, so that even a chip that was
assessed carries the spread of them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from service.engine.distribution import Distribution, product, quantiles
from service.engine.operating_facts import PublishedFact, Triple, first_number

HOURS_PER_DAY = 24.0
ACCELERATORS_PER_SERVER = 8.0  # of the server without accelerators that the facts table states
# Rows that state a chip with its share of the host: (key, how the context begins) -> catalog slug, "" for none.
WHOLE: tuple[tuple[str, str, str], ...] = (
    ("tpu_embodied", "TPU v4i", ""),
    ("tpu_embodied", "TPU v5p", "TPU-v5p"),
    ("tpu_embodied", "TPU v6e", "TPU-v6e"),
    ("a100_instance_per_gpu", "per GPU", "A100-SXM4-40GB"),
)


@dataclass(frozen=True)
class EmbodiedFacts:
    """What making an accelerator with its share of the host emits, and how long it serves.

    Attributes:
        kg_by_chip: kg CO2e per accelerator of the chips that were assessed, by catalog slug.
        kg: 10th, 50th and 90th percentile over all assessments, for a chip that was not.
        lifetime_hours: Hours that it is shared out over.
        sources: What these stand on.
    """

    kg_by_chip: Mapping[str, float]
    kg: Triple
    lifetime_hours: float
    sources: tuple[str, ...]


def read_embodied_facts(facts: Iterable[PublishedFact]) -> EmbodiedFacts:
    """Read the assessments from the facts table.

    Raises:
        ValueError: A row that they stand on is missing.
    """
    rows = [fact for fact in facts if fact.topic == "embodied"]

    def row(key: str, context: str = "") -> PublishedFact:
        found = next((fact for fact in rows if fact.key == key and fact.context.startswith(context)), None)
        if found is None:
            raise ValueError(f"the facts table has no row {key} {context}".rstrip())
        return found

    card, server = row("gpu_gwp", "NVIDIA H100"), row("server_without_gpus_gwp")
    hopper = first_number(card.value) + first_number(server.value) / ACCELERATORS_PER_SERVER
    whole = [(slug, row(key, context)) for key, context, slug in WHOLE]
    lifetime = row("llmcarbon_lifespan")
    kg = [hopper, *(first_number(fact.value) for _, fact in whole)]
    return EmbodiedFacts(
        kg_by_chip={"H100-SXM5-80GB": hopper} | {slug: first_number(fact.value) for slug, fact in whole if slug},
        kg=quantiles(kg),
        lifetime_hours=math.prod(float(factor) for factor in lifetime.value.split("*")) * HOURS_PER_DAY,
        sources=tuple(dict.fromkeys(fact.source for fact in (card, server, *(fact for _, fact in whole), lifetime))),
    )


def embodied_kg_per_accelerator(accelerator: ArrayLike, facts: EmbodiedFacts) -> Distribution:
    """kg CO2e of making one accelerator with its share of the host, by catalog slug, shape (n,)."""
    slugs = np.atleast_1d(np.asarray(accelerator, dtype=object))
    low, usual, high = facts.kg
    median = np.array([facts.kg_by_chip.get(slug, usual) for slug in slugs], dtype=np.float64)
    return Distribution(median * low / usual, median, median * high / usual)


def embodied_kg_co2e(accelerator_hours: Distribution, kg: Distribution, facts: EmbodiedFacts) -> Distribution:
    """A run's share of what making its machines emitted, kg CO2e, shape (n,).

    accelerator-hours / lifetime x kg: Faiz et al. 2024 (LLMCarbon, arXiv:2309.14393, embodied carbon footprint), as if
    the machines were never idle; what they idle is emitted for nobody's run.

    Args:
        accelerator_hours: Wall-clock hours x accelerators, shape (n,).
        kg: kg CO2e per accelerator with its share of the host, shape (n,).
        facts: How long machines serve.
    """
    return product(accelerator_hours, kg).scaled(1.0 / facts.lifetime_hours)

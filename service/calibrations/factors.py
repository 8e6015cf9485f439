"""The published constants of long runs, each with its unit, its meaning and its sources."""

from __future__ import annotations

from typing import Literal

import numpy as np

from service.calibrations.schemas import OperatingFactor
from service.engine.distribution import Z90
from service.engine.operating_facts import OperatingFacts, Triple

STARTUP_ACCELERATORS = 8


def operating_factors(facts: OperatingFacts) -> list[OperatingFactor]:
    """Every published constant that estimates of whole runs stand on, as they use it."""
    log_startup = facts.startup_intercept + facts.startup_slope * np.log(STARTUP_ACCELERATORS)
    startup = tuple(float(np.exp(log_startup + side * Z90 * facts.startup_spread)) for side in (-1, 0, 1))

    def factor(
        name: str,
        values: Triple | tuple[float, ...] | float,
        unit: str,
        meaning: str,
        *,
        used_for: Literal["goodput", "energy"] = "goodput",
        key: str = "",
    ) -> OperatingFactor:
        p10, p50, p90 = (None, values, None) if isinstance(values, float) else values
        return OperatingFactor(
            name=name,
            used_for=used_for,
            unit=unit,
            p10=p10,
            p50=p50,
            p90=p90,
            meaning=meaning,
            sources=list(facts.sources[key or name]),
        )

    return [
        factor(
            "failures_per_accelerator_hour",
            facts.failures_per_accelerator_hour,
            "failures per accelerator and hour",
            "Interruptions of a job, from published counts, intervals and rates over the exposure that they state.",
        ),
        factor(
            "recovery_seconds",
            facts.recovery_seconds,
            "s",
            "From a failure to training again: automatic recovery, diagnosis and requeueing pooled; p90 is the slowest "
            "published kind of incident. Work since the last checkpoint is lost on top.",
        ),
        factor(
            "checkpoint_seconds", facts.checkpoint_seconds, "s", "Time that training stands still for a checkpoint."
        ),
        factor(
            "longest_checkpoint_interval_hours",
            facts.longest_checkpoint_interval_hours,
            "h",
            "Checkpoints are as far apart as loses least, sqrt(2 x checkpoint time x time between failures) (Young "
            "1974), but no farther than this published habit.",
        ),
        factor(
            "evaluation_share",
            facts.evaluation_share,
            "share of training and evaluation time",
            "Time in evaluation. Published by a benchmark that evaluates far more often than ordinary runs: its least "
            "is taken as the usual, its median as p90, none as p10.",
        ),
        factor(
            "startup_seconds",
            startup,
            "s",
            f"From launch to the first step on {STARTUP_ACCELERATORS} accelerators; grows with their number to the "
            f"power {facts.startup_slope:.2f} (least squares in logarithms).",
            key="startup",
        ),
        factor(
            "node_power",
            facts.node_power,
            "multiple of the accelerator's TDP",
            "Power of a node at load per accelerator, for chips whose nodes nobody metered.",
            used_for="energy",
        ),
        *(
            factor(
                f"node_power.{slug}",
                triple,
                "multiple of the accelerator's TDP",
                f"Metered power of a node of {slug} at load, per accelerator.",
                used_for="energy",
            )
            for slug, triple in sorted(facts.node_power_by_chip.items())
        ),
        factor(
            "accelerator_share",
            facts.accelerator_share,
            "share of the node's power",
            "What the accelerators draw of it; the rest is host, fans and power supply.",
            used_for="energy",
        ),
        factor(
            "network_power",
            facts.network_power,
            "multiple of the accelerator's TDP",
            "Power of switches and cables between nodes, per accelerator.",
            used_for="energy",
        ),
    ]

"""What to beware of in an answer, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from service.catalog.resolution import Resolved
from service.engine.operations import TRANSFORMER_FAMILIES
from service.estimates.rates import Rate
from service.estimates.schemas import GoodputAnswer, Memory, Remedy

CERTAIN_ENOUGH = 0.9  # probability of fitting below which an answer says so
# Judgement: below this share of productive hours, one time in ten, failures feed on themselves (work lost again while
# it is caught up), and hours grow far faster than the rates that they are reckoned with are known.
LEAST_PRODUCTIVE = 0.25
NARROW_FIT = "It is likely to fit, not certain"  # how the warning of that begins


def warnings_of(
    resolution: Resolved,
    price: Rate,
    memory: Memory,
    remedies: Sequence[Remedy] | None,
    quicker: tuple[int, float] | None,
    course: GoodputAnswer | None,
    *,
    trained: bool,
) -> list[str]:
    """Everything to beware of in one answer.

    Args:
        resolution: the configuration as it was filled in.
        price: what an accelerator-hour costs.
        memory: what is predicted of its memory.
        remedies: what would make it fit; None where nobody looked.
        quicker: a smaller count that is quicker, and how many times; None if there is none.
        course: where the hours of a run go; None where it says no amount of data.
        trained: whether the request says how much is trained on.
    """
    warnings = [*resolution.warnings, *_fit(resolution, memory, remedies)]
    if quicker is not None:
        count, times = quicker
        present = float(resolution.values["count"])
        warnings.append(
            f"This is past the limit of strong scaling: at the same global batch, hardware.count = {count} instead of "
            f"{present:g} is predicted to be {times - 1.0:.0%} quicker (the quickest of the smaller counts tried)."
        )
    if not trained:
        warnings.append(
            "The request says no amount of data, so duration, cost, energy and carbon are left out: "
            "give data.tokens, data.samples or a known data.name."
        )
        return warnings
    if course is not None:
        warnings += _interrupted(course)
    if not math.isfinite(price.p50):
        warnings.append(f"{_sentence(price.reason)}: cost is left out; give pricing.usd_per_accelerator_hour.")
    if not math.isfinite(float(resolution.values.get("tdp_w", math.nan))):
        warnings.append(
            f"The power of {resolution.values['accelerator']} is unknown: energy and carbon are left out unless "
            "location.watts_per_accelerator is given."
        )
    return warnings


def _fit(resolution: Resolved, memory: Memory, remedies: Sequence[Remedy] | None) -> list[str]:
    if not memory.fits:
        space = f" of {memory.available_gb:g} GB" if memory.available_gb else ""
        # Three digits, but none of a power: 1,190 rather than 1.19e+03.
        misfit = (
            f"It is not predicted to fit: about {float(f'{memory.peak_gb.p50:.3g}'):,g} GB{space} on each accelerator."
        )
        if remedies:
            misfit += f" It would with {'; or '.join(_way(way) for way in remedies[:3])}."
        elif remedies is not None:
            misfit += " No change of layout, count or chip that was tried makes it fit."
        return [misfit]
    if memory.fits_probability < CERTAIN_ENOUGH:
        return [
            f"{NARROW_FIT} ({memory.fits_probability:.0%}). If memory runs out: {', or '.join(_savings(resolution))}."
        ]
    return []


def _interrupted(course: GoodputAnswer) -> list[str]:
    """Whether failures, and not the start-up of a short run, keep a job from its work."""
    hours, share = course.hours, course.share
    if share.p10 >= LEAST_PRODUCTIVE or hours["failure"] < hours["startup"]:
        return []
    return [
        f"Failures come nearly as fast as work is done: of the hours, {share.p50:.2g} are productive ({share.p10:.2g} "
        f"to {share.p90:.2g}), and the duration is hardly known. Fewer accelerators lose less; what is known of these "
        "goes into goodput.failures_per_accelerator_hour, recovery_seconds, checkpoint_seconds and "
        "checkpoint_interval_hours."
    ]


def _savings(resolution: Resolved) -> list[str]:
    """What a run that fits narrowly has not done yet to save memory, the cheapest first."""
    values = resolution.values
    ways = []
    if float(values.get("micro_batch", 1.0)) > 1:
        ways.append("a smaller training.micro_batch")
    if values["family"] in TRANSFORMER_FAMILIES:
        if values.get("recompute") != "full":
            ways.append("training.recompute = full")
        if float(values.get("data_parallel", 1.0)) > 1 and values.get("sharding") not in ("zero3", "fsdp"):
            ways.append("training.sharding = zero3")
    return [*ways, "more accelerators or memory"]


def _way(remedy: Remedy) -> str:
    """A remedy in words: `training.sharding = zero3, training.micro_batch left out`."""
    return ", ".join(
        f"{path} left out"
        if value is None
        else f"{path} = {value:g}"
        if isinstance(value, float)
        else f"{path} = {value}"
        for path, value in remedy.change.items()
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]

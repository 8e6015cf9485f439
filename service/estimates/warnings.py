"""What to beware of in an answer, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from service.catalog.resolution import Resolved, stated_number
from service.engine.distribution import Distribution
from service.engine.economics import Goodput
from service.engine.memory import USABLE_SHARE
from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.table import BoolArray, Table
from service.estimates.rates import Rate
from service.estimates.runs import Runs
from service.estimates.scaling import FREED
from service.estimates.schemas import Remedy

CERTAIN_ENOUGH = 0.9  # probability of fitting below which an answer says so
LIKELY_ENOUGH = 0.75  # judgement: below it, a coin toss, nobody would call the fit likely
# Judgement: below this share of productive hours, one time in ten, failures feed on themselves (work lost again while
# it is caught up), and hours grow far faster than the rates that they are reckoned with are known.
LEAST_PRODUCTIVE = 0.25
TOLERATED_SHARE = 0.05  # by which counts of parameters differ that mean the same: rounded names, biases left out
NO_AMOUNT = (
    "The request says no amount of data, so duration, cost, energy and carbon are left out: "
    "give data.tokens, data.samples or a known data.name."
)
COUNTED_WAYS = "give data.samples, or a data.name whose samples are counted"
# How the warning of a fit that isn't certain begins: one that is likely, one that is not even that.
NARROW_FIT, OPEN_FIT = "It is likely to fit, not certain", "It may or may not fit"


def warnings_of(runs: Runs) -> list[list[str]]:
    """Everything to beware of in each answer."""
    found = [list(resolution.warnings) for resolution in runs.resolved]
    forecast, table = runs.forecast, runs.table
    trained = np.isfinite(runs.samples)

    def say(rows: BoolArray, sentence: Callable[[int], str]) -> None:
        for row in np.flatnonzero(rows).tolist():
            found[row].append(sentence(row))

    if runs.standpoint.site_version is None:
        sites = [request.site for request in runs.requests]
        say(np.array([site is not None for site in sites], dtype=bool), lambda row: _unknown_site(str(sites[row])))
    for rows, sentence in _odd_layouts(table):
        say(rows, sentence)
    say(~forecast.fits, lambda row: _misfit(runs, row))
    say(forecast.fits & (forecast.fits_probability < CERTAIN_ENOUGH), lambda row: _narrow_fit(runs, row))
    for row, (count, times) in runs.quicker().items():
        freed = [f" and {name} left out" for name in FREED if name in runs.flats[row]]
        found[row].append(
            f"This is past the limit of strong scaling: at the same global batch, hardware.count = {count} instead of "
            f"{table['count'][row]:g}{''.join(freed)} is predicted to be {times - 1.0:.0%} quicker (the quickest of "
            "the smaller counts tried)."
        )
    say(~trained, lambda row: _no_amount(runs.resolved[row].uncounted))
    say(runs.samples < (1.0 - 1e-9) * table["global_batch"], lambda row: _less_than_a_step(runs, row))
    epochs = np.array([stated_number(flat, "data.epochs") for flat in runs.flats])
    once = runs.samples / np.where(epochs > 0, epochs, 1.0)
    say((once < table["global_batch"]) & (table["global_batch"] <= runs.samples), lambda row: _more_than_all(runs, row))
    say(trained & _interrupted(runs.course), lambda row: _hardly_known(runs.course.share, row))
    say(trained & ~np.isfinite(runs.rates.column("price").p50), lambda row: _no_price(runs.rates.of(row).price))
    say(trained & ~np.isfinite(table["tdp_w"]), lambda row: _no_power(str(table.text("accelerator")[row])))
    return found


def _odd_layouts(table: Table) -> Iterator[tuple[BoolArray, Callable[[int], str]]]:
    """What is reckoned as if it divided evenly, or were all trained, and is not: which rows, and what to tell them."""
    context, sequence = table["context_parallel"], table["sequence_length"]
    yield (
        (context > 1) & (np.mod(sequence, np.maximum(context, 1.0)) > 0),
        lambda row: (
            f"training.context_parallel {context[row]:g} does not divide data.sequence_length {sequence[row]:g}: it is "
            "reckoned as if it did; frameworks refuse, or pad the sequences"
        ),
    )
    stages, chunks = table["pipeline_parallel"], table["virtual_pipeline"]
    interleaved, micro_batches = (stages > 1) & (chunks > 1), table["gradient_accumulation"]
    yield (
        interleaved & (np.mod(micro_batches, np.maximum(stages, 1.0)) > 0),
        lambda row: (
            f"an interleaved pipeline (training.virtual_pipeline {chunks[row]:g}) of {stages[row]:g} stages takes "
            f"micro-batches in multiples of {stages[row]:g}, and the step has {micro_batches[row]:g}: "
            "Megatron refuses that; without training.virtual_pipeline a schedule that works is chosen"
        ),
    )
    trained, parameters = table["trainable_parameters"], table["parameters"]
    yield (
        trained > (1.0 + TOLERATED_SHARE) * parameters,
        lambda row: (
            f"training.trainable_parameters {trained[row]:.4g} is more than the model's {parameters[row]:.4g} "
            "parameters: all are reckoned to be trained, and no more"
        ),
    )


def _unknown_site(site: str) -> str:
    return (
        f"Nothing is known yet of site {site!r}: no measurements of the key's team name it, so that the answer and its "
        "interval are those of a new site. GET /v1/sites lists those that are known; measurements that say this site "
        "make it one of them."
    )


def _misfit(runs: Runs, row: int) -> str:
    available = float(runs.table["memory_gb"][row])
    space = f" of {available:g} GB, of which {USABLE_SHARE:.0%} can be filled," if available > 0 else ""
    # Three digits, but none of a power: 1,190 rather than 1.19e+03.
    peak = float(f"{runs.forecast.memory_gb.p50[row]:.3g}")
    misfit = f"It is not predicted to fit: about {peak:,g} GB{space} on each accelerator."
    if remedies := runs.remedies.get(row):
        return f"{misfit} It would with {'; or '.join(_way(way) for way in remedies[:3])}."
    if remedies is not None:
        return f"{misfit} No change of layout, count or chip that was tried makes it fit."
    return misfit


def _narrow_fit(runs: Runs, row: int) -> str:
    savings = ", or ".join(_savings(runs.resolved[row]))
    probability = runs.forecast.fits_probability[row]
    fit = NARROW_FIT if probability >= LIKELY_ENOUGH else OPEN_FIT
    return f"{fit} ({probability:.0%}). If memory runs out: {savings}."


def _no_amount(uncounted: str) -> str:
    if not uncounted:
        return NO_AMOUNT
    return f"{_sentence(uncounted)}, so duration, cost, energy and carbon are left out: {COUNTED_WAYS}."


def _less_than_a_step(runs: Runs, row: int) -> str:
    samples, batch = runs.samples[row], runs.table["global_batch"][row]
    return (
        f"There are {samples:,.6g} samples to train on, and training.global_batch is {batch:,.6g}: that is not one "
        "whole step; give a smaller batch, more data, or data.epochs."
    )


def _more_than_all(runs: Runs, row: int) -> str:
    return (
        f"training.global_batch is {runs.table['global_batch'][row]:,.6g}: a step takes more samples than there are in "
        "the data, so that it sees some of them twice; nobody trains so, for it learns no more"
    )


def _interrupted(course: Goodput) -> BoolArray:
    """Whether failures, and not the start-up of a short run, keep a job from its work, shape (n,)."""
    is_known = np.isfinite(course.share.p50) & np.isfinite(course.wall_hours.p50)
    return is_known & (course.share.p10 < LEAST_PRODUCTIVE) & (course.failure_hours >= course.startup_hours)


def _hardly_known(share: Distribution, row: int) -> str:
    return (
        f"Failures come nearly as fast as work is done: of the hours, {share.p50[row]:.2g} are productive "
        f"({share.p10[row]:.2g} to {share.p90[row]:.2g}), and the duration is hardly known. Fewer accelerators lose "
        "less; what is known of these goes into goodput.failures_per_accelerator_hour, recovery_seconds, "
        "checkpoint_seconds and checkpoint_interval_hours."
    )


def _no_price(price: Rate) -> str:
    return f"{_sentence(price.reason)}: cost is left out; give pricing.usd_per_accelerator_hour."


def _no_power(accelerator: str) -> str:
    return (
        f"The power of {accelerator} is unknown: energy and carbon are left out unless "
        "location.watts_per_accelerator is given."
    )


def _savings(resolution: Resolved) -> list[str]:
    """What a run that fits narrowly has not done yet to save memory, the cheapest first."""
    values = resolution.values
    ways = []
    if float(values.get("micro_batch", 1.0)) > 1:
        ways.append("a smaller training.micro_batch")
    if values["family"] in TRANSFORMER_FAMILIES:
        if values.get("recompute") != "full":
            ways.append("training.recompute = full")
        elif float(values.get("recompute_share", 1.0)) < 1:
            ways.append("training.recompute_share = 1")
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

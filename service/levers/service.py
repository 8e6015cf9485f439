"""From a run to its levers: the run itself, then all changes that apply as one table, then the best ones together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from service.catalog.catalog import Catalog
from service.estimates.schemas import Estimate
from service.estimates.service import compute_many
from service.levers.amounts import better_data, smaller_model
from service.levers.batch import batches, critical_batch, curve
from service.levers.bench import Bench, Failed, Tried, drawback
from service.levers.hardware import better_chips, better_links, more_accelerators
from service.levers.layouts import micro_batch, recompute, searched_layout, sharding
from service.levers.numerics import attention, compilation, input_pipeline, memory_format, precision
from service.levers.recipes import augmentation, optimizers, self_supervised, side_by_side
from service.levers.schemas import Levers, LeversRequest, NotApplicable
from service.levers.stacking import combined
from service.levers.transfer import transfer
from service.levers.trials import LeverOf, Situation, Trial, Unsuited
from service.problems import FieldError
from service.sites.standpoint import Standpoint

LEVERS: tuple[LeverOf, ...] = (
    more_accelerators,
    better_chips,
    better_links,
    precision,
    attention,
    compilation,
    memory_format,
    input_pipeline,
    micro_batch,
    recompute,
    sharding,
    searched_layout,
    transfer,
    better_data,
    smaller_model,
)
RECIPES: tuple[LeverOf, ...] = (optimizers, side_by_side, augmentation, self_supervised)


def find_levers(request: LeversRequest, catalog: Catalog, standpoint: Standpoint) -> Levers | list[FieldError]:
    """What would shorten the run, or the fields that keep it from being estimated."""
    asked = request.estimate_request()
    computed = compute_many([asked], catalog, standpoint)
    (baseline,) = computed.estimates()
    if not isinstance(baseline, Estimate):
        return baseline
    samples = float(computed.runs.samples[0])
    situation = Situation(asked, request.assume, baseline, computed.runs.table, samples, catalog)
    bench = Bench(asked, baseline, computed.runs.table, catalog, standpoint)

    levers, unsuited = _wanted(LEVERS, situation)
    recipe, without = _wanted(RECIPES, situation)
    unsuited += without
    critical = critical_batch(situation)
    sizes = [] if isinstance(critical, Unsuited) else batches(situation, critical)
    outcomes = iter(bench.tried([*levers, *recipe, *(batch.trial for batch in sizes)]))
    of_levers, of_recipe = list(islice(outcomes, len(levers))), list(islice(outcomes, len(recipe)))
    of_sizes = [(batch, one) for batch, one in zip(sizes, outcomes, strict=True) if isinstance(one, Tried)]

    at_batch = None
    if isinstance(critical, Unsuited):
        unsuited.append(critical)
    else:
        at_batch = curve(critical, [(batch, one.estimate) for batch, one in of_sizes])
    if at_batch is not None and at_batch.best_global_batch != situation.number("global_batch"):
        of_levers += [one for batch, one in of_sizes if batch.size == at_batch.best_global_batch]
    helping = [one for one in of_levers if isinstance(one, Tried) and drawback(one) is None]
    helping.sort(key=lambda one: -one.gain)
    reasons = [(one.trial.name, drawback(one)) for one in of_levers]
    reasons += [(one.trial.name, one.reason) for one in of_recipe if isinstance(one, Failed)]
    return Levers(
        baseline=baseline,
        levers=bench.levers(helping),
        combined=combined(situation, helping, bench, _free),
        recipe=bench.levers([one for one in of_recipe if isinstance(one, Tried)]),
        batch=at_batch,
        not_applicable=[
            *(NotApplicable(name=one.name, reason=one.reason) for one in unsuited),
            *(NotApplicable(name=name, reason=reason) for name, reason in reasons if reason is not None),
        ],
    )


def _wanted(levers: Sequence[LeverOf], situation: Situation) -> tuple[list[Trial], list[Unsuited]]:
    """What to try of these levers, and which make no sense here."""
    found = [one for lever in levers for one in lever(situation)]
    return [one for one in found if isinstance(one, Trial)], [one for one in found if isinstance(one, Unsuited)]


def _free(situation: Situation) -> list[Trial]:
    """The levers that change neither machines, nor result, nor amount."""
    return [trial for trial in _wanted(LEVERS, situation)[0] if trial.is_free]

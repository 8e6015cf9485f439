"""From a run to its levers: the run itself, then every lever that applies as one table, then the best ones together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.catalog.catalog import Catalog
from service.engine.table import Table
from service.estimates.schemas import Estimate, EstimateRequest
from service.estimates.service import compute_many
from service.levers.amounts import better_data, smaller_model
from service.levers.batch import batches, critical_batch, curve
from service.levers.hardware import better_chips, better_links, more_accelerators
from service.levers.layouts import micro_batch, recompute, searched_layout, sharding
from service.levers.numerics import attention, compilation, input_pipeline, memory_format, precision
from service.levers.recipes import augmentation, optimizers, self_supervised, side_by_side
from service.levers.schemas import BatchCurve, Combined, Lever, Levers, LeversRequest, NotApplicable
from service.levers.speedups import deviations, lever_of
from service.levers.transfer import transfer
from service.levers.trials import LeverOf, Situation, Trial, Unsuited, changed
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
# A predicted gain below this is no reason to change anything. Judgement.
LEAST_GAIN = 1.005


@dataclass(frozen=True, eq=False)
class Outcome:
    """A trial that can run: its estimate, and what is said of it."""

    trial: Trial
    estimate: Estimate
    lever: Lever


def find_levers(request: LeversRequest, catalog: Catalog, standpoint: Standpoint) -> Levers | list[FieldError]:
    """What would shorten the run, or the fields that keep it from being estimated."""
    asked = request.estimate_request()
    computed = compute_many([asked], catalog, standpoint)
    baseline = computed.answers[0]
    if not isinstance(baseline, Estimate):
        return baseline
    samples = float(computed.samples_to_train[0])
    situation = Situation(asked, request.assume, baseline, computed.table, samples, catalog)
    bench = _Bench(asked, baseline, computed.table, catalog, standpoint)
    found = [tried for lever in LEVERS for tried in lever(situation)]
    choices = [tried for recipe in RECIPES for tried in recipe(situation)]
    shortening = bench.tried([tried for tried in found if isinstance(tried, Trial)])
    of_recipe = bench.tried([tried for tried in choices if isinstance(tried, Trial)])
    unsuited = [NotApplicable(name=one.name, reason=one.reason) for one in found if isinstance(one, Unsuited)]
    at_batch, best_batch = _batch(situation, bench)
    if isinstance(at_batch, NotApplicable):
        unsuited.append(at_batch)
    outcomes = [one for one in [*shortening, *best_batch] if isinstance(one, Outcome)]
    helping = sorted((one for one in outcomes if _drawback(one) is None), key=_best_first)
    unsuited += [one for one in [*shortening, *of_recipe] if isinstance(one, NotApplicable)]
    unsuited += [NotApplicable(name=one.trial.name, reason=why) for one in outcomes if (why := _drawback(one))]
    return Levers(
        baseline=baseline,
        levers=[one.lever for one in helping],
        combined=_combined(helping, bench),
        recipe=[one.lever for one in of_recipe if isinstance(one, Outcome)],
        batch=at_batch if isinstance(at_batch, BatchCurve) else None,
        not_applicable=unsuited,
    )


@dataclass(frozen=True, eq=False)
class _Bench:
    """Where changes of a run are tried."""

    request: EstimateRequest
    baseline: Estimate
    row: Table
    catalog: Catalog
    standpoint: Standpoint

    def tried(self, trials: Sequence[Trial]) -> list[Outcome | NotApplicable]:
        """What comes of each change, in order: the estimate of the changed run, or why it cannot be."""
        requests = [changed(self.request, trial.change) for trial in trials]
        computed = compute_many(requests, self.catalog, self.standpoint, with_remedies=False)
        apart = dict.fromkeys(computed.computed, math.nan)
        if apart:
            deviation = deviations(self.standpoint, computed.table, self.row)
            apart = dict(zip(computed.computed, deviation.tolist(), strict=True))
        found: list[Outcome | NotApplicable] = []
        for index, (trial, answer) in enumerate(zip(trials, computed.answers, strict=True)):
            if isinstance(answer, Estimate):
                found.append(Outcome(trial, answer, lever_of(trial, answer, self.baseline, apart[index])))
            else:
                found.append(NotApplicable(name=trial.name, reason=f"{answer[0].field}: {answer[0].message}"))
        return found


def _batch(situation: Situation, bench: _Bench) -> tuple[BatchCurve | NotApplicable | None, list[Outcome]]:
    """The curve over global batches, or why there is none; and the best of them, if it is not the present one."""
    critical = critical_batch(situation)
    if isinstance(critical, Unsuited):
        return NotApplicable(name=critical.name, reason=critical.reason), []
    wanted = batches(situation, critical)
    tried = [
        (batch, outcome)
        for batch, outcome in zip(wanted, bench.tried([batch.trial for batch in wanted]), strict=True)
        if isinstance(outcome, Outcome)
    ]
    found = curve(critical, [(batch, outcome.estimate) for batch, outcome in tried])
    if found is None or found.best_global_batch == situation.number("global_batch"):
        return found, []
    return found, [outcome for batch, outcome in tried if batch.size == found.best_global_batch]


def _drawback(outcome: Outcome) -> str | None:
    """Why a change is none to propose."""
    memory, gain = outcome.lever.memory, outcome.lever.speedup.p50
    if not memory.fits:
        space = "" if memory.available_gb is None else f" of {memory.available_gb:g} GB"
        return f"would not fit: needs about {memory.peak_gb.p50:.3g}{space or ' GB'} on each accelerator"
    if gain < LEAST_GAIN:
        return "makes no difference" if gain > 1.0 / LEAST_GAIN else f"takes {1.0 / gain:.3g} times as long"
    return None


def _best_first(outcome: Outcome) -> float:
    return -outcome.lever.speedup.p50


def _combined(helping: Sequence[Outcome], bench: _Bench) -> list[Combined]:
    """The levers that change neither result nor amount, stacked; then other machines on top of them."""
    free = [one for one in helping if one.trial.is_free]
    machines = [one for one in helping if one.trial.group == "hardware"]
    same = _stacked("same-machines", free, bench)
    other = _stacked("other-machines", [*machines, *free], bench)
    return [one for one in (same, other) if one is not None and len(one.levers) > 1]


def _stacked(name: str, candidates: Sequence[Outcome], bench: _Bench) -> Combined | None:
    """Levers added one by one, the best first, as long as each still helps on top of those before."""
    best: Outcome | None = None
    names: list[str] = []
    for candidate in candidates:
        before = {} if best is None else best.trial.change
        if any(path in before and before[path] != value for path, value in candidate.trial.change.items()):
            continue
        trade_offs = [candidate.trial.trade_off] if best is None else [best.trial.trade_off, candidate.trial.trade_off]
        together = replace(
            candidate.trial,
            name=name,
            group="combined",
            change={**before, **candidate.trial.change},
            trade_off="; ".join(trade_offs),
        )
        (outcome,) = bench.tried([together])
        gain = 1.0 if best is None else best.lever.speedup.p50
        if isinstance(outcome, Outcome) and outcome.lever.memory.fits and outcome.lever.speedup.p50 > LEAST_GAIN * gain:
            best, names = outcome, [*names, candidate.trial.name]
    return None if best is None else Combined(**best.lever.model_dump(), levers=names)

"""From a question to plans: places are searched for layouts, the best are estimated as any request is, and ranked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from pydantic import JsonValue

from service.catalog.catalog import Catalog
from service.configuration import Training
from service.engine.distribution import Distribution, probability_at_most
from service.engine.search import search
from service.engine.table import BoolArray, FloatArray
from service.estimates.quantities import rounded
from service.estimates.remedies import LAYOUT
from service.estimates.schemas import Assumption, Estimate, EstimateRequest, Quantity
from service.estimates.service import estimate_many
from service.estimates.warnings import CERTAIN_ENOUGH, COUNTED_WAYS, LIKELY_ENOUGH, NARROW_FIT, OPEN_FIT
from service.plans.places import Place, estimate_request, places, plain, unknown_chips
from service.plans.schemas import LARGEST_JOB, MOST_FORECASTS, NearestFeasible, Objective, Plan, PlanAnswer, PlanRequest
from service.problems import FieldError
from service.sites.standpoint import Standpoint

# How far beyond what is allowed the least that would work is looked for.
FURTHER_COUNTS = tuple(float(2**exponent) for exponent in range(18) if 2**exponent <= LARGEST_JOB)

CANNOT_RUN = "cannot_run_there"
PAST_DEADLINE = "past_deadline"
OVER_BUDGET = "over_budget"
UNKNOWN_PRICE = "price_unknown"
UNKNOWN_POWER = "power_unknown"
BELOW_LIMIT = "ranked_below_limit"
LEAST_WITHIN = "the least number that keeps to the limits"


@dataclass(frozen=True, eq=False)
class _Finalist:
    """A layout at a place, forecast."""

    place: Place
    request: EstimateRequest
    estimate: Estimate


@dataclass(frozen=True, eq=False)
class _Searched:
    """What fits in memory at some places, and what became of all else."""

    finalists: list[_Finalist]
    errors: list[FieldError]  # why nothing could be asked anywhere
    considered: int
    rejected: Counter[str]


def make_plans(request: PlanRequest, catalog: Catalog, standpoint: Standpoint) -> PlanAnswer | list[FieldError]:
    """The plans that a request allows, or the fields that keep it from being searched at all."""
    errors = unknown_chips(request, catalog)
    counts = request.hardware.tried_counts()
    if not counts:
        errors.append(
            FieldError(
                field="hardware.counts",
                message=f"none is within hardware.max_count = {request.hardware.max_count:g}",
                hint="raise hardware.max_count, or give smaller counts",
            )
        )
    if request.forecasts() > MOST_FORECASTS:
        errors.append(
            FieldError(
                field="hardware.counts",
                message=f"{request.forecasts()} forecasts were needed: chips x counts x layouts",
                hint=f"name fewer chips, counts or layouts: {MOST_FORECASTS} at once, or ask several times",
            )
        )
    if errors:
        return errors
    searched = _search(request, counts, catalog, standpoint)
    if searched.errors:
        return searched.errors
    rejected = searched.rejected
    allowed = []
    for finalist in searched.finalists:
        reason = _refusal(request, finalist.estimate)
        if reason is None:
            allowed.append(finalist)
        else:
            rejected[reason] += 1
    ranked = _ranked(allowed, request.objective)
    front = pareto_front(_aims([finalist.estimate for finalist in ranked]))
    kept = sorted(range(len(ranked)), key=lambda rank: (not front[rank], rank))[: request.limit]
    rejected[BELOW_LIMIT] = len(ranked) - len(kept)
    shown = [ranked[rank] for rank in sorted(kept)]
    plans = [_plan(request, ranked[rank], pareto=bool(front[rank])) for rank in sorted(kept)]
    nearest = [] if plans else _nearest_feasible(request, counts, searched.finalists, catalog, standpoint)
    return PlanAnswer(
        plans=plans,
        considered=searched.considered,
        rejected={reason: many for reason, many in rejected.most_common() if many},
        nearest_feasible=nearest,
        calibration=standpoint.forecaster.calibration_version,
        assumptions=_assumptions(shown),
        warnings=_warnings(request, shown, nearest, rejected),
    )


def pareto_front(aims: FloatArray) -> BoolArray:
    """Which rows no other row beats: as good in every column and better in one, shape (n,).

    Args:
        aims: what is to be small, shape (n, columns).
    """
    others, own = aims[None, :, :], aims[:, None, :]
    beaten = np.all(others <= own, axis=2) & np.any(others < own, axis=2)
    return np.asarray(~np.any(beaten, axis=1), dtype=bool)


def _search(
    request: PlanRequest,
    counts: Sequence[float],
    catalog: Catalog,
    standpoint: Standpoint,
    *,
    only_least: bool = False,
) -> _Searched:
    """The quickest layouts of every place that holds the run, forecast.

    With `only_least`, of each chip at the least count that does.
    """
    made = places(request, counts, catalog)
    if not made.found:
        return _Searched([], list(made.refused[0]), 0, Counter())
    first = made.found[0]
    if not math.isfinite(first.resolved.samples_to_train):
        return _Searched([], [_no_amount(first.resolved.uncounted)], 0, Counter())
    offloads = [str(first.values["offload"])] if "offload" in first.stated else ["none", "cpu"]
    found = search(
        [place.values for place in made.found],
        first.stated,
        standpoint.forecaster.judge,
        offloads=offloads,
        most=request.layouts,
    )
    fitting = [
        (place, candidate)
        for place, candidates in zip(made.found, found.candidates, strict=True)
        for candidate in candidates
        if candidate.fits
    ]
    if only_least:
        least: dict[str, float] = {}
        for place, _ in fitting:
            least[place.accelerator] = min(least.get(place.accelerator, math.inf), place.count)
        fitting = [(place, candidate) for place, candidate in fitting if place.count == least[place.accelerator]]
    requests = [estimate_request(request, place, candidate.layout) for place, candidate in fitting]
    answers = estimate_many(requests, catalog, standpoint) if requests else []
    finalists = [
        _Finalist(place, asked, answer)
        for (place, _), asked, answer in zip(fitting, requests, answers, strict=True)
        if isinstance(answer, Estimate)
    ]
    refused = [answer for answer in answers if not isinstance(answer, Estimate)]
    if refused and not finalists:
        return _Searched([], refused[0], 0, Counter())
    rejected = Counter(found.rejected)
    rejected[CANNOT_RUN] = len(made.refused) + len(refused)
    return _Searched(finalists, [], found.considered + len(made.refused), rejected)


def _no_amount(uncounted: str) -> FieldError:
    """Why nothing has a duration: there is no amount of data, or none that counts samples."""
    return FieldError(
        field="data.tokens",
        message=uncounted or "says no amount of data, without which nothing has a duration",
        hint=COUNTED_WAYS if uncounted else "give data.tokens, data.samples or a known data.name",
    )


def _refusal(request: PlanRequest, estimate: Estimate) -> str | None:
    """Why a forecast is no plan, or None if it is one."""
    if (unknown := _unknown(request, estimate)) is not None:
        return unknown
    if request.deadline_hours is not None and _median(estimate.duration_hours) > request.deadline_hours:
        return PAST_DEADLINE
    if request.budget_usd is not None and _median(estimate.cost_usd) > request.budget_usd:
        return OVER_BUDGET
    return None


def _unknown(request: PlanRequest, estimate: Estimate) -> str | None:
    """What a forecast would have to say to be ranked and held to the limits, and doesn't."""
    if estimate.cost_usd is None and (request.budget_usd is not None or request.objective == "cost"):
        return UNKNOWN_PRICE
    if estimate.energy_kwh is None and request.objective == "energy":
        return UNKNOWN_POWER
    return None


def _median(found: Quantity | None) -> float:
    """The median; infinite where the quantity is unknown, so that what is known goes before it."""
    return math.inf if found is None else found.p50


def _aims(estimates: Sequence[Estimate]) -> FloatArray:
    """Medians of time, cost and energy, shape (n, 3)."""
    medians = [
        (_median(estimate.duration_hours), _median(estimate.cost_usd), _median(estimate.energy_kwh))
        for estimate in estimates
    ]
    return np.array(medians, dtype=np.float64).reshape(-1, 3)


def _ranked(finalists: Sequence[_Finalist], objective: Objective) -> list[_Finalist]:
    """Best first by the objective's median, then by time."""
    column = ("time", "cost", "energy").index(objective)
    aims = _aims([finalist.estimate for finalist in finalists])
    order = np.lexsort((aims[:, 0], aims[:, column]))
    return [finalists[int(position)] for position in order]


def _plan(request: PlanRequest, finalist: _Finalist, *, pareto: bool) -> Plan:
    asked, estimate = finalist.request, finalist.estimate
    if estimate.duration_hours is None or estimate.accelerator_hours is None:
        raise AssertionError("an amount of data was asked for")
    energy = estimate.energy_kwh
    return Plan(
        hardware=plain(asked.hardware.stated()),
        training=plain(asked.training.stated()),
        duration_hours=estimate.duration_hours,
        accelerator_hours=estimate.accelerator_hours,
        cost_usd=estimate.cost_usd,
        energy_kwh=Quantity(p10=energy.p10, p50=energy.p50, p90=energy.p90) if energy else None,
        carbon_kg_co2e=estimate.carbon_kg_co2e,
        memory=estimate.memory,
        mfu=estimate.mfu,
        fits_probability=estimate.memory.fits_probability,
        meets_deadline_probability=_within(estimate.duration_hours, request.deadline_hours),
        meets_budget_probability=_within(estimate.cost_usd, request.budget_usd),
        grade=estimate.evidence.grade,
        pareto=pareto,
    )


def _within(found: Quantity | None, limit: float | None) -> float | None:
    """Probability that a quantity keeps to a limit; None where either is not there."""
    if found is None or limit is None:
        return None
    sides = Distribution(*(np.array([side]) for side in (found.p10, found.p50, found.p90)))
    return rounded(probability_at_most(sides, limit)[0])


def _nearest_feasible(
    request: PlanRequest,
    counts: Sequence[float],
    finalists: Sequence[_Finalist],
    catalog: Catalog,
    standpoint: Standpoint,
) -> list[NearestFeasible]:
    """The least changes under which there is a plan, each tried."""
    ways: dict[str, NearestFeasible] = {}
    released: dict[str, JsonValue] = {}

    def add(finalists: Sequence[_Finalist], reason: str) -> None:
        for finalist in finalists[:1]:
            way = _feasible(request, finalist, released, reason)
            ways.setdefault(str(way.change), way)

    if not finalists:
        others = [count for count in FURTHER_COUNTS if count not in counts]
        limited = request.deadline_hours is not None or request.budget_usd is not None
        larger = _search(request, others, catalog, standpoint, only_least=not limited).finalists
        kept = {name: value for name, value in request.training.stated().items() if f"training.{name}" not in LAYOUT}
        if not larger and len(kept) < len(request.training.stated()):
            # No number does it as it is laid out.
            released |= {f"training.{name}": None for name in request.training.stated() if name not in kept}
            open_request = request.model_copy(update={"training": Training.model_validate(kept)})
            larger = _search(open_request, sorted({*counts, *others}), catalog, standpoint, only_least=True).finalists
        by_count = sorted(_ranked(larger, request.objective), key=lambda finalist: finalist.place.count)
        for accelerator in dict.fromkeys(finalist.place.accelerator for finalist in by_count):
            of_chip = [finalist for finalist in by_count if finalist.place.accelerator == accelerator]
            add(of_chip, f"the least number of {accelerator} that holds it")
        add(_keeping(request, by_count), LEAST_WITHIN)
        return list(ways.values())
    known = [finalist for finalist in finalists if _unknown(request, finalist.estimate) is None]
    if not known:
        add(_ranked(finalists, "time"), "the quickest: of none of these a price or power is known to go by")
        return list(ways.values())
    finalists = known
    if request.deadline_hours is not None:
        within = _keeping(request.model_copy(update={"deadline_hours": None}), finalists)
        add(_ranked(within or finalists, "time"), "the quickest of what fits in memory")
    if request.budget_usd is not None:
        within = _keeping(request.model_copy(update={"budget_usd": None}), finalists)
        add(_ranked(within or finalists, "cost"), "the cheapest of what fits in memory")
    if request.deadline_hours is not None:
        others = [count for count in FURTHER_COUNTS if count > max(counts)]
        larger = _keeping(request, _search(request, others, catalog, standpoint).finalists)
        add(sorted(_ranked(larger, request.objective), key=lambda finalist: finalist.place.count), LEAST_WITHIN)
    return list(ways.values())


def _keeping(request: PlanRequest, finalists: Sequence[_Finalist]) -> list[_Finalist]:
    """Those that are plans under the request's limits."""
    return [finalist for finalist in finalists if _refusal(request, finalist.estimate) is None]


def _feasible(
    request: PlanRequest, finalist: _Finalist, released: Mapping[str, JsonValue], reason: str
) -> NearestFeasible:
    """What of the request has to change for a forecast to be a plan, besides the fields that are released."""
    count, estimate, hardware = finalist.place.count, finalist.estimate, request.hardware
    change: dict[str, JsonValue] = dict(released)
    if count > hardware.max_count:
        change["hardware.max_count"] = count
    if hardware.counts is not None and count not in hardware.counts:
        change["hardware.counts"] = [count]
    limits = {
        "deadline_hours": (estimate.duration_hours, request.deadline_hours),
        "budget_usd": (estimate.cost_usd, request.budget_usd),
    }
    for name, (found, limit) in limits.items():
        if found is not None and limit is not None and found.p50 > limit:
            change[name] = _rounded_up(found.p50)
    if _unknown(request, estimate) is not None:
        change["objective"] = "time"
        if request.budget_usd is not None and estimate.cost_usd is None:
            change["budget_usd"] = None
    return NearestFeasible(change=change, reason=reason, plan=_plan(request, finalist, pareto=True))


def _rounded_up(value: float) -> float:
    """The next number of three digits, so that a limit of it is kept."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.ceil(value / unit) * unit:.6g}")


def _assumptions(finalists: Sequence[_Finalist]) -> list[Assumption]:
    """What was assumed of any of them, but for what the plans show."""
    listed: dict[tuple[str, str], Assumption] = {}
    for finalist in finalists:
        # A batch may follow from the layout's replicas.
        batch = {"training.global_batch": finalist.request.training.global_batch}
        of_place = [
            Assumption(field=made.field, value=cast(Any, batch.get(made.field, made.value)), reason=made.reason)
            for made in finalist.place.resolved.assumptions
        ]
        for made in [*of_place, *finalist.estimate.assumptions]:
            listed.setdefault((made.field, str(made.value)), made)
    return list(listed.values())


def _warnings(
    request: PlanRequest,
    finalists: Sequence[_Finalist],
    nearest: Sequence[NearestFeasible],
    rejected: Mapping[str, int],
) -> list[str]:
    warnings = list(
        dict.fromkeys(
            warning
            for finalist in finalists
            for warning in finalist.estimate.warnings
            if not warning.startswith((NARROW_FIT, OPEN_FIT))
        )
    )
    # Each narrow fit is of another probability; told one by one, they would hide all else.
    likely = [f.estimate.memory.fits_probability for f in finalists]
    if narrow := [probability for probability in likely if probability < CERTAIN_ENOUGH]:
        open_fits = sum(probability < LIKELY_ENOUGH for probability in narrow)
        how = "may or may not fit" if open_fits == len(narrow) else "are likely to fit, not certain"
        rest = f", {open_fits} of them may or may not" if 0 < open_fits < len(narrow) else ""
        warnings.append(
            f"{len(narrow)} of {len(finalists)} plans {how}{rest} ({min(narrow):.0%} or more); "
            "an estimate of a plan says what would save memory."
        )
    if request.training.precision is None and any(f.place.values["precision"] == "fp8" for f in finalists):
        warnings.append("Some plans compute in fp8, taken to train as well; give training.precision to fix it.")
    remedies = {UNKNOWN_PRICE: "pricing.usd_per_accelerator_hour", UNKNOWN_POWER: "location.watts_per_accelerator"}
    for reason, field in remedies.items():
        if rejected[reason]:
            warnings.append(f"{rejected[reason]} configurations are no plan for {reason}: give {field}.")
    if not finalists:
        warnings.append(
            "Nothing that is allowed does it; nearest_feasible says what would."
            if nearest
            else f"Nothing that is allowed does it, and no number of these accelerators up to {LARGEST_JOB:,} does."
        )
    return warnings

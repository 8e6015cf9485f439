"""The members of an estimate as columns of a table of answers, and which of them a caller wants."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel

from service.catalog.operating_facts import operating_facts, publications
from service.catalog.resolution import SHOWN_WITH_LAYOUT
from service.engine.distribution import Distribution, FloatArray
from service.engine.evidence import Neighbour
from service.estimates.columns import Alike, Column, Known, Parts, Path, documents, known
from service.estimates.runs import Runs
from service.estimates.schemas import Estimate, Evidence, GoodputAnswer, Layout, Memory, Throughput
from service.estimates.warnings import warnings_of
from service.problems import FieldError, Unprocessable
from service.suggestions import closest_field

OBJECTS: dict[str, type[BaseModel]] = {
    "throughput": Throughput,
    "memory": Memory,
    "goodput": GoodputAnswer,
    "evidence": Evidence,
}
"""Members whose own members can be asked for one by one."""
FIELDS = tuple(
    path
    for name in Estimate.model_fields
    for path in (name, *(f"{name}.{inner}" for inner in (OBJECTS[name].model_fields if name in OBJECTS else ())))
)
"""What can be asked for, in the order in which it is answered."""
# Fields of a request's `goodput` -> where `OperatingFacts.sources` lists what stands behind them.
SOURCES = {
    "failures_per_accelerator_hour": "failures_per_accelerator_hour",
    "recovery_seconds": "recovery_seconds",
    "checkpoint_seconds": "checkpoint_seconds",
    "checkpoint_interval_hours": "longest_checkpoint_interval_hours",
    "evaluation_share": "evaluation_share",
    "startup_seconds": "startup",
}
INTERVAL = "checkpoint_interval_hours"
BEST_INTERVAL = "Young 1974, CACM 17(9):530"
_EMPTY_LAYOUT = dict.fromkeys(Layout.model_fields)
Documents = list[dict[str, Any]]


def chosen_fields(asked: str) -> frozenset[Path]:
    """The paths of comma-separated dotted names of members.

    Raises:
        Unprocessable: A name is none of `FIELDS`, or there is no name.
    """
    names = [name.strip() for name in asked.split(",")]
    unknown = [name for name in names if name not in FIELDS]
    if not unknown:
        return frozenset(tuple(name.split(".")) for name in names)
    meant = closest_field(unknown[0], FIELDS)
    hint = f"{f'did you mean {meant}? ' if meant in FIELDS else ''}there are {', '.join(FIELDS)}"
    errors = [FieldError(field="fields", message=f"an estimate has no {name!r}", hint=hint) for name in unknown]
    raise Unprocessable(f"fields: {errors[0].message}", errors)


def members(runs: Runs) -> dict[str, Column]:
    """All members of the estimates of some runs, in the order of `Estimate`."""
    nothing = [None] * len(runs.resolved)
    forecast, table = runs.forecast, runs.table
    speed, length = forecast.samples_per_second, table["sequence_length"]
    standpoint = runs.standpoint
    return {
        "id": nothing,
        "created_at": nothing,
        "throughput": {
            "samples_per_second": speed,
            "tokens_per_second": lambda: speed.scaled(np.where(length > 0, length, np.nan)),
            "per_accelerator": lambda: speed.scaled(1.0 / table["count"]),
        },
        "step_seconds": forecast.step_seconds,
        "duration_hours": lambda: runs.duration_hours,
        "accelerator_hours": lambda: runs.accelerator_hours,
        "mfu": forecast.mfu,
        "breakdown": Parts(forecast.breakdown),
        "memory": {
            "peak_gb": forecast.memory_gb,
            "parts": Parts(forecast.memory_parts),
            "available_gb": known(table["memory_gb"]),
            "fits": forecast.fits.tolist(),
            "fits_probability": forecast.fits_probability,
        },
        "goodput": lambda: _goodput(runs),
        "cost_usd": runs.cost,
        "energy_kwh": lambda: _energy(runs),
        "carbon_kg_co2e": runs.carbon,
        "embodied_kg_co2e": runs.embodied,
        "layout": lambda: _layouts(runs),
        "assumptions": lambda: _assumptions(runs),
        "warnings": lambda: warnings_of(runs),
        "remedies": lambda: _remedies(runs),
        "evidence": {
            "calibration": [standpoint.forecaster.calibration_version] * len(nothing),
            "site_version": [standpoint.site_version] * len(nothing),
            "grade": forecast.grade.tolist(),
            "nearest": lambda: _nearest(runs.nearest()),
        },
    }


def _energy(runs: Runs) -> Known:
    whole = runs.energy.total
    sides = {"p10": whole.p10, "p50": whole.p50, "p90": whole.p90}
    return Known(np.isfinite(whole.p50), {**sides, "parts": Parts(runs.energy.parts)})


def _goodput(runs: Runs) -> Known:
    course = runs.course
    return Known(
        np.isfinite(course.share.p50) & np.isfinite(course.wall_hours.p50),
        {
            "share": course.share,
            "hours": {**course.parts},
            "failures": course.failures,
            "checkpoint_interval_hours": course.checkpoint_interval_hours,
            "basis": lambda: _basis(runs),
        },
    )


def _basis(runs: Runs) -> Column:
    """What hours were reckoned with: the checkpoint interval is each row's own, the constants few rows' and many's."""
    constants = dict(runs.course.constants)
    interval = _figure(INTERVAL, constants.pop(INTERVAL), getattr(runs.overrides, INTERVAL))
    first, of_row = runs.alike_in_interruptions()
    shared = {
        name: Alike(of_row, _figure(name, figure.take(first), getattr(runs.overrides, name)[first]))
        for name, figure in constants.items()
    }
    return {**shared, INTERVAL: interval}


def _figure(name: str, figure: Distribution, override: FloatArray) -> Column:
    """A figure that hours were reckoned with, whether the request stated it, and what stands behind it otherwise."""
    stated = (~np.isnan(override)).tolist()
    sources = publications(operating_facts(), SOURCES[name])
    published = [BEST_INTERVAL, *sources] if name == INTERVAL else sources
    return {"value": figure, "stated": stated, "sources": [[] if one else published for one in stated]}


def _layouts(runs: Runs) -> Documents:
    """How each run is split and held; rows that are laid out alike share a document."""
    written: dict[tuple[object, ...], dict[str, Any]] = {}
    listed = []
    for resolution in runs.resolved:
        key = tuple(map(resolution.values.get, SHOWN_WITH_LAYOUT))
        layout = written.get(key)
        if layout is None:
            layout = written[key] = _EMPTY_LAYOUT | resolution.layout
        listed.append(layout)
    return listed


def _assumptions(runs: Runs) -> list[Documents]:
    """What was left out of each request and is assumed; rates only where there is something to reckon with them."""
    of_rates = [rates.assumptions() for rates in runs.rates.different]
    trained = np.isfinite(runs.samples).tolist()
    return [
        [
            *({"field": made.field, "value": made.value, "reason": made.reason} for made in resolution.assumptions),
            *(of_rates[code] if known_amount else ()),
        ]
        for resolution, code, known_amount in zip(runs.resolved, runs.rates.codes, trained, strict=True)
    ]


def _remedies(runs: Runs) -> list[Documents]:
    found = {row: [remedy.model_dump() for remedy in remedies] for row, remedies in runs.remedies.items()}
    return [found.get(row, []) for row in range(len(runs.resolved))]


def _nearest(neighbours: list[list[Neighbour]]) -> list[Documents]:
    """Neighbours of each row as documents."""
    each = [one for near in neighbours for one in near]
    columns: dict[str, Column] = {
        "id": [one.id for one in each],
        "distance": np.array([one.distance for one in each]),
        "measured": known(np.array([one.measured_samples_per_second for one in each])),
        "predicted": known(np.array([one.predicted_samples_per_second for one in each])),
    }
    shown = documents(columns, len(each))
    return [[next(shown) for _ in near] for near in neighbours]

"""What a calibration says of itself."""

import gzip
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from service.calibrations.factors import operating_factors
from service.calibrations.repository import Outcome
from service.calibrations.schemas import (
    Accuracy,
    CoefficientEntry,
    Content,
    CurrentCalibration,
    SpreadEntry,
    TrackRecord,
)
from service.calibrations.tables import CalibrationRow
from service.catalog.operating_facts import operating_facts
from service.engine.coefficients import COEFFICIENTS
from service.engine.effects import TERMS
from service.engine.forecast import Forecaster


def describe(forecaster: Forecaster, row: CalibrationRow | None, record: TrackRecord) -> CurrentCalibration:
    """The calibration in use and the service's track record; `row` is how it is stored, where it is."""
    return CurrentCalibration(
        version=forecaster.calibration_version,
        fingerprint=forecaster.fingerprint,
        created_at=row.created_at if row else None,
        activated_at=row.activated_at if row else None,
        track_record=record,
        **dict(content_of(forecaster)),
    )


def content_of(forecaster: Forecaster) -> Content:
    """What a calibration learned."""
    deviation = np.sqrt(np.diag(forecaster.covariance.fitted))
    coefficients = [
        CoefficientEntry(
            name=coefficient.name,
            unit=coefficient.unit,
            value=float(forecaster.unknowns[position]),
            standard_deviation=float(deviation[position]),
            prior_mean=float(coefficient.prior_mean),
            prior_standard_deviation=float(coefficient.prior_sd),
            source=coefficient.source,
        )
        for position, coefficient in enumerate(COEFFICIENTS)
    ]
    spreads = [
        SpreadEntry(
            coefficient=term.coefficient,
            grouping=term.grouping,
            groups=len(levels),
            standard_deviation=float(spread),
        )
        for term, levels, spread in zip(TERMS, forecaster.design.levels, forecaster.spreads, strict=True)
    ]
    return Content(
        measurements=len(forecaster.evidence.ids),
        residual_standard_deviation=forecaster.sigma,
        coefficients=coefficients,
        spreads=spreads,
        accuracy=Accuracy.model_validate(forecaster.report),
        operating_factors=operating_factors(operating_facts()),
    )


@lru_cache(maxsize=4)
def stored_content(content: bytes) -> Content | None:
    """What a stored calibration learned; None if another version of the engine fitted it."""
    try:
        return content_of(Forecaster.load(content))
    except ValueError:
        return None


def stored_report(content: bytes) -> dict[str, Any]:
    """The accuracy report of a stored calibration, whichever version of the engine fitted it."""
    report: dict[str, Any] = json.loads(gzip.decompress(content)).get("report", {})
    return report


def track_record(outcomes: Sequence[Outcome]) -> TrackRecord:
    """The service's track record: the median over teams of each team's figures, so that a team, however many rows it
    submits, has one vote."""
    teams: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        teams.setdefault(outcome.team_id, []).append(outcome)
    figures = [_figures(own) for own in teams.values()]

    def middle(name: str) -> float | None:
        known = [own[name] for own in figures if name in own]
        return float(np.median(known)) if known else None

    return TrackRecord(
        n=len(outcomes),
        teams=len(teams),
        **{name: middle(name) for name in ("mape", "median_ape", "bias", "coverage_80")},
    )


def _figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """How one team's forecasts fared."""
    log_ratio = np.array([outcome.error_log for outcome in outcomes])
    covered = [outcome.covered for outcome in outcomes if outcome.covered is not None]
    absolute = np.abs(np.expm1(log_ratio))
    return {
        "mape": float(np.mean(absolute)),
        "median_ape": float(np.median(absolute)),
        "bias": float(np.median(log_ratio)),
        **({"coverage_80": float(np.mean(covered))} if covered else {}),
    }


def source_errors(forecaster: Forecaster) -> dict[str, float]:
    """Median absolute percentage error by source, with the source's lineage left out of the fit, as reported."""
    scores: dict[str, Any] = forecaster.report.get("by_source", {})
    return {name: float(found["median_ape"]) for name, found in scores.items() if found.get("median_ape") is not None}

"""What a calibration says of itself."""

from typing import Any

import numpy as np

from service.calibrations.factors import operating_factors
from service.calibrations.schemas import Accuracy, CalibrationEntry, CoefficientEntry, SpreadEntry
from service.calibrations.tables import CalibrationRow
from service.catalog.operating_facts import operating_facts
from service.engine.coefficients import COEFFICIENTS
from service.engine.effects import TERMS
from service.engine.forecast import Forecaster


def describe(forecaster: Forecaster, row: CalibrationRow | None) -> CalibrationEntry:
    """The calibration in use; `row` is how it is stored, where it is."""
    deviation = np.sqrt(np.diag(forecaster.covariance))
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
    return CalibrationEntry(
        version=forecaster.calibration_version,
        fingerprint=forecaster.fingerprint,
        created_at=row.created_at if row else None,
        activated_at=row.activated_at if row else None,
        measurements=len(forecaster.evidence.ids),
        residual_standard_deviation=forecaster.sigma,
        coefficients=coefficients,
        spreads=spreads,
        accuracy=Accuracy.model_validate(forecaster.report),
        operating_factors=operating_factors(operating_facts()),
    )


def source_errors(forecaster: Forecaster) -> dict[str, float]:
    """Median absolute percentage error by source, with the source's lineage left out of the fit, as reported."""
    scores: dict[str, Any] = forecaster.report.get("by_source", {})
    return {name: float(found["median_ape"]) for name, found in scores.items() if found.get("median_ape") is not None}

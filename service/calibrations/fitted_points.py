"""Predicted against measured: the measurements behind a calibration as the points of a scatter plot."""

import numpy as np

from service.calibrations.schemas import FittedMeasurement, FittedMeasurements
from service.engine.forecast import Forecaster

NOTE = (
    "Each is predicted for a new site that ran the same, without what near measurements correct, but by coefficients "
    "that were fitted on it too, so that the scatter flatters. Errors on sources that a fit had not seen are in "
    "`accuracy` of GET /v1/calibrations/current."
)
DIGITS = 4
"""Significant digits of the times: more than a plot can show."""


def fitted_measurements(forecaster: Forecaster, per_lineage: int) -> FittedMeasurements:
    """At most so many measurements of each lineage, evenly spaced in the order they were fitted in.

    Left out are those that teams submitted: they refine a fit and are no witnesses in it.
    """
    evidence = forecaster.evidence
    shown = np.flatnonzero(np.isfinite(evidence.log_beyond) & np.isfinite(evidence.log_measured))
    all_lineages, families = evidence.lineages.text, evidence.families.text
    lineages = all_lineages[shown].astype(str)
    chosen: list[int] = []
    for lineage in np.unique(lineages):
        members = shown[lineages == lineage]
        spaced = np.linspace(0, len(members) - 1, min(per_lineage, len(members))).round().astype(int)
        chosen += members[spaced].tolist()
    measured = np.exp(evidence.log_measured)
    predicted = np.exp(evidence.log_measured - evidence.log_beyond)
    models, chips = evidence.names["model"].text, evidence.names["accelerator"].text
    return FittedMeasurements(
        calibration=forecaster.calibration_version,
        note=NOTE,
        measurements=len(shown),
        items=[
            FittedMeasurement(
                id=str(evidence.ids[row]),
                family=str(families[row]),
                lineage=str(all_lineages[row]),
                model=str(models[row]) or None,
                accelerator=str(chips[row]),
                measured_seconds=float(f"{measured[row]:.{DIGITS}g}"),
                predicted_seconds=float(f"{predicted[row]:.{DIGITS}g}"),
            )
            for row in chosen
        ],
    )

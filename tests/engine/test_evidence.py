"""What is looked up by an index is what a scan of all measurements finds."""

import numpy as np
import pytest

from service.calibrations.shipped import measured, shipped_rows
from service.catalog.catalog import Catalog
from service.engine.beliefs import Posterior
from service.engine.effects import SITE_TERMS, TERMS, grouping, row_coefficients
from service.engine.evidence import (
    CORRECTION_FEATURES,
    CORRECTION_LENGTH,
    NAME_PENALTIES,
    Evidence,
    features,
)
from service.engine.forecast import Forecaster
from service.engine.table import FloatArray, IntArray, Table


@pytest.fixture(scope="module")
def runs(catalog: Catalog) -> Table:
    """A few measured runs of every kind, and what nobody measured: an unheard-of chip, a framework left open."""
    rows, ids = shipped_rows()
    picked = slice(None, None, 1001)
    table = measured(rows[picked], ids[picked], catalog).table
    chips, frameworks = table.text("accelerator").copy(), table.text("framework").copy()
    chips[0], frameworks[1] = "unheard-of", ""
    return table.replace(accelerator=chips, framework=frameworks)


def scanned(evidence: Evidence, table: Table, row: int, columns: list[int]) -> tuple[IntArray, FloatArray]:
    """Positions of all measurements of a row's family, and how far away each is."""
    pool = np.flatnonzero(evidence.families.text == table.text("family")[row])
    here = features(table)[row, columns]
    squared = ((evidence.coordinates[pool][:, columns] - here) ** 2).sum(axis=1)
    for name, penalty in NAME_PENALTIES:
        asked = table.text(name)[row]
        if asked:
            squared += penalty**2 * (evidence.names[name].text[pool] != asked)
    return pool, np.sqrt(squared)


def test_the_nearest_are_those_that_a_scan_finds(forecaster: Forecaster, runs: Table) -> None:
    evidence, every = forecaster.evidence, list(range(features(runs).shape[1]))
    near, distance = evidence.nearest(runs, 5), evidence.nearest_distance(runs)
    for row in range(len(runs)):
        _, far = scanned(evidence, runs, row, every)
        assert [one.distance for one in near[row]] == pytest.approx(np.sort(far)[:5], abs=1e-4)
        assert distance[row] == pytest.approx(far.min(), abs=1e-5)


def test_a_correction_weighs_all_measurements_of_each_lineage(forecaster: Forecaster, runs: Table) -> None:
    evidence = forecaster.evidence
    found = evidence.correction(runs)
    for row in range(len(runs)):
        pool, far = scanned(evidence, runs, row, CORRECTION_FEATURES)
        kernel, beyond = np.exp(-0.5 * (far / CORRECTION_LENGTH) ** 2), evidence.log_beyond[pool]
        lineages = evidence.lineages.text[pool]
        heard = np.isfinite(beyond)
        total, belief = 0.0, 1.0
        for lineage in set(lineages[heard].tolist()):
            own = heard & (lineages == lineage)
            weight, strength = kernel[own] ** 2, kernel[own].max()
            if strength > 1e-6:
                total += strength * float(weight @ np.clip(beyond[own], -1.5, 1.5)) / float(weight.sum())
            belief += strength
        assert found[row] == pytest.approx(total / belief, abs=1e-6)


def test_coefficients_and_their_variance_are_sums_over_a_rows_groups(forecaster: Forecaster, runs: Table) -> None:
    posterior = Posterior(forecaster.design, forecaster.unknowns, forecaster.covariance, forecaster.spreads)
    positions, multipliers, targets = forecaster.design.columns(runs)
    expected = row_coefficients(positions, multipliers, targets, forecaster.unknowns)
    assert posterior.coefficients(runs) == pytest.approx(expected, rel=1e-9)
    mechanics = forecaster.mechanics(runs)
    gradient = mechanics.derivative[:, targets] * multipliers
    for row in range(len(runs)):
        seen = positions[row] >= 0
        slope, where = gradient[row][seen], positions[row][seen]
        variance = slope @ forecaster.covariance[np.ix_(where, where)] @ slope
        for index, term in enumerate(TERMS, start=forecaster.design.fixed):
            expected_level = term.grouping in SITE_TERMS or grouping(runs, term.grouping).text[row] != ""
            if not seen[index] and expected_level:
                variance += (gradient[row][index] * forecaster.spreads[index - forecaster.design.fixed]) ** 2
        assert mechanics.variance[row] == pytest.approx(variance, rel=1e-6)

"""What is looked up by an index is what a scan of all measurements finds."""

import numpy as np
import pytest

from service.calibrations.shipped import measured
from service.catalog.catalog import Catalog
from service.engine.beliefs import Posterior
from service.engine.effects import SITE_TERMS, TERMS, grouping, row_coefficients
from service.engine.evidence import (
    CORRECTION_FEATURES,
    CORRECTION_LENGTH,
    NAME_PENALTIES,
    Evidence,
    features,
    named,
)
from service.engine.forecast import Forecaster
from service.engine.table import FloatArray, IntArray, Table
from tests.conftest import ShippedRows
from tests.engine.conftest import LLAMA, TableOf


@pytest.fixture(scope="module")
def runs(catalog: Catalog, every_row: ShippedRows) -> Table:
    """A few measured runs of every kind, and what nobody measured: an unheard-of chip, a framework left open."""
    rows, ids = every_row
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
        asked = named(table, name).text[row]
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


def crowd(evidence: Evidence, copies: int) -> Evidence:
    """As if so many sites had measured what is known, each a little apart from the others."""
    rows = np.tile(np.arange(len(evidence.ids)), copies)
    moved = np.random.default_rng(0).normal(0.0, 0.1, (len(rows), evidence.coordinates.shape[1]))
    return Evidence(
        evidence.ids[rows],
        evidence.coordinates[rows] + moved,
        {name: column.take(rows) for name, column in evidence.names.items()},
        evidence.families.take(rows),
        evidence.lineages.take(rows),
        evidence.log_measured[rows],
        evidence.log_predicted[rows],
        evidence.log_beyond[rows],
    )


def test_among_many_more_the_nearest_are_still_those_that_a_scan_finds(forecaster: Forecaster, runs: Table) -> None:
    evidence, every = crowd(forecaster.evidence, 8), list(range(features(runs).shape[1]))
    for k in (1, 5, 40):
        near = evidence.nearest(runs, k)
        for row in range(len(runs)):
            _, far = scanned(evidence, runs, row, every)
            assert [one.distance for one in near[row]] == pytest.approx(np.sort(far)[:k], abs=1e-4)


def test_many_runs_of_one_kind_are_graded_as_each_alone(forecaster: Forecaster, table_of: TableOf) -> None:
    generator = np.random.default_rng(0)

    def powers(least: int, most: int) -> FloatArray:
        return np.asarray(2.0 ** generator.integers(least, most, 400), dtype=np.float64)

    table = (
        table_of(LLAMA)
        .take(np.zeros(400, dtype=np.int64))
        .replace(
            count=powers(0, 12), global_batch=powers(4, 16), sequence_length=powers(6, 20), micro_batch=powers(0, 8)
        )
    )
    grades = forecaster.predict(table).grade
    assert set(grades) == {"measured", "interpolated", "extrapolated"}
    distances = forecaster.evidence.nearest_distance(table)
    for row in range(len(table)):
        alone = table.take(slice(row, row + 1))
        assert forecaster.predict(alone).grade[0] == grades[row]
        assert forecaster.evidence.nearest_distance(alone)[0] == pytest.approx(distances[row], abs=1e-9)


def test_the_nearest_of_other_lineages_leave_a_runs_own_out(forecaster: Forecaster, runs: Table) -> None:
    evidence, every = forecaster.evidence, list(range(features(runs).shape[1]))
    distance = evidence.distance_to_others(runs)
    for row in range(len(runs)):
        pool, far = scanned(evidence, runs, row, every)
        others = far[evidence.lineages.text[pool] != runs.text("lineage")[row]]
        assert distance[row] == pytest.approx(others.min(initial=np.inf), abs=1e-5)


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
        variance = slope @ forecaster.covariance.among(where) @ slope
        for index, term in enumerate(TERMS, start=forecaster.design.fixed):
            expected_level = term.grouping in SITE_TERMS or grouping(runs, term.grouping).text[row] != ""
            if not seen[index] and expected_level:
                variance += (gradient[row][index] * forecaster.spreads[index - forecaster.design.fixed]) ** 2
        assert mechanics.variance[row] == pytest.approx(variance, rel=1e-6)

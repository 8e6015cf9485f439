"""What teams submit refines what ships, and cannot run away with it."""

from dataclasses import replace

import numpy as np
import pytest

from service.calibrations.shipped import Measured, measured
from service.catalog.catalog import Catalog
from service.engine.calibration import Fit, fit, predict
from service.engine.table import FloatArray, Table
from service.engine.trust import is_submitted, refine, vouch
from tests.calibrations.conftest import SMALL_SOURCES
from tests.conftest import ShippedRows

TEAMS = 3


@pytest.fixture(scope="module")
def shipped(catalog: Catalog, every_row: ShippedRows) -> Measured:
    """Six small sources of what ships."""
    rows, ids = every_row
    kept = [index for index, row in enumerate(rows) if row["provenance.source"] in SMALL_SOURCES]
    found = measured([rows[index] for index in kept], [ids[index] for index in kept], catalog)
    timed = np.isfinite(found.log_seconds)
    return replace(found, table=found.table.take(timed), log_seconds=found.log_seconds[timed])


@pytest.fixture(scope="module")
def anchor(shipped: Measured) -> Fit:
    """A fit of them."""
    return fit(shipped.table, shipped.log_seconds)


@pytest.fixture(scope="module")
def submitted(shipped: Measured) -> Table:
    """The same configurations, as some teams would submit them."""
    teams = np.array([f"team:{index % TEAMS}" for index in range(len(shipped.table))], dtype=object)
    return shipped.table.replace(lineage=teams, site=teams)


def predictions(fitted: Fit, table: Table) -> FloatArray:
    """Median log seconds of a new site."""
    nowhere = np.full(len(table), "", dtype=object)
    return predict(fitted, table.replace(lineage=nowhere, site=nowhere))[0]


def test_rows_are_told_apart_by_who_submitted_them(shipped: Measured, submitted: Table) -> None:
    assert is_submitted(submitted).all()
    assert not is_submitted(shipped.table).any()


@pytest.mark.parametrize("factor", [3.0, 1 / 3.0])
def test_what_all_rows_of_a_team_share_moves_nobody_else(
    anchor: Fit, shipped: Measured, submitted: Table, factor: float
) -> None:
    honest = predictions(refine(anchor, submitted, shipped.log_seconds), shipped.table)
    malicious = predictions(refine(anchor, submitted, shipped.log_seconds + np.log(factor)), shipped.table)
    np.testing.assert_allclose(malicious, honest, atol=1e-6)


def test_teams_whose_rows_are_noise_have_no_say(anchor: Fit, shipped: Measured, submitted: Table) -> None:
    noise = np.random.default_rng(1).uniform(-np.log(10), np.log(10), len(submitted))
    assert not vouch(anchor, submitted, shipped.log_seconds + noise).used.any()
    assert refine(anchor, submitted, shipped.log_seconds + noise) is anchor


def test_a_run_far_from_its_team_has_no_say(anchor: Fit, shipped: Measured, submitted: Table) -> None:
    odd = shipped.log_seconds.copy()
    odd[7] += np.log(100.0)
    assert not vouch(anchor, submitted, odd).used[7]


def test_how_a_new_chip_compares_with_known_ones_is_learned(anchor: Fit, shipped: Measured, submitted: Table) -> None:
    chip = np.array(submitted.text("accelerator"))
    new = np.arange(len(submitted)) % 2 == 0
    chip[new] = "brand-new"
    table = submitted.replace(accelerator=chip)
    faster = shipped.log_seconds - np.where(new, 0.3, 0.0)
    refined = refine(anchor, table, faster)
    asked = shipped.table.replace(accelerator=np.full(len(shipped.table), "brand-new", dtype=object))
    moved = predictions(refined, asked) - predictions(anchor, asked)
    assert np.median(moved) < -0.03

"""Measurements of the database as a fit takes them: whatever a team's rows say of their source, they are the team's.

Whose rows they are decides how much they count: a fit bounds the say of each lineage, and a team is one lineage,
under however many source names and sites it submits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from service.calibrations.repository import FittedRow
from service.calibrations.shipped import Measured, measured
from service.catalog.catalog import Catalog
from service.engine.table import BoolArray, Table, TextArray
from service.engine.trust import TEAM, is_submitted

MOST_REFINING_SITES = 64
"""Sites of teams whose rows refine a fit. Judgement: each brings some ten unknowns, and a fit takes time with the cube
of its two thousand; whatever their number, all rows together count as ten (`engine.trust.MOST_SAY`)."""


def refining_rows(table: Table, most_sites: int = MOST_REFINING_SITES) -> BoolArray:
    """Which rows refine a fit, shape (n,): what teams submitted, of so many sites at most.

    Beyond that of every team in turn one of its sites, in an order that is chance, and lasting.
    """
    submitted, sites = is_submitted(table), table.text("site").astype(str)
    owners = dict(zip(sites[submitted].tolist(), table.text("lineage")[submitted].tolist(), strict=True))
    turns: Counter[str] = Counter()
    queue: list[tuple[int, str, str]] = []
    for site in sorted(owners, key=_chance):
        queue.append((turns[owners[site]], _chance(owners[site]), site))
        turns[owners[site]] += 1
    return submitted & np.isin(sites, [site for *_, site in sorted(queue)[:most_sites]])


def _chance(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def measured_rows(rows: Sequence[FittedRow], catalog: Catalog) -> Measured:
    """The rows made computable, in their order; those that can't be resolved are left out."""
    data = measured([row.fields for row in rows], [row.id for row in rows], catalog)
    by_id = {row.id: row for row in rows}
    lineage: TextArray = data.table.text("lineage").copy()
    site: TextArray = data.table.text("site").copy()
    for index, name in enumerate(data.ids):
        row = by_id[str(name)]
        if row.team_id is not None:
            lineage[index] = f"{TEAM}{row.team_id}"
            # A calibration carries the names of its levels wherever it goes; what a team calls its sites stays at home.
            site[index] = f"{TEAM}{row.team_id}/{hashlib.sha256((row.site or '').encode()).hexdigest()[:8]}"
    return Measured(
        data.table.replace(lineage=lineage, site=site),
        data.log_seconds,
        data.peak_memory_gb,
        data.ids,
        data.configurations,
        data.fingerprint,
    )

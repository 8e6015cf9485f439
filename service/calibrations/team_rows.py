"""Measurements of the database as a fit takes them: whatever a team's rows say of their source, they are the team's.

Whose rows they are decides how much they count: a fit bounds the say of each lineage, and a team is one lineage,
under however many source names and sites it submits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from service.calibrations.repository import FittedRow
from service.calibrations.shipped import Measured, measured
from service.catalog.catalog import Catalog
from service.engine.table import TextArray
from service.engine.trust import TEAM


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

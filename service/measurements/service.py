"""A measurement beside the current forecast, and streams of them for export."""

import io
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Literal, cast

from service.catalog.catalog import Catalog
from service.catalog.operating_facts import operating_facts
from service.codec import Row, write_csv, write_ndjson
from service.configuration import FIELDS
from service.database import Database
from service.engine.forecast import Forecaster
from service.estimates.quantities import rounded
from service.estimates.schemas import Quantity
from service.evaluations.service import Skipped, compare
from service.measurements.record import COLUMNS, exported
from service.measurements.repository import Filter, MeasurementRepository
from service.measurements.schemas import Residual
from service.measurements.tables import MeasurementRow
from service.teams.repository import TeamRepository

Format = Literal["csv", "ndjson"]
MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
CHUNK = 1000
"""Rows written at once."""


def residual(row: MeasurementRow, catalog: Catalog, forecaster: Forecaster) -> Residual | str:
    """The measurement beside the current forecast, predicted as a new site would be; or why it cannot be compared."""
    (made,) = compare([Row(0, row.fields, None)], catalog, forecaster, operating_facts())
    if isinstance(made, Skipped):
        return made.reason
    return Residual(
        unit=made.unit,
        measured=made.measured,
        predicted=Quantity(p10=rounded(made.p10), p50=rounded(made.p50), p90=rounded(made.p90)),
        time_ratio=rounded(math.exp(made.log_time_ratio)),
        within_interval=made.covered,
        grade=cast(Literal["measured", "interpolated", "extrapolated"], made.grade),
        calibration=forecaster.calibration_version,
    )


async def export(
    database: Database, filters: Sequence[Filter], form: Format, *, team_id: str | None = None, complete: bool = False
) -> AsyncIterator[bytes]:
    """Measurements in the columns that an import takes, in order of arrival, holding few of them at a time.

    Args:
        database: where from.
        filters: conditions, all of which must hold.
        form: csv or ndjson.
        team_id: whose own measurements are written beside the shared ones.
        complete: whether to write those of every team, with what the service says of them (`record`).
    """
    write = _csv_writer((*FIELDS, *COLUMNS) if complete else FIELDS) if form == "csv" else _ndjson
    if form == "csv":
        yield write([])
    last = 0
    while True:
        # A connection is taken for each page only: a client that reads slowly must not keep one.
        async with database.sessions() as session:
            rows = await MeasurementRepository(session).following(
                last, filters, team_id=team_id, of_all_teams=complete, limit=CHUNK
            )
            teams = await TeamRepository(session).names(row.team_id for row in rows if row.team_id) if complete else {}
        if not rows:
            return
        yield write([exported(row, teams) if complete else row.fields for row in rows])
        last = rows[-1].sequence


def _csv_writer(columns: Sequence[str]) -> Callable[[Iterable[dict[str, Any]]], bytes]:
    """Writes rows as CSV; the first call writes the header too."""
    first = True

    def write(rows: Iterable[dict[str, Any]]) -> bytes:
        nonlocal first
        text = io.StringIO()
        write_csv(rows, text, columns=columns)
        written = text.getvalue()
        if not first:
            written = written.partition("\n")[2]
        first = False
        return written.encode()

    return write


def _ndjson(rows: Iterable[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    write_ndjson(rows, text)
    return text.getvalue().encode()

"""A database of many measurements: those that ship, again and again, a little different each time, from many teams.

Rows go straight into the table, as an import would have stored them, for a million would take minutes over HTTP.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import delete, insert, text

from service.calibrations.shipped import measured, shipped_rows
from service.catalog.catalog import load_catalog
from service.database import Database
from service.measurements.repository import columns_of
from service.measurements.tables import MeasurementRow, SourceRow
from service.seed import prepare
from service.submissions.vetting import agreement_keys
from service.teams.tables import TeamRow

SEED = 20261130
TEAMS = 200
LARGEST_TEAM = "crowd-0000"
LARGEST_SHARE = 0.3
"""Of all rows that teams have submitted, that one's; the others' follow Zipf's law."""
SOURCES_OF_TEAM = 5
SCATTER = 0.1
"""Standard deviation of the natural log by which a row is faster or slower than the one that it was made of."""
STATUSES, STATUS_SHARES = ("accepted", "quarantined", "withdrawn"), (0.95, 0.04, 0.01)
SHARED = 0.95
INSERTED_AT_ONCE = 10_000


async def fill(url: str, rows: int) -> None:
    """Migrates and seeds an empty database, and adds measurements until it holds that many.

    Of what ships at most half as many stay, a seeded sample, so that a small database has rows of teams too.
    """
    database, generator = Database(url), np.random.default_rng(SEED)
    await prepare(database)
    shipped, ids = shipped_rows()
    kept = min(len(shipped), rows // 2)
    gone = generator.permutation(len(ids))[kept:]
    teams = {f"t_crowd{number:04}": f"crowd-{number:04}" for number in range(TEAMS)}
    now = datetime.now(UTC)
    async with database.engine.begin() as connection:
        if len(gone):
            await connection.execute(
                delete(MeasurementRow).where(MeasurementRow.id.in_([ids[index] for index in gone]))
            )
        called = [{"id": team, "name": name, "created_at": now} for team, name in teams.items()]
        await connection.execute(insert(TeamRow), called)
        names = [f"{name}/{number}" for name in teams.values() for number in range(SOURCES_OF_TEAM)]
        described = [{"name": name, "title": name, "lineage": name} for name in names]
        await connection.execute(insert(SourceRow), described)
    resolved = measured(shipped, ids, load_catalog())
    keys = dict(zip(resolved.ids.tolist(), agreement_keys(resolved.table), strict=True))
    submitted = _rows(shipped, [keys.get(one) for one in ids], list(teams.items()), rows - kept, generator)
    while some := list(islice(submitted, INSERTED_AT_ONCE)):
        async with database.engine.begin() as connection:
            await connection.execute(insert(MeasurementRow), some)
    if not database.is_sqlite:
        async with database.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            # What PostgreSQL does by itself, some minutes later.
            await connection.execute(text("VACUUM ANALYZE"))
    await database.close()


def _rows(
    shipped: list[dict[str, Any]],
    kinds: list[str | None],
    teams: list[tuple[str, str]],
    count: int,
    generator: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """So many rows of teams, as an import would have stored them; `kinds` are the shipped rows' agreement keys."""
    shares = 1.0 / np.arange(1, len(teams))
    shares = np.concatenate([[LARGEST_SHARE], shares / shares.sum() * (1.0 - LARGEST_SHARE)])
    owners = generator.choice(len(teams), count, p=shares)
    drawn, parts = generator.integers(len(shipped), size=count), generator.integers(SOURCES_OF_TEAM, size=count)
    statuses, shared = generator.choice(3, count, p=STATUS_SHARES), generator.random(count) < SHARED
    deviation, doublings = generator.normal(0.0, SCATTER, count), generator.integers(-1, 3, size=(count, 2))
    # What was quarantined ran slower than forecast, by up to fifty times.
    beyond = np.where(statuses == STATUSES.index("quarantined"), generator.uniform(-4.0, -1.5, count), deviation)
    now = datetime.now(UTC)
    for number in range(count):
        team, name = teams[owners[number]]
        fields = dict(shipped[drawn[number]])
        fields["provenance.source"] = f"{name}/{parts[number]}"
        for field, doubled in zip(("hardware.count", "training.global_batch"), doublings[number], strict=True):
            if (stated := fields.get(field)) is not None:
                fields[field] = max(1.0, round(float(stated) * 2.0 ** float(doubled)))
        if (value := fields.get("result.value")) is not None:
            fields["result.value"] = float(value) * float(np.exp(deviation[number]))
        yield columns_of(
            fields,
            id=f"m_{generator.bytes(16).hex()}",
            team_id=team,
            key_id=None,
            site=f"site-{parts[number]}",
            status=STATUSES[statuses[number]],
            visibility="shared" if shared[number] else "team",
            submitted_at=now,
            duplicate_key=None if statuses[number] == 2 else generator.bytes(32).hex(),
            deviation_log=float(beyond[number]),
            agreement_key=kinds[drawn[number]],
            forecast_error_log=None,
            forecast_covered=None,
        )

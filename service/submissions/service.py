"""Storing vetted rows: once per team, under their keys, lifting the quarantine of what independent teams agree on."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import log
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from service.catalog.catalog import Catalog
from service.configuration import CONFIGURATION_FIELDS, FIELDS
from service.database import Database
from service.engine.forecast import Forecaster
from service.engine.plausibility import Judge
from service.measurements.repository import columns_of
from service.measurements.tables import MeasurementRow
from service.problems import Conflict, FieldError, NotFound
from service.submissions.forecasts import SavedForecast
from service.submissions.repository import Claim, Held, SubmissionRepository
from service.submissions.schemas import ImportedRow
from service.submissions.vetting import Fields, Refusal, Verdict, vet
from service.teams.repository import Actor, AuditRepository

AGREEMENT_LOG = log(1.25)
"""How near the deviations of independent teams must lie to agree, natural log. Judgement: repeats of one configuration
differ by a tenth or two among shipped sources."""
AGREED = "An independent team measured the same deviation from the forecast."
ALONE_AGAIN = "The measurement that it agreed with counts no longer, and no other independent team's confirms it."
TELLS_APART = frozenset(name for name in FIELDS if name.startswith("result.")) | {
    *CONFIGURATION_FIELDS,
    "provenance.source",
}
"""Fields in which a row differs from another if it is another."""


@dataclass(frozen=True, slots=True)
class Submitter:
    """Whose rows they are: the team, by one of its keys."""

    team_id: str
    team_name: str
    key_id: str | None

    @property
    def actor(self) -> Actor:
        """As the audit names it."""
        return Actor(self.team_id, self.key_id)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a vetted row is: its own place, or that of the same row before it, and what that kept that it asked to be
    otherwise."""

    id: str
    duplicate: bool
    warning: str | None = None


async def saved_forecasts(database: Database, rows: Iterable[Fields], team_id: str) -> dict[str, SavedForecast]:
    """The saved estimates that a team's rows name, by id; ids of none, or of another team's, are left out."""
    named = {str(row["estimate_id"]) for row in rows if row.get("estimate_id")}
    if not named:
        return {}
    async with database.sessions() as session:
        saved = await SubmissionRepository(session).estimates(named, team_id)
    return {row.id: SavedForecast.of(row.request, row.answer) for row in saved}


def vet_alone(
    row: Fields, catalog: Catalog, forecaster: Forecaster, estimates: Mapping[str, SavedForecast]
) -> Verdict | Refusal:
    """The verdict on one row."""
    return vet([row], catalog, Judge(forecaster), estimates)[0]


def prepare(verdicts: Sequence[Verdict], submitter: Submitter) -> list[dict[str, Any]]:
    """The columns of vetted rows, as the submitter's."""
    now = datetime.now(UTC)
    return [
        columns_of(
            verdict.fields,
            id=f"m_{uuid.uuid4().hex}",
            team_id=submitter.team_id,
            key_id=submitter.key_id,
            site=verdict.fields.get("site") or submitter.team_name,
            status=verdict.status,
            status_reason=verdict.reason,
            submitted_at=now,
            duplicate_key=duplicate_key(verdict.fields),
            deviation_log=verdict.deviation_log,
            agreement_key=verdict.agreement_key,
            forecast_error_log=verdict.forecast_error_log,
            forecast_covered=verdict.forecast_covered,
        )
        for verdict in verdicts
    ]


async def store(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> list[Stored]:
    """Stores prepared rows of one team in order, each once; lifts quarantines that they settle."""
    repository = SubmissionRepository(session)
    first = {row["duplicate_key"]: row for row in reversed(rows)}
    new = [row for row in rows if first[row["duplicate_key"]] is row]
    places = await repository.store(new)
    shared = [row for row in new if row["visibility"] == "shared" and places[row["duplicate_key"]].id == row["id"]]
    await repository.name_sources(row["source"] for row in shared if row["source"])
    await lift(session, [row["id"] for row in shared if row["status"] == "quarantined" and row["agreement_key"]])
    return [_stored(row, places[row["duplicate_key"]]) for row in rows]


def _stored(row: Mapping[str, Any], held: Held) -> Stored:
    if held.id == row["id"]:
        return Stored(held.id, duplicate=False)
    asked = row["visibility"]
    if held.visibility == asked:
        return Stored(held.id, duplicate=True)
    return Stored(
        held.id,
        duplicate=True,
        warning=f"visibility stays {held.visibility!r}, as first submitted, and is not {asked!r} now: to change it, "
        f"withdraw the measurement (DELETE /v1/measurements/{held.id}) and submit it anew",
    )


async def lift(session: AsyncSession, ids: Sequence[str]) -> None:
    """Accepts new quarantined shared rows whose deviation from the forecast another team's shared row confirms, and
    older ones that they confirm.

    Private rows vouch for nothing: that a status changed would tell others of them.
    """
    repository = SubmissionRepository(session)
    confirmed = agreeing(await repository.claims(ids, AGREEMENT_LOG))
    if confirmed:
        await repository.accept(confirmed, AGREED)
        await AuditRepository(session).add(Actor(), "measurement.accept", confirmed, {"reason": AGREED})


def agreeing(claims: Sequence[Claim]) -> list[str]:
    """The quarantined ones among claims that a claim of another team, of the same kind of run, agrees with.

    Of what has a smaller deviation, and of what has a greater one, the nearest of another team tells: one look through
    the claims either way. `claims`: by kind, then by deviation.
    """
    found: dict[str, None] = {}
    for ordered in (claims, claims[::-1]):
        latest: Claim | None = None  # of the claims before, and the latest one of a team other than its
        other: Claim | None = None
        for claim in ordered:
            if latest is None or latest.agreement_key != claim.agreement_key:
                latest, other = claim, None
                continue
            if latest.team_id != claim.team_id:
                latest, other = claim, latest
            else:
                latest = claim
            if (
                claim.status == "quarantined"
                and other is not None
                and abs(claim.deviation_log - other.deviation_log) <= AGREEMENT_LOG
            ):
                found[claim.id] = None
    return list(found)


async def decide(session: AsyncSession, row: MeasurementRow, status: str, reason: str | None, actor: Actor) -> None:
    """Accepts or rejects a measurement, in the session's transaction.

    Raises:
        Conflict: It was withdrawn.
    """
    if row.status == "withdrawn":
        raise Conflict(
            "The measurement was withdrawn by its team.", [FieldError(field="status", message="is withdrawn")]
        )
    if row.status != status:
        verb = {"accepted": "measurement.accept", "rejected": "measurement.reject"}[status]
        await AuditRepository(session).add(actor, verb, [row.id], {"was": row.status, "reason": reason})
        row.status, row.status_reason = status, reason
        if status == "rejected":
            await _unsettle(session, row, actor)


async def _unsettle(session: AsyncSession, row: MeasurementRow, actor: Actor) -> None:
    """Quarantines again what agreement lifted and, without this row, no other team's confirms."""
    if row.agreement_key is None or row.deviation_log is None or row.visibility != "shared":
        return
    repository = SubmissionRepository(session)
    claims, lifted = await repository.beside(row, 2 * AGREEMENT_LOG, AGREED)
    near = {claim.id for claim in claims if abs(claim.deviation_log - row.deviation_log) <= AGREEMENT_LOG}
    confirmed = set(agreeing(claims))
    alone = [one for one in lifted if one in near and one not in confirmed]
    if alone:
        await repository.quarantine(alone, ALONE_AGAIN)
        await AuditRepository(session).add(actor, "measurement.quarantine", alone, {"reason": ALONE_AGAIN})


async def withdraw(session: AsyncSession, row: MeasurementRow, actor: Actor) -> None:
    """Takes a measurement back; it stays, visible as withdrawn, and may be submitted anew."""
    if row.status != "withdrawn":
        await AuditRepository(session).add(actor, "measurement.withdraw", [row.id], {"was": row.status})
        row.status, row.status_reason, row.duplicate_key = "withdrawn", "withdrawn by its team", None
        await _unsettle(session, row, actor)


async def purge(session: AsyncSession, measurement_id: str, reason: str, actor: Actor) -> None:
    """Erases a measurement for good; the audit keeps that, when and why, and nothing of what it said.

    Raises:
        NotFound: There is no such measurement.
    """
    repository = SubmissionRepository(session)
    row = await repository.lock(measurement_id)
    if row is None:
        raise NotFound(f"There is no measurement {measurement_id!r}.")
    await AuditRepository(session).add(actor, "measurement.purge", [measurement_id], {"reason": reason})
    await _unsettle(session, row, actor)
    await repository.erase(row)


def duplicate_key(fields: Mapping[str, object]) -> str:
    """Digest of what makes a row the same as another: configuration, result and source."""
    said = {name: fields[name] for name in fields if name in TELLS_APART}
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def reported(
    line: int, verdict: Verdict, measurement_id: str | None, *, duplicate: bool, warning: str | None = None
) -> ImportedRow:
    """A vetted row in the report of an import; without an id where it is not stored (yet)."""
    if duplicate:
        return ImportedRow(row=line, outcome="duplicate", id=measurement_id, reason=warning)
    outcome = "accepted" if verdict.status == "accepted" else "quarantined"
    return ImportedRow(row=line, outcome=outcome, id=measurement_id, reason=verdict.reason)

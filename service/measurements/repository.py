"""Queries on measurements and sources; the only place that writes SQL about them."""

import re
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, Subquery, func, insert, or_, select, true, union_all, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.cursors import BadCursorError, decode_cursor, encode_cursor
from service.measurements.tables import MeasurementRow, SourceRow

Scalar = str | float | bool
Operator = Literal["equals", "at_least", "at_most", "contains"]

TYPED_COLUMNS = {
    "provenance.source": "source",
    "provenance.evidence": "evidence",
    "provenance.measured_on": "measured_on",
    "model.name": "model_name",
    "model.family": "model_family",
    "model.parameters": "model_parameters",
    "hardware.accelerator": "accelerator",
    "hardware.count": "accelerator_count",
    "training.mode": "mode",
    "training.precision": "precision",
    "software.framework": "framework",
    "result.unit": "unit",
    "result.value": "value",
    "visibility": "visibility",
    "estimate_id": "estimate_id",
    "site": "site",
    "status": "status",
}
"""Fields that a column of their own holds; every other field is looked up in the JSON object of all fields."""

INDEXED = ("provenance.source", "model.name", "hardware.accelerator", "model.family", "status")
"""Fields by values of which rows are found in order of arrival, the one that usually leaves fewest first."""
MOST_VALUES = 100
"""Values of one field whose rows an index gives: each is looked up by itself. A model has up to some thirty names."""
LOOKED_AT = 28_000
"""Rows that one page looks through at most for those that pass filters that no index answers, however many rows there
are: all that ship, and what a small team adds. A page may so be short, even empty, and still say where the next one
starts. Judgement: some fifty milliseconds' worth."""

_FIELD = re.compile(r"[a-z]+(\.[a-z0-9_]+)+")


@dataclass(frozen=True)
class Filter:
    """A condition on one field, by its dotted name: several values mean any of them."""

    field: str
    values: tuple[Scalar, ...]
    operator: Operator = "equals"


@dataclass(frozen=True)
class Page:
    """Some measurements, and where the next ones start (None: these were the last)."""

    items: Sequence[MeasurementRow]
    next_cursor: str | None


@dataclass(frozen=True)
class _Place:
    """A row's place in the order of arrival."""

    sequence: int
    id: str


class MeasurementRepository:
    """Measurements in one session; the session's owner commits."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def get(self, measurement_id: str, *, team_id: str | None = None) -> MeasurementRow | None:
        """The measurement, or None if there is none that this team may see."""
        query = select(MeasurementRow).where(MeasurementRow.id == measurement_id, _visible_to(team_id))
        return (await self.session.scalars(query)).one_or_none()

    async def page(
        self,
        filters: Iterable[Filter] = (),
        *,
        team_id: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        looked_at: int = LOOKED_AT,
    ) -> Page:
        """The next measurements that pass all filters, in order of arrival.

        Args:
            filters: conditions, all of which must hold.
            team_id: whose own measurements are seen beside the shared ones.
            limit: the most to return.
            cursor: the ``next_cursor`` of the page before.
            looked_at: rows looked through for those that pass, where no index gives these.

        Raises:
            BadCursorError: if the cursor is not one of ours.
            ValueError: if a filter's field is not a dotted name.
        """
        start = 0 if cursor is None else await self._position(cursor, team_id)
        by_index, others = _divided(filters)
        following = [
            select(MeasurementRow.sequence, MeasurementRow.id)
            .where(_visible_to(team_id), condition, MeasurementRow.sequence > start)
            .order_by(MeasurementRow.sequence)
            for condition in by_index
        ]
        last = await self._last_looked_at(following, looked_at) if others else None
        if last is not None:
            following = [each.where(MeasurementRow.sequence <= last.sequence) for each in following]
        elif not others:
            following = [each.limit(limit + 1) for each in following]
        # Of its own, so that no database takes it into its head to begin with the other conditions, and so that each
        # value's rows are taken as its index orders them.
        ordered = select(_any_of(following).c.sequence)
        query = select(MeasurementRow).where(MeasurementRow.sequence.in_(ordered), *others)
        rows = (await self.session.scalars(query.order_by(MeasurementRow.sequence).limit(limit + 1))).all()
        items = rows[:limit]
        if len(rows) > limit:
            return Page(items, encode_cursor(items[-1].id))
        return Page(items, None if last is None else encode_cursor(last.id))

    async def _last_looked_at(self, following: Sequence[Select[int, str]], looked_at: int) -> _Place | None:
        """The last of about so many rows that an index gives, all that came before it among them; None if there are
        fewer.

        Args:
            following: the rows of each value in order of arrival, which has its share of those that are looked at.
            looked_at: rows to look at.
        """
        share = max(looked_at // len(following), 1)
        ends = _any_of([each.offset(share - 1).limit(1) for each in following])
        found = (await self.session.execute(select(ends).order_by(ends.c.sequence).limit(1))).one_or_none()
        return None if found is None else _Place(*found)

    async def _position(self, cursor: str, team_id: str | None) -> int:
        """Where the list goes on. A cursor names the last row that was seen, not a number: the gaps between numbers
        would tell how many rows others keep to themselves."""
        query = select(MeasurementRow.sequence).where(
            MeasurementRow.id == decode_cursor(cursor).replace("\0", ""), _visible_to(team_id)
        )
        position = (await self.session.scalars(query)).one_or_none()
        if position is None:
            raise BadCursorError(cursor)
        return position

    async def count(self, filters: Iterable[Filter] = (), *, team_id: str | None = None) -> int:
        """How many measurements pass all filters."""
        query = select(func.count()).select_from(_matching(filters, team_id).subquery())
        return (await self.session.scalars(query)).one()

    async def stream(
        self, filters: Iterable[Filter] = (), *, team_id: str | None = None
    ) -> AsyncIterator[MeasurementRow]:
        """All measurements that pass all filters, in order of arrival, without holding them all in memory."""
        query = _matching(filters, team_id).order_by(MeasurementRow.sequence).execution_options(yield_per=1000)
        async for row in await self.session.stream_scalars(query):
            yield row

    async def following(
        self,
        sequence: int,
        filters: Iterable[Filter] = (),
        *,
        team_id: str | None = None,
        of_all_teams: bool = False,
        limit: int = 1000,
    ) -> Sequence[MeasurementRow]:
        """The next ``limit`` measurements after that place in the order of arrival; ``of_all_teams`` hides none."""
        seen = () if of_all_teams else (_visible_to(team_id),)
        query = select(MeasurementRow).where(
            MeasurementRow.sequence > sequence, *seen, *(_condition(wanted) for wanted in filters)
        )
        return (await self.session.scalars(query.order_by(MeasurementRow.sequence).limit(limit))).all()

    async def add(self, fields: Mapping[str, Any], **about: Any) -> MeasurementRow:
        """Stores one measurement under a new id.

        Args:
            fields: every stated field by its dotted name (``provenance.source`` must be a known source).
            about: further columns: ``team_id``, ``status``, ``status_reason``, ``visibility``, ``estimate_id``.
        """
        row = MeasurementRow(**columns_of(fields, id=f"m_{uuid.uuid4().hex}", **about))
        self.session.add(row)
        await self.session.flush()
        return row

    async def add_many(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stores many measurements, each as ``columns_of`` gives them."""
        if rows:
            await self.session.execute(insert(MeasurementRow), rows, execution_options={"render_nulls": True})

    async def set_status(self, ids: Sequence[str], status: str, reason: str | None = None) -> None:
        """Accepts, quarantines or withdraws measurements."""
        for start in range(0, len(ids), 500):
            chunk = ids[start : start + 500]
            await self.session.execute(
                update(MeasurementRow)
                .where(MeasurementRow.id.in_(chunk))
                .values(status=status, status_reason=reason)
                .execution_options(synchronize_session="fetch")
            )

    async def shipped(self) -> dict[str, str]:
        """The status of every measurement that came with the service, by id."""
        query = select(MeasurementRow.id, MeasurementRow.status).where(MeasurementRow.shipped)
        return {row.id: row.status for row in await self.session.execute(query)}


class SourceRepository:
    """Sources in one session; the session's owner commits."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def get(self, name: str) -> SourceRow | None:
        """The source, or None if there is none of that name."""
        return await self.session.get(SourceRow, name)

    async def page(self, *, limit: int = 100, cursor: str | None = None) -> tuple[Sequence[SourceRow], str | None]:
        """The next sources by name, and the next cursor.

        Raises:
            BadCursorError: if the cursor is not one of ours.
        """
        query = select(SourceRow).order_by(SourceRow.name).limit(limit + 1)
        if cursor is not None:
            query = query.where(SourceRow.name > decode_cursor(cursor))
        found = (await self.session.scalars(query)).all()
        items = found[:limit]
        return items, encode_cursor(items[-1].name) if len(found) > limit else None

    async def newest(self) -> int:
        """The place of the newest measurement in the order of arrival; 0 if there is none."""
        return (await self.session.scalars(select(func.max(MeasurementRow.sequence)))).one() or 0

    async def counts(self, *, above: int = 0, up_to: int | None = None) -> dict[str, int]:
        """How many accepted, shared measurements each source has, of those after a place in the order of arrival and
        not after another; sources without are left out."""
        query = select(MeasurementRow.source, func.count()).where(
            MeasurementRow.status == "accepted",
            MeasurementRow.visibility == "shared",
            MeasurementRow.source.is_not(None),
            MeasurementRow.sequence > above,
        )
        if up_to is not None:
            query = query.where(MeasurementRow.sequence <= up_to)
        found = await self.session.execute(query.group_by(MeasurementRow.source))
        return {str(source): rows for source, rows in found}

    async def put(self, sources: Iterable[Mapping[str, Any]]) -> None:
        """Stores sources, replacing those of the same name."""
        for source in sources:
            await self.session.merge(SourceRow(**source))
        await self.session.flush()


def columns_of(fields: Mapping[str, Any], *, id: str, **about: Any) -> dict[str, Any]:  # noqa: A002
    """The columns of a measurement's row: all its fields, those with a column of their own once more, and ``about``."""
    typed = {column: fields.get(name) for name, column in TYPED_COLUMNS.items() if name != "status"}
    defaults = {
        "status": "accepted",
        "status_reason": None,
        "visibility": typed.pop("visibility") or "shared",
        "team_id": None,
        "shipped": False,
        "submitted_at": datetime.now(UTC),
    }
    return {"id": id, "fields": dict(fields), **typed, **defaults, **about}


def _matching(filters: Iterable[Filter], team_id: str | None) -> Select[MeasurementRow]:
    return select(MeasurementRow).where(_visible_to(team_id), *(_condition(wanted) for wanted in filters))


def _divided(filters: Iterable[Filter]) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """Conditions of which an index gives the rows of each in order of arrival, any of which must hold, and the other
    conditions, all of which must."""
    wanted = list(filters)
    few = {one.field: one for one in wanted if one.operator == "equals" and len(one.values) <= MOST_VALUES}
    first = next((few[field] for field in INDEXED if field in few), None)
    others = [_condition(one) for one in wanted if one is not first]
    if first is None:
        return [true()], others
    return [_compare(_value(first.field, value), "equals", value) for value in first.values], others


def _any_of(selects: Sequence[Select[int, str]]) -> Subquery:
    """What any of some ordered selects gives."""
    parts = [select(each.subquery()) for each in selects]
    return (union_all(*parts) if len(parts) > 1 else parts[0]).subquery()


def _visible_to(team_id: str | None) -> ColumnElement[bool]:
    shared = MeasurementRow.visibility == "shared"
    return shared if team_id is None else or_(shared, MeasurementRow.team_id == team_id)


def _condition(wanted: Filter) -> ColumnElement[bool]:
    return or_(*(_compare(_value(wanted.field, value), wanted.operator, value) for value in wanted.values))


def _compare(column: ColumnElement[Any], operator: Operator, value: Scalar) -> ColumnElement[bool]:
    if operator == "at_least":
        return column >= value
    if operator == "at_most":
        return column <= value
    if operator == "contains":
        return func.lower(column).contains(str(value).lower(), autoescape=True)
    return column == value


def _value(field: str, like: Scalar) -> ColumnElement[Any]:
    """The field's value, of the type of the value it is compared with."""
    if field in TYPED_COLUMNS:
        column: ColumnElement[Any] = getattr(MeasurementRow, TYPED_COLUMNS[field])
        return column
    if not _FIELD.fullmatch(field):
        raise ValueError(f"{field!r} is not the dotted name of a field")
    entry = MeasurementRow.fields[field]
    typed: ColumnElement[Any]
    if isinstance(like, bool):
        typed = entry.as_boolean()
    else:
        typed = entry.as_float() if isinstance(like, int | float) else entry.as_string()
    return typed

"""Queries on measurements and sources; the only place that writes SQL about them."""

import math
import re
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, CompoundSelect, Select, func, insert, or_, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.cursors import BadCursorError, decode_cursor, encode_cursor
from service.database import Unindexed
from service.measurements.tables import LISTED_BY, MeasurementRow, SourceRow

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

LOOKED_AT = 28_000
"""Rows that one page looks through at most for those that pass filters that no index answers, however many rows there
are: all that ship, and what a small team adds. A page may so be short, even empty, and still say where the next one
starts. Judgement: some fifty milliseconds' worth."""

MOST_VALUES = 100
"""Combinations of values whose rows an index gives: each is looked up by itself. Models have up to thirty names."""

SHARED = ""
"""`seen_by` of what everybody sees."""

Conditions = Sequence[ColumnElement[bool]]

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


class SourceRows(NamedTuple):
    """Measurements that name a source: those that came with the service, or those that teams submitted."""

    source: str
    shipped: bool


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
        parts = [
            (*conditions, seen, MeasurementRow.sequence > start)
            for conditions, seen in product(by_index, _seen_by(team_id))
        ]
        share = max(looked_at // len(by_index), 1)  # of each combination of values
        if others:
            # Mostly the page is full before a tenth of the rows was looked at, and to find where that ends is cheaper.
            page = await self._page(parts, others, limit, max(share // 10, 1))
            if len(page.items) == limit or page.next_cursor is None:
                return page
        return await self._page(parts, others, limit, share)

    async def _page(self, parts: Sequence[Conditions], others: Conditions, limit: int, looked_at: int) -> Page:
        """The next measurements that pass the conditions of one of the parts and the others; where there are others,
        of so many rows that pass a part's."""
        last = await self._last_looked_at(parts, looked_at) if others else None
        if last is not None:
            parts = [(*part, MeasurementRow.sequence <= last.sequence) for part in parts]
        rows = await self._first([(*part, *others) for part in parts], limit + 1)
        items = rows[:limit]
        if len(rows) > limit:
            return Page(items, encode_cursor(items[-1].id))
        return Page(items, None if last is None else encode_cursor(last.id))

    async def _first(self, parts: Sequence[Conditions], limit: int) -> Sequence[MeasurementRow]:
        """The first rows in order of arrival that pass all conditions of one of the parts, which have none in common.

        Their places are found by themselves: an index has these, and whole rows would be sorted at length by a database
        that expects few.
        """
        found = [select(_ordered(part).limit(limit).subquery().c.sequence) for part in parts]
        query = select(MeasurementRow).where(MeasurementRow.sequence.in_(_all_of(found)))
        return (await self.session.scalars(query.order_by(MeasurementRow.sequence).limit(limit))).all()

    async def _last_looked_at(self, parts: Sequence[Conditions], looked_at: int) -> _Place | None:
        """Up to where no part, whose conditions an index answers, has more than so many rows; None if none has."""
        ends = [select(_ordered(part).offset(looked_at - 1).limit(1).subquery().c.sequence) for part in parts]
        found = (await self.session.scalars(_all_of(ends))).all()
        if not found:
            return None
        query = select(MeasurementRow.id).where(MeasurementRow.sequence == min(found))
        return _Place(min(found), (await self.session.scalars(query)).one())

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
        conditions = (MeasurementRow.sequence > sequence, *(_condition(wanted) for wanted in filters))
        parts = [conditions] if of_all_teams else [(seen, *conditions) for seen in _seen_by(team_id)]
        return await self._first(parts, limit)

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

    async def counts(self, *, above: int = 0, up_to: int | None = None) -> dict[SourceRows, int]:
        """How many accepted, shared measurements each source has, of those after a place in the order of arrival and
        not after another; sources without are left out."""
        query = select(MeasurementRow.source, MeasurementRow.shipped, func.count()).where(
            MeasurementRow.status == "accepted",
            MeasurementRow.seen_by == SHARED,
            MeasurementRow.source.is_not(None),
            MeasurementRow.sequence > above,
        )
        if up_to is not None:
            query = query.where(MeasurementRow.sequence <= up_to)
        found = await self.session.execute(query.group_by(MeasurementRow.source, MeasurementRow.shipped))
        return {SourceRows(str(source), shipped): rows for source, shipped, rows in found}

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


def _ordered(conditions: Conditions) -> Select[int]:
    """The places of the rows that pass the conditions, in order of arrival."""
    return select(MeasurementRow.sequence).where(*conditions).order_by(MeasurementRow.sequence)


def _all_of(selects: Sequence[Select[int]]) -> Select[int] | CompoundSelect[int]:
    """What some selects give together."""
    return union_all(*selects) if len(selects) > 1 else selects[0]


def _divided(filters: Iterable[Filter]) -> tuple[list[Conditions], Conditions]:
    """Conditions of which an index gives the rows in order of arrival, one of which must hold and no two of which hold
    of the same row; and the other conditions, all of which must."""
    wanted = list(filters)
    equal = {TYPED_COLUMNS.get(one.field): one for one in wanted if one.operator == "equals"}
    for columns in LISTED_BY:
        chosen = [equal[column] for column in columns if column in equal]
        if len(chosen) == len(columns) and math.prod(len(one.values) for one in chosen) <= MOST_VALUES:
            each = product(*(dict.fromkeys(one.values) for one in chosen))
            by_index: list[Conditions] = [
                [_condition(replace(one, values=(value,))) for one, value in zip(chosen, values, strict=True)]
                for values in each
            ]
            return by_index, [_condition(one, by_index=False) for one in wanted if one not in chosen]
    return [()], [_condition(one, by_index=False) for one in wanted]


def _seen_by(team_id: str | None) -> list[ColumnElement[bool]]:
    """What a team sees, or who is of none, in parts that an index gives each in order of arrival."""
    return [MeasurementRow.seen_by == who for who in (SHARED, team_id) if who is not None]


def _visible_to(team_id: str | None) -> ColumnElement[bool]:
    return or_(*_seen_by(team_id))


def _condition(wanted: Filter, *, by_index: bool = True) -> ColumnElement[bool]:
    compared = [(_value(wanted.field, value), value) for value in wanted.values]
    return or_(
        *(_compare(column if by_index else Unindexed(column), wanted.operator, value) for column, value in compared)
    )


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

"""Columns of a table of answers, and the documents that its rows make.

A member of an answer is a column: numbers, quantities, ready values, or an object whose members are columns again. What
takes work is a function that gives the column, called only if the member is asked for. All numbers of some rows are
rounded together, and turned into what JSON knows together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from service.engine.distribution import Distribution, FloatArray
from service.engine.table import BoolArray, IntArray
from service.estimates.quantities import significant

AT_ONCE = 64
"""Rows whose documents are made together: with what is written of them, they stay near the processor."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Numbers by the name of a part: one that is nothing says nothing, and is left out of its row."""

    columns: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Known:
    """A column where `rows` says so, and null elsewhere."""

    rows: BoolArray
    column: Column


@dataclass(frozen=True, eq=False)
class Alike:
    """A column in which many rows are the same: row i is row `rows[i]` of a shorter one."""

    rows: IntArray
    column: Column


Column = FloatArray | Distribution | Parts | Known | Alike | list[Any] | dict[str, "Column"] | Callable[[], "Column"]
Path = tuple[str, ...]
WHOLE: Collection[Path] = ((),)
"""Of an object: all of its members."""


def known(values: FloatArray) -> Known:
    """Numbers where they are finite, null elsewhere."""
    return Known(np.isfinite(values), values)


def documents(columns: dict[str, Column], count: int, fields: Collection[Path] = WHOLE) -> Iterator[dict[str, Any]]:
    """The rows of an object's members as plain documents, one after another.

    Documents share what is the same in many rows: they are to be read or written out, not changed.

    Args:
        columns: the members.
        count: how many rows they have.
        fields: paths of the members that are wanted.
    """
    chosen = _chosen(columns, fields)
    for begin in range(0, count, AT_ONCE):
        some = chosen if count <= AT_ONCE else _taken(chosen, slice(begin, begin + AT_ONCE))
        arrays: list[FloatArray] = []
        _gather(some, arrays)
        yield from _rows(some, _figures(arrays))


def _chosen(column: Column, fields: Collection[Path]) -> Any:
    """The column with the members at `fields` alone (all of them if a path ends here), and no functions left in it."""
    if callable(column):
        return _chosen(column(), fields)
    if isinstance(column, Known):
        return Known(column.rows, _chosen(column.column, fields))
    if isinstance(column, Alike):
        return Alike(column.rows, _chosen(column.column, fields))
    if not isinstance(column, dict):
        return column
    if () in fields:
        return {name: _chosen(member, WHOLE) for name, member in column.items()}
    inner = {name: [path[1:] for path in fields if path[0] == name] for name in column}
    return {name: _chosen(member, inner[name]) for name, member in column.items() if inner[name]}


def _taken(column: Any, rows: slice) -> Any:
    """Some rows of a column."""
    if isinstance(column, Distribution):
        return column.take(rows)
    if isinstance(column, Parts):
        return Parts({name: numbers[rows] for name, numbers in column.columns.items()})
    if isinstance(column, Known):
        return Known(column.rows[rows], _taken(column.column, rows))
    if isinstance(column, Alike):
        return Alike(column.rows[rows], column.column)
    if isinstance(column, dict):
        return {name: _taken(member, rows) for name, member in column.items()}
    return column[rows]


def _gather(column: Any, arrays: list[FloatArray]) -> None:
    """Appends all arrays of numbers in a column, in the order in which `_rows` takes them."""
    if isinstance(column, np.ndarray):
        arrays.append(column)
    elif isinstance(column, Distribution):
        arrays += (column.p10, column.p50, column.p90)
    elif isinstance(column, Parts):
        arrays += column.columns.values()
    elif isinstance(column, Known | Alike):
        _gather(column.column, arrays)
    elif isinstance(column, dict):
        for member in column.values():
            _gather(member, arrays)


def _figures(arrays: list[FloatArray]) -> Iterator[list[float]]:
    """The arrays as lists, rounded."""
    figures = significant(np.concatenate(arrays)).tolist() if arrays else []
    begin = 0
    for array in arrays:
        yield figures[begin : begin + len(array)]
        begin += len(array)


def _rows(column: Any, figures: Iterator[list[float]]) -> list[Any]:
    """The column's values, row by row; `figures` are the rounded numbers of it and of what comes after."""
    if isinstance(column, list):
        return column
    if isinstance(column, np.ndarray):
        return next(figures)
    if isinstance(column, Distribution):
        sides = zip(next(figures), next(figures), next(figures), strict=True)
        return [{"p10": p10, "p50": p50, "p90": p90} if isfinite(p50) else None for p10, p50, p90 in sides]
    if isinstance(column, Alike):
        values = _rows(column.column, figures)
        return [values[row] for row in column.rows.tolist()]
    if isinstance(column, Known):
        values = _rows(column.column, figures)
        return [value if there else None for value, there in zip(values, column.rows.tolist(), strict=True)]
    if isinstance(column, Parts):
        found = {name: next(figures) for name in column.columns}
        there = {name: numbers for name, numbers in found.items() if any(numbers)}
        if not there:
            return [{} for _ in next(iter(column.columns.values()))]
        rows = zip(*there.values(), strict=True)
        return [{name: number for name, number in zip(there, row, strict=True) if number} for row in rows]
    members = [_rows(member, figures) for member in column.values()]
    return [dict(zip(column, row, strict=True)) for row in zip(*members, strict=True)]

"""Which measurements stand behind a prediction: the nearest ones, how near they are, and what they still teach.

Distance is in natural-log units of what decides speed (work, batch, count, degrees), plus a fixed penalty for each
name that differs (chip, model, precision, mode, framework, evidence), so that 0 is the same configuration measured
elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from service.engine.effects import arithmetic
from service.engine.nearness import OPEN, UNHEARD, Places, Points
from service.engine.operations import work
from service.engine.table import (
    BoolArray,
    FloatArray,
    IntArray,
    Names,
    Table,
    TextArray,
    coded,
    combinations,
    filled,
    once_a_table,
)

GRADES = ("measured", "interpolated", "extrapolated")
MEASURED_WITHIN = 0.7
INTERPOLATED_WITHIN = 2.5
FEATURE_WEIGHTS = (1.0, 0.5, 0.3, 0.4, 0.3, 0.3, 0.25, 0.5)
NAME_PENALTIES = (
    ("accelerator", 0.4),
    ("chip_group", 0.7),
    ("model", 0.6),
    ("arithmetic", 0.55),  # what units compute: both half precisions are the same to them
    ("precision", 0.24),
    ("mode", 0.8),
    ("framework", 0.5),
    ("evidence", 0.5),
)
# What a configuration near this one kept of its own speed beyond all effects fades over this distance, and a single
# lineage is believed by 1 / (1 + LINEAGES_TO_BELIEVE). Judgement: on held-out lineages, lengths of 0.7 and 1.2 were
# worse (a panel's mean error of Transformers 27.7 and 28.9 %, of others 91 and 102 %, against 27.2 and 79 %), and none
# was no better (27.9 and 80 %).
CORRECTION_LENGTH = 0.35
LINEAGES_TO_BELIEVE = 1.0
# A correction is of the model, the chip and the software. Were it of batch or count as well, it could make scaling look
# better than linear; those are the mechanics' to say.
CORRECTION_FEATURES = [0, 1, 7]
CLIPPED_AT = 1.5  # natural-log units that one measurement is believed to exceed its prediction by
DISTANCES_AT_ONCE = 2**20
NEIGHBOURS = 5  # measurements that an estimate is shown to rest on
FEW = 64  # rows of which the neighbours are remembered
SQUARED_PENALTIES = np.array([penalty**2 for _, penalty in NAME_PENALTIES])


@dataclass(frozen=True)
class Neighbour:
    """One measurement near a configuration; rates are samples per second of the whole job."""

    id: str
    distance: float
    measured_samples_per_second: float
    predicted_samples_per_second: float


def named(table: Table, name: str) -> Names:
    """What the rows say of one of `NAME_PENALTIES`."""
    return arithmetic(table) if name == "arithmetic" else table.texts[name]


@once_a_table
def features(table: Table) -> FloatArray:
    """Coordinates of every configuration, shape (n, len(FEATURE_WEIGHTS)), in weighted natural-log units."""
    cost = work(table)
    columns = (
        np.log(np.maximum(cost.gemm_flops + cost.attention_flops, 1.0)),
        np.log(np.maximum(filled(table["sequence_length"], 1.0), 1.0)),
        np.log(np.maximum(table["micro_batch"], 1e-3)),
        np.log(np.maximum(table["global_batch"] / np.maximum(table["count"], 1e-3), 1e-3)),
        np.log(np.maximum(table["tensor_parallel"], 1.0)),
        np.log(np.maximum(table["pipeline_parallel"], 1.0)),
        np.log(np.maximum(table["count"], 1.0)),
        np.log(np.maximum(table["peak_tflops"], 1e-3)),
    )
    return np.asarray(np.stack(columns, axis=1) * np.array(FEATURE_WEIGHTS), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Witnesses:
    """What measurements exceed a new site's prediction by: those that a correction can't tell apart are one point.

    Points are ordered by lineage; shapes (m,).
    """

    coordinates: FloatArray  # (m, len(CORRECTION_FEATURES))
    squares: FloatArray  # squared lengths of the coordinates
    kind: IntArray  # which of the sets of names
    kinds: IntArray  # (c, len(NAME_PENALTIES)), codes of each set
    count: FloatArray  # measurements of the point
    total: FloatArray  # sum of what they exceed it by
    begins: IntArray  # first point of each lineage

    def correction(self, places: Places) -> FloatArray:
        """`Evidence.correction` of q places, shape (q,)."""
        many = max(DISTANCES_AT_ONCE // len(self.kind), 1)
        parts = (places.take(slice(begin, begin + many)) for begin in range(0, len(places.names), many))
        return np.concatenate([self._correction(part) for part in parts])

    def _correction(self, places: Places) -> FloatArray:
        kernel = np.exp(-0.5 / CORRECTION_LENGTH**2 * self._squared_distances(places))
        weight = kernel**2
        strength = np.maximum.reduceat(kernel, self.begins, axis=1)
        mean = np.add.reduceat(weight * self.total, self.begins, axis=1) / np.maximum(
            np.add.reduceat(weight * self.count, self.begins, axis=1), 1e-300
        )
        belief = LINEAGES_TO_BELIEVE + strength.sum(axis=1)
        return np.asarray((strength * np.where(strength > 1e-6, mean, 0.0)).sum(axis=1) / belief)

    def _squared_distances(self, places: Places) -> FloatArray:
        """Squared distances of q places to the points, shape (q, m)."""
        first, asked = combinations(list(places.names.T - UNHEARD))
        names = places.names[first]
        differing = ((names[:, None, :] != self.kinds) & (names != OPEN)[:, None, :]) @ SQUARED_PENALTIES
        here = places.coordinates
        squared = (here**2).sum(axis=1)[:, None] + self.squares - 2.0 * here @ self.coordinates.T
        return np.asarray(np.maximum(squared + differing[:, self.kind][asked], 0.0))


@dataclass(frozen=True, eq=False)
class Evidence:
    """The measurements that can be pointed at; arrays of shape (m,), logs are natural and of seconds per sample."""

    ids: TextArray
    coordinates: FloatArray
    names: dict[str, Names]
    families: Names
    lineages: Names
    log_measured: FloatArray
    log_predicted: FloatArray
    log_beyond: FloatArray  # measured over what a new site would have been predicted; NaN: has no say in `correction`

    @classmethod
    def of(
        cls,
        ids: TextArray,
        table: Table,
        log_measured: FloatArray,
        log_predicted: FloatArray,
        log_new_site: FloatArray,
    ) -> Evidence:
        """Evidence made of a table of measurements; `log_new_site` is their prediction without any site's effects."""
        return cls(
            ids,
            features(table),
            {name: named(table, name) for name, _ in NAME_PENALTIES},
            table.texts["family"],
            table.texts["lineage"],
            log_measured,
            log_predicted,
            log_measured - log_new_site,
        )

    def nearest(self, table: Table, k: int) -> list[list[Neighbour]]:
        """The `k` nearest measurements of the same family, nearest first, for every row."""
        return [
            [self._neighbour(row, far) for row, far in zip(rows[:k].tolist(), squared[:k].tolist(), strict=True)]
            for rows, squared in self._looked_up(table, k)
        ]

    def nearest_distance(self, table: Table, *, sides_of: Sequence[float] = ()) -> FloatArray:
        """Distance of every row to its nearest measurement (infinite if its family has none), shape (n,).

        With `sides_of` it may be rough, but lies on the right side of each of these (`Points.distances`).
        """
        if len(table) <= FEW:
            return np.sqrt(
                [squared[0] if len(squared) else np.inf for _, squared in self._looked_up(table, NEIGHBOURS)]
            )
        place = _Asked.of(table, self._codes)
        result = np.full(len(place.first), np.inf)
        for some, family in place.by_family(table):
            points = self._points(family)
            if points is not None:
                result[some] = points.distances(place.places.take(some), sides_of)
        return result[place.of_row]

    def _looked_up(self, table: Table, k: int) -> list[tuple[IntArray, FloatArray]]:
        """Positions of the `k` nearest measurements, or of more, and their squared distances, for every row.

        What few rows are graded by and what they are shown to rest on is looked up once.
        """
        most, found = self._found.get(table, (0, []))
        if most >= k:
            return found
        place = _Asked.of(table, self._codes)
        nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
        places = [nothing] * len(place.first)
        for some, family in place.by_family(table):
            points = self._points(family)
            if points is not None:
                for one, near in zip(some.tolist(), points.nearest(place.places.take(some), k), strict=True):
                    places[one] = near
        found = [places[one] for one in place.of_row.tolist()]
        if len(table) <= FEW:
            self._found[table] = k, found
        return found

    def distance_to_others(self, table: Table) -> FloatArray:
        """Distance of every row to the nearest measurement of another lineage than its own, shape (n,)."""
        result, lineages = np.empty(len(table)), table.texts["lineage"]
        for code in np.unique(lineages.codes).tolist():
            rows = np.flatnonzero(lineages.codes == code)
            others = self._take(~self.lineages.among((lineages.vocabulary[code],)))
            result[rows] = others.nearest_distance(table.take(rows))
        return result

    def correction(self, table: Table) -> FloatArray:
        """What near measurements exceed a new site's prediction by, natural log, shape (n,).

        Kernel smoothing of residuals (Nadaraya 1964; Watson 1964), first within each lineage, then over lineages with
        shrinkage to zero, so that ten thousand rows of one benchmark are one witness.
        """
        place = _Asked.of(table, self._codes, CORRECTION_FEATURES)
        result = np.zeros(len(place.first))
        for some, family in place.by_family(table):
            witnesses = self._witnesses(family)
            if witnesses is not None:
                result[some] = witnesses.correction(place.places.take(some))
        return result[place.of_row]

    def _neighbour(self, row: int, squared: float) -> Neighbour:
        return Neighbour(
            str(self.ids[row]),
            round(math.sqrt(squared), 4),
            math.exp(-self.log_measured[row]),
            math.exp(-self.log_predicted[row]),
        )

    @cached_property
    def models(self) -> frozenset[str]:
        """The models that were measured."""
        models = self.names["model"]
        return frozenset(models.vocabulary[code] for code in np.unique(models.codes).tolist())

    @cached_property
    def _found(self) -> WeakKeyDictionary[Table, tuple[int, list[tuple[IntArray, FloatArray]]]]:
        """What was looked up of small tables, for as long as these live: how many neighbours, and which."""
        return WeakKeyDictionary()

    @cached_property
    def _codes(self) -> list[dict[str, int]]:
        """The code of each value, by name of `NAME_PENALTIES`."""
        return [{value: code for code, value in enumerate(self.names[name].vocabulary)} for name, _ in NAME_PENALTIES]

    @cached_property
    def _remembered(self) -> tuple[dict[str, Points | None], dict[str, _Witnesses | None]]:
        return {}, {}

    def _points(self, family: str) -> Points | None:
        """The measurements of a family to look for; None if there are none. Indexed when first asked for."""
        remembered, _ = self._remembered
        if family not in remembered and family in self.families.vocabulary:
            rows = np.flatnonzero(self.families.among((family,)))
            penalties = [penalty for _, penalty in NAME_PENALTIES]
            names = self._name_codes(rows)
            remembered[family] = Points.of(rows, self.coordinates[rows], names, penalties) if len(rows) else None
        return remembered.get(family)

    def _witnesses(self, family: str) -> _Witnesses | None:
        """The measurements of a family that have a say in corrections; None if there are none."""
        _, remembered = self._remembered
        if family not in remembered and family in self.families.vocabulary:
            rows = np.flatnonzero(self.families.among((family,)) & np.isfinite(self.log_beyond))
            remembered[family] = self._heard(rows) if len(rows) else None
        return remembered.get(family)

    def _heard(self, rows: IntArray) -> _Witnesses:
        coordinates, lineages = self.coordinates[rows][:, CORRECTION_FEATURES], self.lineages.codes[rows]
        names = self._name_codes(rows)
        first, point = combinations([lineages, *names.T, *(coded(column) for column in coordinates.T)])
        order = np.argsort(lineages[first], kind="stable")
        first, place = first[order], np.argsort(order)[point]
        kinds, kind = combinations(list(names[first].T))
        beyond = np.clip(self.log_beyond[rows], -CLIPPED_AT, CLIPPED_AT)
        return _Witnesses(
            coordinates[first],
            (coordinates[first] ** 2).sum(axis=1),
            kind,
            names[first][kinds],
            np.bincount(place).astype(np.float64),
            np.bincount(place, beyond).astype(np.float64),
            np.flatnonzero(np.diff(lineages[first], prepend=-1)),
        )

    def _name_codes(self, rows: IntArray) -> IntArray:
        return np.stack([self.names[name].codes[rows] for name, _ in NAME_PENALTIES], axis=1)

    def _take(self, index: BoolArray) -> Evidence:
        """The measurements at `index`."""
        return Evidence(
            self.ids[index],
            self.coordinates[index],
            {name: column.take(index) for name, column in self.names.items()},
            self.families.take(index),
            self.lineages.take(index),
            self.log_measured[index],
            self.log_predicted[index],
            self.log_beyond[index],
        )


@dataclass(frozen=True, eq=False)
class _Asked:
    """The different places that a table's rows ask about, each of which is looked up once."""

    first: IntArray  # (p,), a row of each
    of_row: IntArray  # (n,), the place of each row
    places: Places  # (p,)

    @classmethod
    def of(cls, table: Table, codes: list[dict[str, int]], columns: list[int] | slice = slice(None)) -> _Asked:
        """`codes`: of the names in the measurements' vocabularies; `columns`: the features that count."""
        coordinates = features(table)[:, columns]
        texts = [named(table, name) for name, _ in NAME_PENALTIES]
        numbers = [] if len(table) == 1 else [coded(column) for column in coordinates.T]
        first, of_row = combinations([table.texts["family"].codes, *(text.codes for text in texts), *numbers])
        names = np.empty((len(first), len(texts)), dtype=np.int64)
        for column, (text, known) in enumerate(zip(texts, codes, strict=True)):
            of_value = [known.get(value, UNHEARD) if value else OPEN for value in text.vocabulary]
            names[:, column] = np.array(of_value)[text.codes[first]]
        return cls(first, of_row, Places(coordinates[first], names))

    def by_family(self, table: Table) -> Iterator[tuple[IntArray, str]]:
        """The places of each family, and its name."""
        families = table.texts["family"]
        codes = families.codes[self.first]
        for code in sorted(set(codes.tolist())):
            yield np.flatnonzero(codes == code), families.vocabulary[code]


def graded(table: Table, known: BoolArray, witnesses: Sequence[Evidence]) -> TextArray:
    """How well founded a prediction is, shape (n,), by all evidence; `known`: whose work is, shape (n,)."""
    limits = (MEASURED_WITHIN, INTERPOLATED_WITHIN)
    distances = np.stack([evidence.nearest_distance(table, sides_of=limits) for evidence in witnesses])
    result = grade(table, distances.min(axis=0))
    if not known.all():
        # Neither its work nor a measured sibling is known: whatever is near is near to a stand-in.
        models = frozenset().union(*(evidence.models for evidence in witnesses))
        result[~known & ~table.among("model", models)] = "extrapolated"
    return result


def grade(table: Table, distance: FloatArray) -> TextArray:
    """How well founded a prediction is, shape (n,): `measured`, `interpolated` or `extrapolated`."""
    result = np.full(len(table), "extrapolated", dtype=object)
    result[distance <= INTERPOLATED_WITHIN] = "interpolated"
    result[distance <= MEASURED_WITHIN] = "measured"
    result[table.among("mode", ("frozen",))] = "extrapolated"  # no measurement of this mode exists
    return result

"""Which measurements stand behind a prediction: the nearest ones, how near they are, and what they still teach.

Distance is in natural-log units of what decides speed (work, batch, count, degrees), plus a fixed penalty for each
name that differs (chip, model, precision, mode, framework, evidence), so that 0 is the same configuration measured
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

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

MEASURED_WITHIN = 0.7
INTERPOLATED_WITHIN = 2.5
FEATURE_WEIGHTS = (1.0, 0.5, 0.3, 0.4, 0.3, 0.3, 0.25, 0.5)
NAME_PENALTIES = (
    ("accelerator", 0.4),
    ("chip_group", 0.7),
    ("model", 0.6),
    ("precision", 0.6),
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


@dataclass(frozen=True)
class Neighbour:
    """One measurement near a configuration; rates are samples per second of the whole job."""

    id: str
    distance: float
    measured_samples_per_second: float
    predicted_samples_per_second: float


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
class _Points:
    """Points to measure distances to: m places in feature space, each with one of c sets of names."""

    coordinates: FloatArray  # (m, features)
    squares: FloatArray  # (m,), squared lengths of the coordinates
    kind: IntArray  # (m,), which of the sets of names
    kinds: list[Names]  # by name of `NAME_PENALTIES`, (c,) each

    @classmethod
    def of(cls, coordinates: FloatArray, names: Sequence[Names]) -> _Points:
        first, kind = combinations([column.codes for column in names])
        kinds = [Names.of(column.text[first]) for column in names]
        return cls(coordinates, (coordinates**2).sum(axis=1), kind, kinds)

    def squared_distances(self, coordinates: FloatArray, names: Sequence[str]) -> FloatArray:
        """Squared distances of q places (q, features) that have the same names, "" where left open: shape (q, m)."""
        differing = np.zeros(len(self.kinds[0].codes))
        for (_, penalty), column, name in zip(NAME_PENALTIES, self.kinds, names, strict=True):
            if name:
                differing += np.where(column.among((name,)), 0.0, penalty**2)
        squared = (coordinates**2).sum(axis=1)[:, None] + self.squares - 2.0 * coordinates @ self.coordinates.T
        return np.asarray(np.maximum(squared + differing[self.kind], 0.0))


@dataclass(frozen=True, eq=False)
class _Witnesses:
    """What measurements exceed a new site's prediction by: those that a correction can't tell apart are one point.

    Points are ordered by lineage; shapes (m,).
    """

    points: _Points
    count: FloatArray  # measurements of the point
    total: FloatArray  # sum of what they exceed it by
    begins: IntArray  # first point of each lineage

    def correction(self, coordinates: FloatArray, names: Sequence[str]) -> FloatArray:
        """`Evidence.correction` of q places that have the same names, shape (q,)."""
        kernel = np.exp(-0.5 / CORRECTION_LENGTH**2 * self.points.squared_distances(coordinates, names))
        weight = kernel**2
        strength = np.maximum.reduceat(kernel, self.begins, axis=1)
        mean = np.add.reduceat(weight * self.total, self.begins, axis=1) / np.maximum(
            np.add.reduceat(weight * self.count, self.begins, axis=1), 1e-300
        )
        belief = LINEAGES_TO_BELIEVE + strength.sum(axis=1)
        return np.asarray((strength * np.where(strength > 1e-6, mean, 0.0)).sum(axis=1) / belief)


@dataclass(frozen=True, eq=False)
class _Pool:
    """The measurements of one family."""

    rows: IntArray  # (m,), their positions among all
    points: _Points
    witnesses: _Witnesses | None  # None: none of them says anything


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
            {name: table.texts[name] for name, _ in NAME_PENALTIES},
            table.texts["family"],
            table.texts["lineage"],
            log_measured,
            log_predicted,
            log_measured - log_new_site,
        )

    def nearest(self, table: Table, k: int) -> list[list[Neighbour]]:
        """The `k` nearest measurements of the same family, nearest first, for every row."""
        answers: list[list[Neighbour]] = [[] for _ in range(len(table))]
        place = _Places.of(table)
        found: list[list[Neighbour]] = [[] for _ in range(len(place.first))]
        for places, pool, names in self._asked(table, place):
            for part in _blocks(places, pool.points):
                squared = pool.points.squared_distances(place.coordinates[part], names)
                for one, far in zip(part.tolist(), squared, strict=True):
                    found[one] = [self._neighbour(pool.rows[i], far[i]) for i in _smallest(far, k)]
        for row, one in enumerate(place.of_row.tolist()):
            answers[row] = found[one]
        return answers

    def nearest_distance(self, table: Table, *, other_lineages_only: bool = False) -> FloatArray:
        """Distance of every row to its nearest measurement (infinite if its family has none), shape (n,)."""
        place = _Places.of(table, by_lineage=other_lineages_only)
        result = np.full(len(place.first), np.inf)
        for places, pool, names in self._asked(table, place):
            for part in _blocks(places, pool.points):
                squared = pool.points.squared_distances(place.coordinates[part], names)
                if other_lineages_only:
                    lineages = self.lineages.text[pool.rows]
                    own = table.text("lineage")[place.first[part]][:, None] == lineages[None, :]
                    squared = np.where(own, np.inf, squared)
                result[part] = np.sqrt(squared.min(axis=1))
        return result[place.of_row]

    def correction(self, table: Table) -> FloatArray:
        """What near measurements exceed a new site's prediction by, natural log, shape (n,).

        Kernel smoothing of residuals (Nadaraya 1964; Watson 1964), first within each lineage, then over lineages with
        shrinkage to zero, so that ten thousand rows of one benchmark are one witness.
        """
        place = _Places.of(table, CORRECTION_FEATURES)
        result = np.zeros(len(place.first))
        for places, pool, names in self._asked(table, place):
            if pool.witnesses is not None:
                for part in _blocks(places, pool.witnesses.points):
                    result[part] = pool.witnesses.correction(place.coordinates[part], names)
        return result[place.of_row]

    def _neighbour(self, row: int, squared: float) -> Neighbour:
        return Neighbour(
            str(self.ids[row]),
            round(float(np.sqrt(squared)), 4),
            float(np.exp(-self.log_measured[row])),
            float(np.exp(-self.log_predicted[row])),
        )

    def _asked(self, table: Table, place: _Places) -> Iterator[tuple[IntArray, _Pool, tuple[str, ...]]]:
        """Places that have the same family and names, the pool of that family, and those names."""
        columns = [table.texts[name] for name in ("family", *(name for name, _ in NAME_PENALTIES))]
        codes = [column.codes[place.first] for column in columns]
        first, combination = combinations(codes)
        order = np.argsort(combination, kind="stable")
        ends = np.cumsum(np.bincount(combination, minlength=len(first)))
        for one, begin, end in zip(first.tolist(), [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            family, *names = (column.vocabulary[code[one]] for column, code in zip(columns, codes, strict=True))
            pool = self._pools.get(family)
            if pool is not None:
                yield order[begin:end], pool, tuple(names)

    @cached_property
    def models(self) -> frozenset[str]:
        """The models that were measured."""
        models = self.names["model"]
        return frozenset(models.vocabulary[code] for code in np.unique(models.codes).tolist())

    @cached_property
    def _pools(self) -> dict[str, _Pool]:
        rows = ((name, np.flatnonzero(self.families.among((name,)))) for name in self.families.vocabulary)
        return {name: self._pool(inside) for name, inside in rows if len(inside)}

    def _pool(self, rows: IntArray) -> _Pool:
        names = [self.names[name].take(rows) for name, _ in NAME_PENALTIES]
        heard = np.isfinite(self.log_beyond[rows])
        witnesses = self._witnesses(rows[heard], [column.take(heard) for column in names]) if heard.any() else None
        return _Pool(rows, _Points.of(self.coordinates[rows], names), witnesses)

    def _witnesses(self, rows: IntArray, names: Sequence[Names]) -> _Witnesses:
        coordinates, lineages = self.coordinates[rows][:, CORRECTION_FEATURES], self.lineages.codes[rows]
        alike = [lineages, *(column.codes for column in names), *(coded(column) for column in coordinates.T)]
        first, point = combinations(alike)
        order = np.argsort(lineages[first], kind="stable")
        first, place = first[order], np.argsort(order)[point]
        beyond = np.clip(self.log_beyond[rows], -CLIPPED_AT, CLIPPED_AT)
        return _Witnesses(
            _Points.of(coordinates[first], [column.take(first) for column in names]),
            np.bincount(place).astype(np.float64),
            np.bincount(place, beyond).astype(np.float64),
            np.flatnonzero(np.diff(lineages[first], prepend=-1)),
        )


@dataclass(frozen=True, eq=False)
class _Places:
    """The different places that a table's rows ask about, each of which is looked up once."""

    first: IntArray  # (p,), a row of each
    of_row: IntArray  # (n,)
    coordinates: FloatArray  # (p, features)

    @classmethod
    def of(cls, table: Table, columns: list[int] | slice = slice(None), *, by_lineage: bool = False) -> _Places:
        coordinates = features(table)[:, columns]
        if len(table) == 1:
            return cls(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), coordinates)
        names = ["family", *(name for name, _ in NAME_PENALTIES), *(["lineage"] if by_lineage else [])]
        first, of_row = combinations(
            [*(table.texts[name].codes for name in names), *(coded(column) for column in coordinates.T)]
        )
        return cls(first, of_row, coordinates[first])


def _blocks(places: IntArray, points: _Points) -> Iterator[IntArray]:
    """The places in as many at once as distances to all points are held of."""
    many = max(DISTANCES_AT_ONCE // len(points.kind), 1)
    for begin in range(0, len(places), many):
        yield places[begin : begin + many]


def _smallest(values: FloatArray, k: int) -> IntArray:
    """Where the `k` smallest values are, smallest first, and of equal ones the earlier first."""
    if k < len(values):
        inside = np.flatnonzero(values <= np.partition(values, k - 1)[k - 1])
        return inside[np.argsort(values[inside], kind="stable")][:k]
    return np.argsort(values, kind="stable")[:k]


def graded(table: Table, known: BoolArray, witnesses: Sequence[Evidence]) -> TextArray:
    """How well founded a prediction is, shape (n,), by all evidence; `known`: whose work is, shape (n,)."""
    distances = np.stack([evidence.nearest_distance(table) for evidence in witnesses])
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

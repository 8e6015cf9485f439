"""Which measurements stand behind a prediction: the nearest ones, how near they are, and what they still teach.

Distance is in natural-log units of what decides speed (work, batch, count, degrees), plus a fixed penalty for each
name that differs (chip, model, precision, mode, framework, evidence), so that 0 is the same configuration measured
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.engine.operations import work
from service.engine.table import BoolArray, FloatArray, IntArray, Table, TextArray

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
CHUNK = 256
NOT_STATED = -2  # a name that the asker left open differs from none


@dataclass(frozen=True)
class Neighbour:
    """One measurement near a configuration; rates are samples per second of the whole job."""

    id: str
    distance: float
    measured_samples_per_second: float
    predicted_samples_per_second: float


def features(table: Table) -> FloatArray:
    """Coordinates of every configuration, shape (n, len(FEATURE_WEIGHTS)), in weighted natural-log units."""
    cost = work(table)
    columns = (
        np.log(np.maximum(cost.gemm_flops + cost.attention_flops, 1.0)),
        np.log(np.maximum(np.nan_to_num(table["sequence_length"], nan=1.0), 1.0)),
        np.log(np.maximum(table["micro_batch"], 1e-3)),
        np.log(np.maximum(table["global_batch"] / np.maximum(table["count"], 1e-3), 1e-3)),
        np.log(np.maximum(table["tensor_parallel"], 1.0)),
        np.log(np.maximum(table["pipeline_parallel"], 1.0)),
        np.log(np.maximum(table["count"], 1.0)),
        np.log(np.maximum(table["peak_tflops"], 1e-3)),
    )
    return np.asarray(np.stack(columns, axis=1) * np.array(FEATURE_WEIGHTS), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The measurements that can be pointed at; arrays of shape (m,), logs are natural and of seconds per sample."""

    ids: TextArray
    coordinates: FloatArray
    names: dict[str, TextArray]
    families: TextArray
    lineages: TextArray
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
            {name: table.text(name) for name, _ in NAME_PENALTIES},
            table.text("family"),
            table.text("lineage"),
            log_measured,
            log_predicted,
            log_measured - log_new_site,
        )

    def nearest(self, table: Table, k: int) -> list[list[Neighbour]]:
        """The `k` nearest measurements of the same family, nearest first, for every row."""
        answers: list[list[Neighbour]] = [[] for _ in range(len(table))]
        for rows, pool, distance in self._distances(table):
            order = np.argsort(distance, axis=1, kind="stable")[:, :k]
            for row, best, far in zip(rows, order, distance, strict=True):
                answers[row] = [
                    Neighbour(
                        str(self.ids[pool[i]]),
                        round(float(far[i]), 4),
                        float(np.exp(-self.log_measured[pool[i]])),
                        float(np.exp(-self.log_predicted[pool[i]])),
                    )
                    for i in best
                ]
        return answers

    def nearest_distance(self, table: Table, *, other_lineages_only: bool = False) -> FloatArray:
        """Distance of every row to its nearest measurement (infinite if its family has none), shape (n,)."""
        result = np.full(len(table), np.inf)
        for rows, pool, distance in self._distances(table):
            if other_lineages_only:
                own = table.text("lineage")[rows][:, None] == self.lineages[pool][None, :]
                result[rows] = np.where(own, np.inf, distance).min(axis=1)
            else:
                result[rows] = distance.min(axis=1)
        return result

    def correction(self, table: Table) -> FloatArray:
        """What near measurements exceed a new site's prediction by, natural log, shape (n,).

        Kernel smoothing of residuals (Nadaraya 1964; Watson 1964), first within each lineage, then over lineages with
        shrinkage to zero, so that ten thousand rows of one benchmark are one witness.
        """
        result = np.zeros(len(table))
        for rows, pool, distance in self._distances(table, CORRECTION_FEATURES):
            kernel = np.exp(-0.5 * (distance / CORRECTION_LENGTH) ** 2)
            total, belief = np.zeros(len(rows)), np.full(len(rows), LINEAGES_TO_BELIEVE)
            lineages, heard = self.lineages[pool], np.isfinite(self.log_beyond[pool])
            for lineage in set(lineages[heard].tolist()):
                inside = np.flatnonzero(heard & (lineages == lineage))
                weight = kernel[:, inside] ** 2
                strength = kernel[:, inside].max(axis=1)
                mean = (
                    weight @ np.clip(self.log_beyond[pool[inside]], -1.5, 1.5) / np.maximum(weight.sum(axis=1), 1e-300)
                )
                total += strength * np.where(strength > 1e-6, mean, 0.0)
                belief += strength
            result[rows] = total / belief
        return result

    def _distances(
        self, table: Table, columns: list[int] | slice = slice(None)
    ) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        """Blocks of (rows of the table, measurements of their family, distances between them by these features)."""
        coordinates = features(table)[:, columns]
        families = table.text("family")
        for family in dict.fromkeys(families.tolist()):
            pool = np.flatnonzero(self.families == family)
            mine = np.flatnonzero(families == family)
            if not len(pool):
                continue
            theirs = self.coordinates[pool][:, columns]
            codes = []
            for name, penalty in NAME_PENALTIES:
                vocabulary: dict[str, int] = {}
                known = np.array([vocabulary.setdefault(value, len(vocabulary)) for value in self.names[name][pool]])
                asked = np.array(
                    [vocabulary.get(value, -1) if value else NOT_STATED for value in table.text(name)[mine]]
                )
                codes.append((penalty**2, asked, known))
            for begin in range(0, len(mine), CHUNK):
                part = slice(begin, begin + CHUNK)
                rows = mine[part]
                squared = (
                    (coordinates[rows] ** 2).sum(axis=1)[:, None]
                    + (theirs**2).sum(axis=1)[None, :]
                    - 2.0 * coordinates[rows] @ theirs.T
                )
                for penalty, asked, known in codes:
                    differs = asked[part][:, None] != known[None, :]
                    squared = squared + penalty * (differs & (asked[part][:, None] != NOT_STATED))
                yield rows, pool, np.sqrt(np.maximum(squared, 0.0))


def graded(table: Table, known: BoolArray, witnesses: Sequence[Evidence]) -> TextArray:
    """How well founded a prediction is, shape (n,), by all evidence; `known`: whose work is, shape (n,)."""
    distances = np.stack([evidence.nearest_distance(table) for evidence in witnesses])
    result = grade(table, distances.min(axis=0))
    models = np.concatenate([evidence.names["model"] for evidence in witnesses])
    # Neither its work nor a measured sibling is known: whatever is near is near to a stand-in.
    result[~known & ~np.isin(table.text("model"), models)] = "extrapolated"
    return result


def grade(table: Table, distance: FloatArray) -> TextArray:
    """How well founded a prediction is, shape (n,): `measured`, `interpolated` or `extrapolated`."""
    result = np.full(len(table), "extrapolated", dtype=object)
    result[distance <= INTERPOLATED_WITHIN] = "interpolated"
    result[distance <= MEASURED_WITHIN] = "measured"
    result[table.text("mode") == "frozen"] = "extrapolated"  # no measurement of this mode exists
    return result

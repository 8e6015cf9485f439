"""Which measurements stand behind a prediction: the nearest ones, and how near they are.

Distance is in natural-log units of what decides speed (work, batch, count, degrees), plus a fixed penalty for each
name that differs (chip, model, precision, mode, framework), so that 0 is the same configuration measured elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.engine.operations import work
from service.engine.table import BoolArray, FloatArray, Table, TextArray

MEASURED_WITHIN = 0.5
INTERPOLATED_WITHIN = 2.5
FEATURE_WEIGHTS = (1.0, 0.5, 0.5, 0.4, 0.3, 0.3, 0.3, 0.5)
NAME_PENALTIES = (("accelerator", 0.6), ("chip_group", 0.8), ("model", 0.4), ("precision", 0.6), ("mode", 0.8), ("framework", 0.2))


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
    return np.stack(columns, axis=1) * np.array(FEATURE_WEIGHTS)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The measurements that can be pointed at: identifiers, coordinates, names, measured and predicted rates."""

    ids: TextArray
    coordinates: FloatArray
    names: dict[str, TextArray]
    families: TextArray
    lineages: TextArray
    log_measured: FloatArray  # natural log of seconds per sample
    log_predicted: FloatArray

    @classmethod
    def of(cls, ids: TextArray, table: Table, log_measured: FloatArray, log_predicted: FloatArray) -> Evidence:
        """Evidence made of a table of measurements."""
        return cls(
            ids,
            features(table),
            {name: table.text(name) for name, _ in NAME_PENALTIES},
            table.text("family"),
            table.text("lineage"),
            log_measured,
            log_predicted,
        )

    def distances(self, table: Table, row: int, coordinates: FloatArray, candidates: BoolArray | slice) -> FloatArray:
        """Distance of one row of `table` to every candidate measurement."""
        squared = ((self.coordinates[candidates] - coordinates[row]) ** 2).sum(axis=1)
        for name, penalty in NAME_PENALTIES:
            squared = squared + penalty**2 * (self.names[name][candidates] != table.text(name)[row])
        return np.asarray(np.sqrt(squared), dtype=np.float64)

    def nearest(self, table: Table, k: int) -> list[list[Neighbour]]:
        """The `k` nearest measurements of the same family, nearest first, for every row."""
        coordinates = features(table)
        answers: list[list[Neighbour]] = []
        for row in range(len(table)):
            pool = np.flatnonzero(self.families == table.text("family")[row])
            if len(pool) == 0:
                answers.append([])
                continue
            squared = self.distances(table, row, coordinates, pool)  # type: ignore[arg-type]
            order = np.argsort(squared, kind="stable")[:k]
            answers.append(
                [
                    Neighbour(
                        str(self.ids[pool[i]]),
                        round(float(squared[i]), 4),
                        float(np.exp(-self.log_measured[pool[i]])),
                        float(np.exp(-self.log_predicted[pool[i]])),
                    )
                    for i in order
                ]
            )
        return answers

    def nearest_distance(self, table: Table, *, other_lineages_only: bool = False) -> FloatArray:
        """Distance of every row to its nearest measurement (infinite if its family has none), shape (n,)."""
        coordinates = features(table)
        result = np.full(len(table), np.inf)
        pools = {family: np.flatnonzero(self.families == family) for family in set(table.text("family").tolist())}
        for row in range(len(table)):
            pool = pools[table.text("family")[row]]
            if other_lineages_only:
                pool = pool[self.lineages[pool] != table.text("lineage")[row]]
            if len(pool):
                result[row] = self.distances(table, row, coordinates, pool).min()  # type: ignore[arg-type]
        return result


def grade(table: Table, distance: FloatArray) -> TextArray:
    """How well founded a prediction is, shape (n,): `measured`, `interpolated` or `extrapolated`."""
    result = np.full(len(table), "extrapolated", dtype=object)
    result[distance <= INTERPOLATED_WITHIN] = "interpolated"
    result[distance <= MEASURED_WITHIN] = "measured"
    result[table.text("mode") == "frozen"] = "extrapolated"  # no measurement of this mode exists
    return result

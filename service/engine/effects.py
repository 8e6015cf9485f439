"""Which groups of rows may differ in which physical coefficient, and how much they are expected to.

A coefficient of a row is its global value plus one effect of every group the row belongs to (its chip, its framework,
its site, ...). Effects are random: each has a spread (natural-log units) that starts at the prior given here and is
then learned; a group with few rows is pulled towards zero, an unseen one stays at zero with the whole spread as its
uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from service.engine.coefficients import COEFFICIENTS, INDEX
from service.engine.operations import TRANSFORMER_FAMILIES, work
from service.engine.table import FloatArray, IntArray, Table, TextArray

SITE_TERMS = ("lineage", "site")


@dataclass(frozen=True)
class Term:
    """Effects of the levels of one grouping on one coefficient; `spread` is the prior standard deviation."""

    coefficient: str
    grouping: str
    spread: float
    least_rows: int = 1


TERMS: tuple[Term, ...] = (
    Term("compute_efficiency", "family", 0.30),
    Term("compute_efficiency", "mode", 0.20),
    Term("compute_efficiency", "adapter", 0.15),
    Term("compute_efficiency", "precision", 0.20),
    Term("compute_efficiency", "group_precision", 0.20),
    Term("compute_efficiency", "accelerator", 0.12),
    Term("compute_efficiency", "framework", 0.15),
    Term("compute_efficiency", "kernel_library", 0.40),
    Term("compute_efficiency", "evidence", 0.20),
    Term("compute_efficiency", "format_precision", 0.10),
    Term("compute_efficiency", "model", 0.20, 5),
    Term("compute_efficiency", "lineage", 0.20),
    Term("compute_efficiency", "site", 0.10),
    Term("gemm_rows_half", "family", 0.30),
    Term("gemm_rows_half", "lineage", 0.20),
    Term("gemm_width_half", "family", 0.30),
    Term("gemm_width_half", "lineage", 0.20),
    Term("attention_slowdown", "attention", 0.40),
    Term("attention_slowdown", "lineage", 0.20),
    Term("memory_traffic", "family", 0.30),
    Term("memory_traffic", "chip_group", 0.25),
    Term("memory_traffic", "accelerator", 0.12),
    Term("memory_traffic", "framework", 0.20),
    Term("memory_traffic", "memory_format", 0.20),
    Term("memory_traffic", "compile", 0.20),
    Term("memory_traffic", "model", 0.25, 12),
    Term("memory_traffic", "evidence", 0.25),
    Term("memory_traffic", "lineage", 0.20),
    Term("memory_traffic", "site", 0.10),
    Term("launch_seconds", "family", 0.20),
    Term("launch_seconds", "framework", 0.30),
    Term("launch_seconds", "chip_group", 0.30),
    Term("launch_seconds", "compile", 0.30),
    Term("launch_seconds", "model", 0.40, 12),
    Term("launch_seconds", "evidence", 0.20),
    Term("launch_seconds", "lineage", 0.30),
    Term("launch_seconds", "site", 0.15),
    Term("step_overhead_seconds", "family", 0.50),
    Term("step_overhead_seconds", "framework", 0.40),
    Term("step_overhead_seconds", "evidence", 0.40),
    Term("step_overhead_seconds", "lineage", 0.80),
    Term("intra_node_slowdown", "chip_group", 0.15),
    Term("intra_node_slowdown", "interconnect", 0.20),
    Term("intra_node_slowdown", "lineage", 0.20),
    Term("inter_node_slowdown", "chip_group", 0.30),
    Term("inter_node_slowdown", "framework", 0.30),
    Term("inter_node_slowdown", "lineage", 0.40),
    Term("gradient_exposed", "framework", 0.50),
    Term("gradient_exposed", "sharding", 0.50),
    Term("gradient_exposed", "lineage", 0.50),
    Term("scale_loss", "family", 0.30),
    Term("scale_loss", "framework", 0.20),
    Term("scale_loss", "evidence", 0.30),
    Term("scale_loss", "lineage", 0.30),
    Term("input_seconds", "family", 0.60),
    Term("input_seconds", "model", 0.50, 12),
    Term("input_seconds", "evidence", 0.40),
    Term("input_seconds", "lineage", 0.80),
    Term("collective_latency_seconds", "chip_group", 0.30),
    Term("collective_latency_seconds", "lineage", 0.30),
    Term("optimizer_traffic", "optimizer", 0.30),
    Term("optimizer_traffic", "lineage", 0.30),
    Term("work", "unknown_model", 1.50),
)
# Slopes: (coefficient, covariate, prior standard deviation). Covariates are centred where the data are.
SLOPES: tuple[tuple[str, str, float], ...] = (
    ("compute_efficiency", "year", 0.05),
    ("launch_seconds", "year", 0.08),
    # Newer chips sit in newer hosts, which launch faster, whatever the chip's vendor.
    ("launch_seconds", "chip_year", 0.08),
)
YEAR_CENTRES = {"year": 2022.0, "chip_year": 2020.0}
MOST_YEARS_BEFORE, MOST_YEARS_AFTER = 8.0, 4.0  # no slope is drawn on beyond the years that measurements span


def _joined(*columns: TextArray) -> TextArray:
    result = np.empty(len(columns[0]), dtype=object)
    result[:] = ["|".join(parts) for parts in zip(*(column.tolist() for column in columns), strict=True)]
    return result


def _compile(table: Table) -> TextArray:
    flag = table["compile"]
    result = np.full(len(table), "", dtype=object)
    result[flag == 1.0], result[flag == 0.0] = "on", "off"
    return result


def _unknown_model(table: Table) -> TextArray:
    known = work(table).known
    return np.where(known, "", table.text("model")).astype(object)


def _vision_model(table: Table) -> TextArray:
    """Transformer work follows from shape alone; other models have a character of their own."""
    language = np.isin(table.text("family").astype(str), list(TRANSFORMER_FAMILIES))
    return np.where(language, "", table.text("model")).astype(object)


GROUPINGS: dict[str, Callable[[Table], TextArray]] = {
    "group_precision": lambda table: _joined(table.text("chip_group"), table.text("precision")),
    "format_precision": lambda table: np.where(
        table.text("memory_format") == "", "", _joined(table.text("memory_format"), table.text("precision"))
    ).astype(object),
    "compile": _compile,
    "unknown_model": _unknown_model,
    "model": _vision_model,
}


def grouping(table: Table, name: str) -> TextArray:
    """Level of every row in a grouping, shape (n,); "" where the row belongs to none."""
    return GROUPINGS[name](table) if name in GROUPINGS else table.text(name)


@dataclass(frozen=True, eq=False)
class Design:
    """The unknowns of a calibration: global coefficients, slopes, then every level of every term, in that order."""

    levels: tuple[dict[str, int], ...]  # per term: level -> position among all unknowns
    size: int

    @property
    def fixed(self) -> int:
        """Number of unknowns that are not group effects."""
        return len(COEFFICIENTS) + len(SLOPES)

    def with_room(self, wanted: Iterable[Iterable[str]], spreads: FloatArray) -> tuple[Design, FloatArray]:
        """The same with the wanted levels (per term) that it lacks behind its own, and their prior variances."""
        levels = [dict(known) for known in self.levels]
        extra: list[float] = []
        for known, names, spread in zip(levels, wanted, spreads, strict=True):
            for name in names:
                if name not in known:
                    known[name] = self.size + len(extra)
                    extra.append(float(spread) ** 2)
        return Design(tuple(levels), self.size + len(extra)), np.array(extra)

    def prior_mean(self) -> FloatArray:
        """Prior mean of every unknown, shape (size,)."""
        mean = np.zeros(self.size)
        mean[: len(COEFFICIENTS)] = [coefficient.prior_mean for coefficient in COEFFICIENTS]
        return mean

    def prior_variance(self, spreads: FloatArray) -> FloatArray:
        """Prior variance of every unknown, shape (size,), with one spread a term."""
        variance = np.empty(self.size)
        variance[: len(COEFFICIENTS)] = [coefficient.prior_sd**2 for coefficient in COEFFICIENTS]
        variance[len(COEFFICIENTS) : self.fixed] = [slope[2] ** 2 for slope in SLOPES]
        for levels, spread in zip(self.levels, spreads, strict=True):
            variance[list(levels.values())] = spread**2
        return variance

    def columns(self, table: Table) -> tuple[IntArray, FloatArray, IntArray]:
        """Where each row's unknowns sit.

        Returns: positions (n, w) of the unknowns a row depends on (-1: none), their multipliers (n, w), and the
        coefficient index (w,) that each column adds to.
        """
        n = len(table)
        positions: list[IntArray] = []
        multipliers: list[FloatArray] = []
        targets: list[int] = []
        for index in range(len(COEFFICIENTS)):
            positions.append(np.full(n, index))
            multipliers.append(np.ones(n))
            targets.append(index)
        for offset, (coefficient, covariate, _) in enumerate(SLOPES):
            positions.append(np.full(n, len(COEFFICIENTS) + offset))
            years = np.nan_to_num(table[covariate] - YEAR_CENTRES[covariate], nan=0.0)
            multipliers.append(np.clip(years, -MOST_YEARS_BEFORE, MOST_YEARS_AFTER))
            targets.append(INDEX[coefficient])
        cache: dict[str, list[str]] = {}
        for term, levels in zip(TERMS, self.levels, strict=True):
            if term.grouping not in cache:
                cache[term.grouping] = grouping(table, term.grouping).tolist()
            positions.append(
                np.fromiter((levels.get(level, -1) for level in cache[term.grouping]), dtype=np.int64, count=n)
            )
            multipliers.append(np.ones(n))
            targets.append(INDEX[term.coefficient])
        return np.stack(positions, axis=1), np.stack(multipliers, axis=1), np.array(targets)


def make_design(table: Table) -> Design:
    """The unknowns that a table's rows speak about."""
    position = len(COEFFICIENTS) + len(SLOPES)
    all_levels: list[dict[str, int]] = []
    cache: dict[str, tuple[Sequence[str], IntArray]] = {}
    for term in TERMS:
        if term.grouping not in cache:
            names, counts = np.unique(grouping(table, term.grouping).astype(str), return_counts=True)
            cache[term.grouping] = (names.tolist(), counts)
        levels: dict[str, int] = {}
        for name, count in zip(*cache[term.grouping], strict=True):
            if name and count >= term.least_rows:
                levels[name] = position
                position += 1
        all_levels.append(levels)
    return Design(tuple(all_levels), position)


def row_coefficients(
    positions: IntArray, multipliers: FloatArray, targets: IntArray, unknowns: FloatArray
) -> FloatArray:
    """Coefficients of every row, shape (n, len(COEFFICIENTS)), from the values of the unknowns."""
    values = np.where(positions >= 0, unknowns[positions], 0.0) * multipliers
    result = np.zeros((len(positions), len(COEFFICIENTS)))
    for target in range(len(COEFFICIENTS)):
        result[:, target] = values[:, targets == target].sum(axis=1)
    return result


def jacobian(
    positions: IntArray, multipliers: FloatArray, targets: IntArray, sensitivities: FloatArray, size: int
) -> sparse.csr_matrix:
    """Derivative of every row's log time to every unknown, sparse (n, size)."""
    n, width = positions.shape
    data = sensitivities[:, targets] * multipliers
    keep = positions >= 0
    rows = np.broadcast_to(np.arange(n)[:, None], (n, width))[keep]
    return sparse.csr_matrix((data[keep], (rows, positions[keep])), shape=(n, size))

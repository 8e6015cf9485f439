"""Which groups of rows may differ in which physical coefficient, and how much they are expected to.

A coefficient of a row is its global value plus one effect of every group the row belongs to (its chip, its framework,
its site, ...). Effects are random: each has a spread (natural-log units) that starts at the prior given here and is
then learned; a group with few rows is pulled towards zero, an unseen one stays at zero with the whole spread as its
uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from service.engine.coefficients import COEFFICIENTS, INDEX
from service.engine.operations import TRANSFORMER_FAMILIES, work
from service.engine.table import BoolArray, FloatArray, IntArray, Names, Table, clipped, combinations, filled

SITE_TERMS = ("lineage", "site")
# Positions of unknowns that are none: a row belongs to no level of a grouping, or to one that the fit hasn't seen.
NONE, UNSEEN = -1, -2


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
    Term("compute_efficiency", "arithmetic", 0.20),
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
    Term("intra_node_slowdown", "split", 0.30),
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
HALF = {"fp16": "half", "bf16": "half"}
# Sold under two names: the same chip but for its links, which data sheets tell of (service/data/accelerators.csv).
SAME_SILICON = {
    "A800-SXM4-80GB": "A100-SXM4-80GB",
    "A800-PCIe-40GB": "A100-PCIe-40GB",
    "A800-PCIe-80GB": "A100-PCIe-80GB",
    "H800-PCIe-80GB": "H100-PCIe-80GB",
    "H800-SXM5-80GB": "H100-SXM5-80GB",
}
YEAR_CENTRES = {"year": 2022.0, "chip_year": 2020.0}
MOST_YEARS_BEFORE, MOST_YEARS_AFTER = 8.0, 4.0  # no slope is drawn on beyond the years that measurements span
# The coefficient that each of a row's unknowns adds to: its own, those of the slopes, then those of the terms.
TARGETS: IntArray = np.array(
    [*range(len(COEFFICIENTS)), *(INDEX[slope[0]] for slope in SLOPES), *(INDEX[term.coefficient] for term in TERMS)]
)


def _joined(left: Names, right: Names) -> Names:
    first, combination = combinations((left.codes, right.codes))
    pairs = zip(left.codes[first].tolist(), right.codes[first].tolist(), strict=True)
    return Names(tuple(f"{left.vocabulary[a]}|{right.vocabulary[b]}" for a, b in pairs), combination)


def _where(mask: BoolArray, names: Names) -> Names:
    """The names where the mask is true, "" elsewhere."""
    return Names(("", *names.vocabulary), np.where(mask, names.codes + 1, 0))


def _format_precision(table: Table) -> Names:
    memory_format = table.texts["memory_format"]
    return _where(~memory_format.among(("",)), _joined(memory_format, table.texts["precision"]))


def _split(table: Table) -> Names:
    """Whether ranks share layers.

    They talk in few large collectives, and nothing else runs meanwhile; gradients are reduced bucket by bucket beside
    the backward pass.
    """
    return Names(("", "tensor"), np.where(table["tensor_parallel"] > 1.0, 1, 0))


def arithmetic(table: Table) -> Names:
    """The precision of the units that compute: those of both half precisions are the same."""
    return table.texts["precision"].renamed(HALF)


def _compile(table: Table) -> Names:
    flag = table["compile"]
    return Names(("", "on", "off"), np.where(flag == 1.0, 1, np.where(flag == 0.0, 2, 0)))


def _unknown_model(table: Table) -> Names:
    return _where(~work(table).known, table.texts["model"])


def _vision_model(table: Table) -> Names:
    """Transformer work follows from shape alone; other models have a character of their own."""
    return _where(~table.among("family", TRANSFORMER_FAMILIES), table.texts["model"])


GROUPINGS: dict[str, Callable[[Table], Names]] = {
    "accelerator": lambda table: table.texts["accelerator"].renamed(SAME_SILICON),
    "arithmetic": arithmetic,
    "group_precision": lambda table: _joined(table.texts["chip_group"], arithmetic(table)),
    "format_precision": _format_precision,
    "compile": _compile,
    "split": _split,
    "unknown_model": _unknown_model,
    "model": _vision_model,
}


def grouping(table: Table, name: str) -> Names:
    """Level of every row in a grouping; "" where the row belongs to none."""
    return GROUPINGS[name](table) if name in GROUPINGS else table.texts[name]


def groupings(table: Table) -> dict[str, Names]:
    """`grouping` of every grouping that a term has."""
    return {name: grouping(table, name) for name in dict.fromkeys(term.grouping for term in TERMS)}


def covariates(table: Table) -> FloatArray:
    """The covariate of each of `SLOPES`, shape (len(SLOPES), n): centred and held to where the data are."""
    years = np.array([table[name] - YEAR_CENTRES[name] for _, name, _ in SLOPES])
    return clipped(filled(years, 0.0), -MOST_YEARS_BEFORE, MOST_YEARS_AFTER)


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

        Returns: positions (n, w) of the unknowns a row depends on (`NONE` or `UNSEEN` where there is none), their
        multipliers (n, w), and the coefficient index (w,) that each column adds to.
        """
        n = len(table)
        positions = [np.full(n, index) for index in range(self.fixed)]
        multipliers = [*np.ones((len(COEFFICIENTS), n)), *covariates(table)]
        names = groupings(table)
        for term, levels in zip(TERMS, self.levels, strict=True):
            column = names[term.grouping]
            positions.append(np.array([position(term, levels, name) for name in column.vocabulary])[column.codes])
            multipliers.append(np.ones(n))
        return np.stack(positions, axis=1), np.stack(multipliers, axis=1), TARGETS


def position(term: Term, levels: Mapping[str, int], name: str) -> int:
    """Where the effect of a term's level sits among all unknowns, or `NONE` or `UNSEEN`: every run has a site."""
    return levels.get(name, UNSEEN if name or term.grouping in SITE_TERMS else NONE)


def make_design(table: Table) -> Design:
    """The unknowns that a table's rows speak about."""
    position = len(COEFFICIENTS) + len(SLOPES)
    all_levels: list[dict[str, int]] = []
    columns = groupings(table)
    counts = {
        name: dict(
            zip(column.vocabulary, np.bincount(column.codes, minlength=len(column.vocabulary)).tolist(), strict=True)
        )
        for name, column in columns.items()
    }
    for term in TERMS:
        levels: dict[str, int] = {}
        for name, count in sorted(counts[term.grouping].items()):
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

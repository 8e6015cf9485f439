"""What learns best what the mechanics leave: nothing, kernel smoothing, boosted trees, a Gaussian process.

All are judged on lineages that they have not seen. The learners are trained on held-out residuals (what each row took
beyond its prediction by a fit without its lineage) of the other lineages, in folds of whole lineages: what a new site
can expect of them. The fits behind those residuals had seen the judged lineage, which can only flatter the learners.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from service.engine.accuracy import CLASSES, LEAST_ROWS, mean_over, score, source_classes
from service.engine.calibration import row_weights
from service.engine.evidence import NAME_PENALTIES, features, named
from service.engine.held_out import HeldOut
from service.engine.table import FloatArray, IntArray, Table

FOLDS = 10
SEED = 3
CLIPPED_AT = 1.5  # natural log; what is farther off is another run than was stated
GAUSSIAN_ROWS = 1000  # rows that a Gaussian process is trained on
GAUSSIAN_ROWS_OF_LINEAGE = 60
GAUSSIAN_ROWS_FOR_KERNEL = 400  # of them, rows that its kernel's parameters are chosen on
NUMBERS = (
    "hidden_size",
    "layers",
    "year",
    "chip_year",
    "memory_bandwidth_gbs",
    "data_parallel",
    "context_parallel",
    "expert_parallel",
    "image_size",
    "domain",
    "intra_gbs",
    "inter_gbs",
    "experts",
)
NAMES = (
    "family",
    "chip_group",
    "precision",
    "mode",
    "framework",
    "evidence",
    "sharding",
    "recompute",
    "attention",
    "optimizer",
    "data_input",
    "packing",
)

Learner = Callable[[IntArray, IntArray, FloatArray], FloatArray]  # rows to learn from, rows to predict, targets (n,)


def compare(table: Table, log_seconds: FloatArray, held_out: HeldOut) -> dict[str, dict[str, Any]]:
    """By layer: averages over sources with rows enough, by class, of what was predicted without their lineage."""
    left = log_seconds - held_out.mechanics
    left_by_kernel = log_seconds - held_out.predicted
    trees, gaussian = _trees(table), _gaussian(table)
    by_trees = _held_out(trees, table, left)
    layers = {
        "mechanics with pooled effects": held_out.mechanics,
        "+ kernel smoothing (what ships)": held_out.predicted,
        "+ boosted trees": held_out.mechanics + by_trees,
        "+ boosted trees, half of it": held_out.mechanics + 0.5 * by_trees,
        "+ Gaussian process": held_out.mechanics + _held_out(gaussian, table, left),
        "+ kernel smoothing + boosted trees": held_out.predicted + _held_out(trees, table, left_by_kernel),
    }
    return {name: _scores(table, predicted, log_seconds) for name, predicted in layers.items()}


def _scores(table: Table, predicted: FloatArray, log_seconds: FloatArray) -> dict[str, Any]:
    sources, classes = table.text("site").astype(str), source_classes(table)
    by_class: dict[str, list[dict[str, Any]]] = {name: [] for name in CLASSES}
    for source in np.unique(sources):
        mine = sources == source
        entry = score(predicted[mine], log_seconds[mine])
        if int(entry["n"] or 0) >= LEAST_ROWS:
            by_class[classes[str(source)]].append(entry)
    return {name: mean_over(entries) for name, entries in by_class.items()}


def _held_out(learner: Learner, table: Table, residual: FloatArray) -> FloatArray:
    """The learner's prediction of every row's residual, from other folds of lineages, shape (n,); 0 if unknown."""
    lineages, inverse = np.unique(table.text("lineage").astype(str), return_inverse=True)
    fold = np.random.default_rng(SEED).permutation(len(lineages))[inverse] % FOLDS
    known = np.isfinite(residual)
    target = np.clip(np.nan_to_num(residual), -CLIPPED_AT, CLIPPED_AT)
    result = np.zeros(len(table))
    for number in range(FOLDS):
        learned, asked = np.flatnonzero(known & (fold != number)), np.flatnonzero(known & (fold == number))
        if len(learned) and len(asked):
            result[asked] = learner(learned, asked, target)
    return result


def _trees(table: Table) -> Learner:
    numbers = np.stack([np.log(np.maximum(np.nan_to_num(table[name]), 1e-3)) for name in NUMBERS], axis=1)
    codes = np.stack([np.unique(table.text(name).astype(str), return_inverse=True)[1] for name in NAMES], axis=1)
    columns = np.concatenate([features(table), numbers, codes.astype(np.float64)], axis=1)
    weight = row_weights(table)

    def learn(learned: IntArray, asked: IntArray, target: FloatArray) -> FloatArray:
        trees = HistGradientBoostingRegressor(
            loss="absolute_error",
            learning_rate=0.05,
            max_iter=120,
            max_leaf_nodes=15,
            min_samples_leaf=100,
            max_features=0.5,
            l2_regularization=1.0,
            categorical_features=range(columns.shape[1] - len(NAMES), columns.shape[1]),
            random_state=SEED,
        )
        trees.fit(columns[learned], target[learned], sample_weight=weight[learned])
        return np.asarray(trees.predict(columns[asked]), dtype=np.float64)

    return learn


def _gaussian(table: Table) -> Learner:
    """Distances as `evidence` measures them: names as coordinates that are their penalty apart."""
    blocks = [features(table)]
    for name, penalty in NAME_PENALTIES:
        if name != "model":
            _, codes = np.unique(named(table, name).text.astype(str), return_inverse=True)
            blocks.append(np.eye(int(codes.max()) + 1)[codes] * penalty / np.sqrt(2.0))
    _, codes = np.unique(table.text("family").astype(str), return_inverse=True)
    blocks.append(np.eye(int(codes.max()) + 1)[codes])
    columns = np.concatenate(blocks, axis=1)
    lineages = table.text("lineage").astype(str)

    def learn(learned: IntArray, asked: IntArray, target: FloatArray) -> FloatArray:
        generator = np.random.default_rng(SEED)
        shuffled = generator.permutation(learned)
        position = np.zeros(len(shuffled), dtype=np.int64)
        for name in np.unique(lineages[shuffled]):
            own = np.flatnonzero(lineages[shuffled] == name)
            position[own] = np.arange(len(own))
        chosen = shuffled[position < GAUSSIAN_ROWS_OF_LINEAGE][:GAUSSIAN_ROWS]
        start = ConstantKernel(0.1) * RBF(1.5, (0.2, 20.0)) + WhiteKernel(0.1, (0.01, 1.0))
        few = chosen[:GAUSSIAN_ROWS_FOR_KERNEL]
        kernel = GaussianProcessRegressor(start, random_state=SEED).fit(columns[few], target[few]).kernel_
        process = GaussianProcessRegressor(kernel, optimizer=None).fit(columns[chosen], target[chosen])
        return np.concatenate(
            [np.asarray(process.predict(columns[part])) for part in np.array_split(asked, 1 + len(asked) // 2000)]
        )

    return learn

"""Predictions of rows that the fit hasn't seen: a lineage, a chip or a model left out, and warm starts.

A left-out lineage is every edition of one benchmark together (editions repeat each other, so that leaving out one
flatters); its rows are predicted as a new site's. A left-out chip or model is predicted where it was measured: its
site may be known from other rows.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.engine.calibration import Fit, fit, predict, sampled_rows
from service.engine.evidence import Evidence
from service.engine.forecast import Forecaster
from service.engine.table import BoolArray, FloatArray, IntArray, Table, TextArray

HELD_OUT_ITERATIONS = 5
HELD_OUT_ROWS = 500  # rows of one lineage that such a fit uses at most
WARM_ROWS = 20  # rows of a source that a warm start learns (seeded choice)
WARM_SEED = 20
CURVE_ROWS = (0, 5, 10, 20, 50)  # own rows learned, along the learning curve

Question = Callable[[Forecaster, IntArray], FloatArray]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of rows that the fit hadn't seen, natural logs of seconds per sample; shapes (n,).

    Cold: of a new site. Warm: after learning `WARM_ROWS` other rows of the same source; NaN for the rows learned and
    for sources with less than twice as many. Mechanics: cold, by the coefficients alone, without what near
    measurements kept beyond them.
    """

    predicted: FloatArray
    variance: FloatArray
    warm_predicted: FloatArray
    warm_variance: FloatArray
    mechanics: FloatArray


def leave_lineages_out(
    table: Table,
    log_seconds: FloatArray,
    fitted: Fit,
    *,
    lineages: Sequence[str] | None = None,
    processes: int = 2,
    refine: Callable[[Fit], Fit] = lambda without: without,
    progress: Callable[[float], None] = lambda share: None,
) -> HeldOut:
    """Predict every lineage (or those named) by a fit that hasn't seen it; spreads are kept from the full fit.

    Rows of lineages that weren't asked for are NaN. `refine` is what each such fit goes through before it predicts:
    what submitted rows teach it. `progress` is told, after each lineage, the share of them that is done.
    """
    names = sorted(set(table.text("lineage").tolist())) if lineages is None else list(lineages)
    task = _Task(table, log_seconds, fitted, refine=refine)
    return HeldOut(*_each(_one_lineage, names, task, 5, processes, progress))


def leave_levels_out(
    table: Table, log_seconds: FloatArray, fitted: Fit, column: str, levels: Sequence[str], *, processes: int = 2
) -> tuple[FloatArray, FloatArray]:
    """Predict all rows of each of `levels` of a text column by a fit that hasn't seen them.

    Returns: natural log of seconds per sample at the row's own site, as far as other rows tell of it, and as a new
    site; shapes (n,), NaN elsewhere.
    """
    known, new = _each(_one_level, list(levels), _Task(table, log_seconds, fitted, column), 2, processes)
    return known, new


def learning_curve(
    table: Table,
    log_seconds: FloatArray,
    fitted: Fit,
    *,
    lineages: Sequence[str] | None = None,
    processes: int = 2,
) -> FloatArray:
    """Natural log of seconds per sample after learning 0, 5, ... (`CURVE_ROWS`) own rows, shape (len(CURVE_ROWS), n).

    By a fit without the lineage. NaN for rows that the last point learned (every point is judged on the same rows) and
    for sources with less than twice as many.
    """
    names = sorted(set(table.text("lineage").tolist())) if lineages is None else list(lineages)
    return _each(_one_curve, names, _Task(table, log_seconds, fitted), len(CURVE_ROWS), processes)


def ask_without_lineages(
    table: Table,
    log_seconds: FloatArray,
    fitted: Fit,
    lineages: Sequence[str],
    question: Question,
    width: int,
    *,
    processes: int = 2,
) -> FloatArray:
    """What forecasters that have not seen a lineage answer about its rows, shape (width, n), NaN for other rows.

    Args:
        table: n measured configurations.
        log_seconds: natural log of measured seconds per sample, shape (n,).
        fitted: the fit of them all.
        lineages: those to leave out, each in turn.
        question: given a forecaster and the m positions of the rows that it has not seen, answers with (width, m).
        width: how many values a row is answered with.
    """
    return _each(_one_question, lineages, _Task(table, log_seconds, fitted, question=question), width, processes)


@dataclass(frozen=True, eq=False)
class _Task:
    """What the workers share: measurements, the fit of all of them, and what is left out by which column."""

    table: Table
    log_seconds: FloatArray
    fitted: Fit
    column: str = "lineage"
    refine: Callable[[Fit], Fit] = lambda without: without
    question: Question | None = None


_tasks: list[_Task] = []  # the one under way, put here before the fork, so that no worker has to be sent it


def _each(
    work: Callable[[str], FloatArray],
    names: Sequence[str],
    task: _Task,
    width: int,
    processes: int,
    progress: Callable[[float], None] = lambda share: None,
) -> FloatArray:
    """Answers of `work` for the rows of every name of the task's column, shape (width, n)."""
    result = np.full((width, len(task.table)), np.nan)
    _tasks.append(task)
    try:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            for done, (name, answer) in enumerate(zip(names, pool.imap(work, names), strict=True), start=1):
                result[:, task.table.text(task.column) == name] = answer
                progress(done / len(names))
    finally:
        _tasks.clear()
    return result


def _without(left_out: BoolArray) -> Forecaster:
    """A forecaster that hasn't seen some rows."""
    task = _tasks[-1]
    table, log_seconds = task.table, task.log_seconds
    without = fit(
        table,
        log_seconds,
        rows=~left_out,
        design=task.fitted.design,
        start=task.fitted,
        iterations=HELD_OUT_ITERATIONS,
        learn_spreads=False,
        most_rows=HELD_OUT_ROWS,
    )
    without = task.refine(without)
    others = np.flatnonzero(~left_out & sampled_rows(table, HELD_OUT_ROWS))
    evidence = evidence_of(without, others.astype(object), table.take(others), log_seconds[others])
    return Forecaster.of(without, evidence)


def _one_lineage(name: str) -> FloatArray:
    """The columns of `HeldOut` for the rows of one lineage."""
    table, log_seconds = _tasks[-1].table, _tasks[-1].log_seconds
    mine = np.asarray(table.text("lineage") == name, dtype=bool)
    own, measured = table.take(mine), log_seconds[mine]
    cold = _without(mine)
    new = as_new_site(own)
    columns = np.full((5, len(own)), np.nan)
    columns[0], columns[1], _ = cold.log_seconds(new)
    columns[4] = columns[0] - cold.evidence.correction(new)
    sources = own.text("site").astype(str)
    generator = np.random.default_rng(WARM_SEED)
    for source in np.unique(sources):
        rows = np.flatnonzero(sources == source)
        if len(rows) >= 2 * WARM_ROWS:
            learned = generator.choice(rows, WARM_ROWS, replace=False)
            rest = np.setdiff1d(rows, learned)
            warm = cold.learn(own.take(learned), measured[learned])
            columns[2, rest], columns[3, rest], _ = warm.log_seconds(own.take(rest))
    return columns


def _one_curve(name: str) -> FloatArray:
    """`learning_curve` for the rows of one lineage."""
    table, log_seconds = _tasks[-1].table, _tasks[-1].log_seconds
    mine = np.asarray(table.text("lineage") == name, dtype=bool)
    own, measured = table.take(mine), log_seconds[mine]
    columns = np.full((len(CURVE_ROWS), len(own)), np.nan)
    sources, counts = np.unique(own.text("site").astype(str), return_counts=True)
    large = sources[counts >= 2 * CURVE_ROWS[-1]]
    if not len(large):
        return columns
    cold = _without(mine)
    generator = np.random.default_rng(WARM_SEED)
    for source in large:
        rows = generator.permutation(np.flatnonzero(own.text("site").astype(str) == source))
        rest = rows[CURVE_ROWS[-1] :]
        for point, count in enumerate(CURVE_ROWS):
            learned = rows[:count]
            warm = cold.learn(own.take(learned), measured[learned]) if count else cold
            asked = own.take(rest)
            columns[point, rest], _, _ = warm.log_seconds(asked if count else as_new_site(asked))
    return columns


def _one_question(name: str) -> FloatArray:
    """`ask_without_lineages` for the rows of one lineage."""
    task = _tasks[-1]
    assert task.question is not None
    mine = np.asarray(task.table.text("lineage") == name, dtype=bool)
    return task.question(_without(mine), np.flatnonzero(mine))


def _one_level(name: str) -> FloatArray:
    """Predictions of the rows of one level at their site and as a new site, shape (2, rows)."""
    table = _tasks[-1].table
    mine = np.asarray(table.text(_tasks[-1].column) == name, dtype=bool)
    forecaster = _without(mine)
    own = table.take(mine)
    at_home, _, _ = forecaster.log_seconds(own)
    anywhere, _, _ = forecaster.log_seconds(as_new_site(own))
    return np.stack([at_home, anywhere])


def as_new_site(table: Table) -> Table:
    """The same configurations at a site that nobody has measured."""
    nowhere = np.full(len(table), "", dtype=object)
    return table.replace(lineage=nowhere, site=nowhere)


def evidence_of(fitted: Fit, ids: TextArray, table: Table, log_seconds: FloatArray) -> Evidence:
    """Evidence made of measurements and what a fit says of them, at their own site and as a new site."""
    predicted, _, _ = predict(fitted, table)
    new_site, _, _ = predict(fitted, as_new_site(table))
    return Evidence.of(ids, table, log_seconds, predicted, new_site)

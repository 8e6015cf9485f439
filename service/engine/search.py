"""Search over layouts: of every way that a run can be laid out, the quickest that fit in memory.

Memory is judged before time, and lighter ways of holding states before heavier ones: recomputing more, or keeping the
optimizer in host memory, only costs time, so that of each layout the least of either that fits is the quickest. What is
left is timed by the engine's own mechanics (`step_time.timed`), all runs in one table.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from service.engine.judge import Judge
from service.engine.layout_space import DEGREES, Row, Space, policies, spaces
from service.engine.memory import USABLE_SHARE, kept_parts, state_parts
from service.engine.operations import work
from service.engine.step_inputs import Inputs, prepare, stage_layers
from service.engine.step_time import log_seconds_per_sample
from service.engine.table import BoolArray, FloatArray, IntArray, Names, Table, filled, joined

# Of a chip's memory, what a layout chosen for somebody else may be predicted to fill: peaks are predicted within a
# quarter or so, and it must not sit on the edge.
HEAD_ROOM = 0.75
# Of a run that nothing holds, layouts whose peaks differ by less than peaks are known are compared by their time.
HARDLY_MORE = 1.15
CHUNK = 16_384  # layouts that are computed at once: what a core's cache holds

# Why a layout that divides was put aside, by the name that answers carry.
NOT_IN_MEMORY = "does_not_fit_in_memory"
NEEDLESS = "holds_states_otherwise_at_no_gain"
SLOWER = "slower_on_the_same_accelerators"

LAYOUT_TEXTS = ("sharding", "recompute", "offload")


@dataclass(frozen=True, eq=False)
class Candidate:
    """One layout of one run."""

    layout: dict[str, float | str]  # engine values, by `DEGREES` and `LAYOUT_TEXTS`
    log_seconds: float  # natural log of seconds per sample, median; NaN where it doesn't fit or there is no choice
    peak_gb: float  # per accelerator, median
    fits: bool


@dataclass(frozen=True, eq=False)
class Found:
    """What a search came to: for each run its quickest layouts, best first, and why the others fell out.

    A run of which nothing fits has the quickest of those that need the least memory, with `fits` false; one that
    nothing divides has none. `considered` is all that is rejected and all candidates that fit.
    """

    candidates: list[list[Candidate]]
    considered: int
    rejected: Counter[str]


@dataclass(frozen=True, eq=False)
class _Layouts:
    """Layouts of some runs, a row for each and for each sharding worth trying, shape (n,)."""

    runs: Table
    run: IntArray  # which run each is of
    numbers: dict[str, FloatArray]  # by `DEGREES`
    texts: dict[str, Names]  # by `LAYOUT_TEXTS`

    def __len__(self) -> int:
        return len(self.run)

    def take(self, rows: IntArray) -> _Layouts:
        numbers = {name: column[rows] for name, column in self.numbers.items()}
        return _Layouts(
            self.runs, self.run[rows], numbers, {name: held.take(rows) for name, held in self.texts.items()}
        )

    def pieces(self) -> Iterator[tuple[slice, Inputs]]:
        """What the layouts must do, in pieces that a core's cache holds, and where each belongs."""
        of_run = work(self.runs)  # of a sample, however its run is laid out
        for begin in range(0, len(self), CHUNK):
            part = slice(begin, begin + CHUNK)
            numbers = {name: column[part] for name, column in self.numbers.items()}
            texts = {name: column.take(part) for name, column in self.texts.items()}
            table = self.runs.take(self.run[part]).replace(**numbers, **texts)
            yield part, prepare(table, of_run.take(self.run[part]))

    def stage_layers(self) -> FloatArray:
        """Layers of the fullest pipeline stage, shape (n,)."""
        layers = np.maximum(filled(self.runs["layers"], 1.0), 1.0)[self.run]
        return stage_layers(layers, self.numbers["pipeline_parallel"])

    def layout(self, row: int) -> dict[str, float | str]:
        numbers = {name: float(column[row]) for name, column in self.numbers.items()}
        return {name: value for name, value in numbers.items() if not math.isnan(value)} | {
            name: column.vocabulary[column.codes[row]] for name, column in self.texts.items()
        }


def search(
    runs: Sequence[Row],
    stated: Collection[str],
    judge: Judge,
    *,
    offloads: Sequence[str] = ("none",),
    most: int = 1,
    head_room: float = HEAD_ROOM,
) -> Found:
    """The quickest layouts of each of some runs.

    Args:
        runs: engine values without a layout: the chips, counts, batches and precisions to choose among. All are
            language models or none is.
        stated: engine names of the layout's fields that are fixed; a fixed recomputation is the same in all runs.
        judge: by what layouts are compared.
        offloads: where optimizer states may live. All but the first are tried only for runs of which nothing fits
            otherwise, for they take whole steps' worth of time.
        most: candidates of each run.
        head_room: the share of the memory, at most `USABLE_SHARE`, that a layout may be predicted to fill if any of its
            run fills no more.
    """
    divided = spaces(runs, stated, len(offloads))
    considered = sum(one.considered for one in divided)
    rejected: Counter[str] = Counter()
    for one in divided:
        rejected.update(one.rejected)
    candidates: list[list[Candidate]] = [[] for _ in runs]
    layouts = _spread(runs, divided, stated)
    if not len(layouts):
        return Found(candidates, considered, rejected)
    levels = policies(runs[0], stated, piped=False, replicated=False).recompute
    layouts, peak_gb, fits, misfits = _held(layouts, judge, levels, offloads, head_room)
    fitting = np.flatnonzero(fits)
    run = layouts.run[fitting]
    is_choice = len(fitting) > len(np.unique(run))
    seconds = _log_seconds(layouts.take(fitting), judge) if is_choice else np.full(len(fitting), np.nan)
    for position in _least(run, seconds, most):
        row = int(fitting[position])
        best = Candidate(layouts.layout(row), float(seconds[position]), float(peak_gb[row]), fits=True)
        candidates[int(run[position])].append(best)
    kept = sum(len(mine) for mine in candidates)
    tight = _frugal(layouts.run, peak_gb, np.flatnonzero(~np.isin(layouts.run, run)))
    seconds = _log_seconds(layouts.take(tight), judge) if len(tight) else np.zeros(0)
    for row in tight[_least(layouts.run[tight], seconds, 1)]:
        frugal = Candidate(layouts.layout(row), np.nan, float(peak_gb[row]), fits=False)
        candidates[int(layouts.run[row])].append(frugal)
    rejected[NOT_IN_MEMORY] = misfits
    rejected[SLOWER] = len(fitting) - kept
    rejected[NEEDLESS] = considered - kept - sum(rejected.values())
    return Found(candidates, considered, +rejected)


def _frugal(run: IntArray, peak_gb: FloatArray, rows: IntArray) -> IntArray:
    """Of these rows, those that need hardly more memory than the one of their run that needs the least."""
    best = rows[_least(run[rows], peak_gb[rows], 1)]
    limit = np.zeros(int(run.max(initial=-1)) + 1)
    limit[run[best]] = HARDLY_MORE * peak_gb[best]
    return rows[peak_gb[rows] <= limit[run[rows]]]


def _least(run: IntArray, measure: FloatArray, most: int) -> IntArray:
    """Positions of the `most` rows of each run that measure least, run by run, the least first."""
    order = np.lexsort((measure, run))
    rank = np.arange(len(order)) - np.searchsorted(run[order], run[order])
    return order[rank < most]


def _spread(runs: Sequence[Row], divided: Sequence[Space], stated: Collection[str]) -> _Layouts:
    """Every layout with every sharding worth trying."""
    run = np.repeat(np.arange(len(runs)), [len(one) for one in divided])
    numbers = {name: np.concatenate([one.columns[name] for one in divided]) for name in DEGREES}
    replicated = np.concatenate([one.replicated for one in divided])
    piped = numbers["pipeline_parallel"] > 1
    rows: list[IntArray] = []
    shardings: list[Names] = []
    for is_piped, is_replicated in product((False, True), repeat=2):
        alike = np.flatnonzero((piped == is_piped) & (replicated == is_replicated))
        tried = policies(runs[0], stated, piped=is_piped, replicated=is_replicated).shardings
        rows.append(np.tile(alike, len(tried)))
        shardings.append(Names(tried, np.repeat(np.arange(len(tried)), len(alike))))
    index = np.concatenate(rows)
    table = Table.from_rows(runs)
    unset = _all("", len(index))
    return _Layouts(
        table,
        run[index],
        {name: column[index] for name, column in numbers.items()},
        {
            "sharding": table.texts["sharding"].take(run[index]) if "sharding" in stated else joined(shardings),
            "recompute": unset,
            "offload": unset,
        },
    )


def _held(
    layouts: _Layouts, judge: Judge, levels: Sequence[str], offloads: Sequence[str], head_room: float
) -> tuple[_Layouts, FloatArray, BoolArray, int]:
    """Each layout with the lightest way of holding its states that fits, the most frugal where none does.

    Returns: the layouts, their peaks in GB, whether they fit, shape (n,), and how many ways did not fit.
    """
    count, runs = len(layouts), len(layouts.runs)
    recompute, offload = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    peak_gb, fits, misfits = np.full(count, np.inf), np.zeros(count, dtype=bool), 0
    share = np.full(count, np.nan)
    memory = layouts.runs["memory_gb"]
    room = np.where(memory > 0, memory, np.inf)
    for position, place in enumerate(offloads):
        lacking = np.ones(runs, dtype=bool)
        lacking[layouts.run[fits]] = False
        rows = np.flatnonzero(lacking[layouts.run])
        if not len(rows):
            break
        run = layouts.run[rows]
        peaks = _peaks(layouts.take(rows), judge, levels, place)
        roomy = np.zeros(runs, dtype=bool)
        roomy[run[(peaks <= head_room * room[run]).any(axis=0)]] = True
        # A run that has none but tight layouts takes those.
        limit = np.where(roomy, head_room, USABLE_SHARE)[run] * room[run]
        enough = peaks <= limit
        fits[rows] = enough.any(axis=0)
        level = np.where(fits[rows], enough.argmax(axis=0), peaks.argmin(axis=0))
        misfits += int(np.where(fits[rows], level, len(levels)).sum())
        recompute[rows], offload[rows] = level, position
        peak_gb[rows] = np.take_along_axis(peaks, level[None, :], axis=0)[0]
        if len(levels) > 1:
            whole = np.flatnonzero(fits[rows] & (level == len(levels) - 1))
            stage = layouts.take(rows[whole]).stage_layers()
            kept, peak = _kept_layers(peaks[0, whole], peaks[-1, whole], limit[whole], stage)
            share[rows[whole]] = np.where(kept > 0, 1.0 - kept / stage, np.nan)
            peak_gb[rows[whole]] = peak
    chosen = {"recompute": Names(tuple(levels), recompute), "offload": Names(tuple(offloads), offload)}
    numbers = layouts.numbers | ({"recompute_share": share} if len(levels) > 1 else {})
    return replace(layouts, numbers=numbers, texts=layouts.texts | chosen), peak_gb, fits, misfits


def _kept_layers(
    nothing: FloatArray, everything: FloatArray, limit: FloatArray, layers: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """How many layers of a stage need not be recomputed for the rest to fit, and the peak in GB then; shape (n,) each.

    Args:
        nothing: peak where no layer is recomputed, GB.
        everything: peak where all are.
        limit: what may be filled.
        layers: of the fullest stage.
    """
    spared = np.maximum(nothing - everything, 1e-9)
    kept = np.floor(np.clip((limit - everything) / spared, 0.0, 1.0) * layers)
    return kept, everything + spared * kept / layers


def _peaks(layouts: _Layouts, judge: Judge, levels: Sequence[str], offload: str) -> FloatArray:
    """Median peak GB per accelerator at each level of recomputation, shape (len(levels), n)."""
    result = np.empty((len(levels), len(layouts)))
    for part, inputs in layouts.pieces():
        # What memory takes of the inputs (shapes, degrees, parameters of a rank) is the same however states are held.
        table = inputs.table.replace(offload=_all(offload, len(inputs.table)))
        states = sum(state_parts(replace(inputs, table=table), judge.memory_unknowns).values())
        for position, level in enumerate(levels):
            held = replace(inputs, table=table.replace(recompute=_all(level, len(table))))
            result[position, part] = states + sum(kept_parts(held, judge.memory_unknowns).values())
    return result


def _log_seconds(layouts: _Layouts, judge: Judge) -> FloatArray:
    """Median natural log of seconds per sample, shape (n,)."""
    # Coefficients are of the run (chip, model, software, precision), of the sharding, and of whether layers are split.
    sharding, tensor = layouts.texts["sharding"], layouts.numbers["tensor_parallel"]
    kinds = (layouts.run * len(sharding.vocabulary) + sharding.codes) * 2 + (tensor > 1)
    _, first, kind = np.unique(kinds, return_index=True, return_inverse=True)
    examples = layouts.runs.take(layouts.run[first]).replace(
        sharding=sharding.take(first), tensor_parallel=tensor[first]
    )
    coefficients = judge.coefficients(examples)
    result = np.empty(len(layouts))
    for part, inputs in layouts.pieces():
        result[part] = log_seconds_per_sample(inputs, coefficients[kind[part]])
    return result


def _all(value: str, count: int) -> Names:
    return Names((value,), np.zeros(count, dtype=np.int64))

"""Can a measured speed be, and is it what the forecast expects? Physics first, then the forecast's own interval.

What is faster than the chips' peak by more than counting explains is impossible. What lies far outside the forecast is
doubtful, not wrong: the forecast may be what errs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from service.engine.evidence import NAME_PENALTIES, graded, named
from service.engine.forecast import Forecaster
from service.engine.operations import work
from service.engine.roofline import allowance, fastest_seconds_per_sample, usually_fastest_seconds_per_sample
from service.engine.step_inputs import Inputs, prepare
from service.engine.step_time import log_seconds_per_sample
from service.engine.table import FloatArray, Table

# Winograd and FFT convolutions do fewer multiplications than are counted (Lavin and Gray 2016, arXiv 1509.09308: 2.25
# times for 3x3 filters); boost clocks and rounded data sheets explain the rest, a fifth at most.
CONVOLUTIONS = ("cnn", "detection", "segmentation")
IMPOSSIBLE_CONVOLUTIONS = 2.5
IMPOSSIBLE = 1.2
# The tokens declared of packed or unpadded samples may be padding by half.
IMPOSSIBLE_WHEN_PACKED = 2.4

# Judgement. Three standard deviations of the forecast's own interval; and a factor of two in any case, for what a
# configuration leaves unsaid (loaders, hosts, clocks) easily doubles a time without being an error.
DOUBTFUL_DEVIATIONS = 3.0
LEAST_DOUBTFUL_LOG = math.log(2.0)
# Judgement: thrice as far off as any of the shipped measurements (345 times slower; all but two within 94), which is a
# wrong unit or a slip rather than a slow run, however many report it.
IMPLAUSIBLE_LOG = math.log(1000.0)
MOST_REMEMBERED = 100_000  # corrections, some 30 MB


@dataclass(frozen=True, eq=False)
class Plausibility:
    """How n measured speeds compare with physics and forecast; arrays of shape (n,), NaN where it cannot be told."""

    times_peak: FloatArray  # counted FLOP/s over the chips' peak
    impossible_beyond: FloatArray  # more times the peak than this cannot be
    flops_per_sample: FloatArray  # counted, of training one sample
    deviation_log: FloatArray  # ln(predicted / measured time): above 0, it ran faster than predicted
    doubtful_beyond_log: FloatArray  # a larger deviation, either way, lies outside the forecast


class Judge:
    """Compares measured speeds with what chips can do and with the forecast of a new site.

    The median is computed for every row, the interval only where it could matter. What the evidence corrects is
    remembered for rows that it cannot tell apart, so that one judge serves a long import.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        """Takes the shared forecaster, without any site's own rows."""
        self.forecaster = forecaster
        # A kind of run that held-out sources taught nothing about is not widened.
        factors = (1.0, *forecaster.widening.values())
        self.widening = (min(factors), max(factors))
        self.corrections: dict[tuple[object, ...], float] = {}

    def judge(self, table: Table, log_seconds: FloatArray) -> Plausibility:
        """How plausible measured times are.

        Args:
            table: the measured configurations.
            log_seconds: natural log of measured seconds per sample, shape (n,); NaN where it is unknown.
        """
        inputs = prepare(table)
        fastest = fastest_seconds_per_sample(inputs)
        at_peak = np.where(inputs.work.known, fastest * allowance(table), np.nan)
        usual, _ = usually_fastest_seconds_per_sample(inputs)
        median = np.maximum(self._median(inputs), np.log(usual))
        deviation = median - log_seconds
        return Plausibility(
            at_peak / np.exp(log_seconds),
            _impossible_beyond(table),
            at_peak * table["peak_tflops"] * 1e12 * table["count"],
            deviation,
            self._doubtful_beyond(table, np.abs(deviation)),
        )

    def _doubtful_beyond(self, table: Table, distance: FloatArray) -> FloatArray:
        """What is doubtful, as near as it must be known to tell which rows are: the widest interval that the forecast
        could have for rows beyond even that, the narrowest for those within, its own for those between."""
        beyond = np.full(len(table), LEAST_DOUBTFUL_LOG)
        far = np.flatnonzero(distance > LEAST_DOUBTFUL_LOG)
        if not len(far):
            return beyond
        asked = table.take(far)
        # The variance alone: what near measurements correct is a matter of the median, which is known.
        spread = DOUBTFUL_DEVIATIONS * np.sqrt(self.forecaster.mechanics(asked).variance + self.forecaster.sigma**2)
        narrowest, widest = (np.maximum(factor * spread, LEAST_DOUBTFUL_LOG) for factor in self.widening)
        beyond[far] = np.where(distance[far] > widest, widest, narrowest)
        between = np.flatnonzero((distance[far] > narrowest) & (distance[far] <= widest))
        if len(between):
            rows = asked.take(between)
            grades = graded(rows, work(rows).known, [self.forecaster.evidence])
            own = spread[between] * self.forecaster.widened(rows, grades)
            beyond[far[between]] = np.maximum(own, LEAST_DOUBTFUL_LOG)
        return beyond

    def _median(self, inputs: Inputs) -> FloatArray:
        """The forecast's median alone, natural log of seconds per sample: what `Forecaster.log_seconds` gives first."""
        coefficients = self.forecaster.posterior.coefficients(inputs.table)
        return log_seconds_per_sample(inputs, coefficients) + self._correction(inputs)

    def _correction(self, inputs: Inputs) -> FloatArray:
        """`Evidence.correction`, once for rows that it cannot tell apart: sweeps over batches and counts are one."""
        table = inputs.table
        names = [table.text("family"), *(named(table, name).text for name, _ in NAME_PENALTIES)]
        flops = inputs.work.gemm_flops + inputs.work.attention_flops
        numbers = [np.nan_to_num(column) for column in (flops, table["sequence_length"], table["peak_tflops"])]
        keys = list(zip(*(column.tolist() for column in (*names, *numbers)), strict=True))
        unknown = {key: position for position, key in enumerate(keys) if key not in self.corrections}
        if unknown:
            if len(self.corrections) > MOST_REMEMBERED:
                self.corrections.clear()
                unknown = {key: position for position, key in enumerate(keys)}
            rows = table.take(np.fromiter(unknown.values(), dtype=np.int64))
            found = self.forecaster.evidence.correction(rows)
            self.corrections.update(zip(unknown, found.tolist(), strict=True))
        return np.array([self.corrections[key] for key in keys])


def _impossible_beyond(table: Table) -> FloatArray:
    packed = table.among("packing", ("packed", "unpadded"))
    others = np.where(packed, IMPOSSIBLE_WHEN_PACKED, IMPOSSIBLE)
    convolutional = table.among("family", CONVOLUTIONS)
    return np.asarray(np.where(convolutional, IMPOSSIBLE_CONVOLUTIONS, others))

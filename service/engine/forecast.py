"""The forecaster: a table of configurations in, distributions out. Immutable; a new calibration is a new forecaster."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from service.engine.beliefs import Posterior
from service.engine.calibration import Fit, Mechanics, predict_with, sampled_rows, sensitivities
from service.engine.coefficients import COEFFICIENTS
from service.engine.covariance import Covariance
from service.engine.distribution import Z90, Distribution
from service.engine.effects import SITE_TERMS, TERMS, Design, groupings, jacobian, row_coefficients
from service.engine.evidence import GRADES, NAME_PENALTIES, NEIGHBOURS, Evidence, Neighbour, graded
from service.engine.judge import Judge
from service.engine.memory import MEMORY_COEFFICIENTS, USABLE_SHARE, log_spread, memory_parts
from service.engine.memory_fit import OwnMemory, learn_peaks
from service.engine.observed import model_flops_per_sample
from service.engine.operations import TRANSFORMER_FAMILIES, work
from service.engine.own_rows import MOST_OWN_ROWS, OWN_SITE, OwnRows, weigh
from service.engine.roofline import allowance, fastest_seconds_per_sample, usually_fastest_seconds_per_sample
from service.engine.step_inputs import Inputs, prepare
from service.engine.table import BoolArray, FloatArray, Names, Table, TextArray

# Terms whose levels are many and independent given the rest: their covariance with others is dropped when stored.
LEAF_GROUPINGS = ("model", "unknown_model")
MEMORY_SIGMA = 1.5  # widening of `log_spread` before any memory peaks were fitted
LINEARISATIONS = 3  # times the mechanics are linearised anew around what own rows taught
PREDICTED_AT_ONCE = 8192  # rows whose columns, some hundreds, stay near the processor
COMPRESSION = 6  # of nine: at most effort a file is a hundredth smaller and takes four times as long
MOST_MOVED = 1.0  # standard deviations that own rows may move an unknown by: judgement, 0.6 and 2 score alike or worse


@dataclass(frozen=True, eq=False)
class Forecast:
    """Predictions for n configurations; arrays of shape (n,). Rates are of the whole job."""

    samples_per_second: Distribution
    step_seconds: Distribution
    memory_gb: Distribution
    breakdown: dict[str, FloatArray]  # seconds of the median step by part; their sum is step_seconds.p50
    memory_parts: dict[str, FloatArray]  # GB by part; their sum is memory_gb.p50
    fits: BoolArray
    fits_probability: FloatArray
    mfu: Distribution
    flops_per_sample: FloatArray
    grade: TextArray

    def take(self, index: slice) -> Forecast:
        """The rows at `index`."""

        def some(column: Any) -> Any:
            if isinstance(column, dict):
                return {name: values[index] for name, values in column.items()}
            return column.take(index) if isinstance(column, Distribution) else column[index]

        return Forecast(*(some(getattr(self, one.name)) for one in fields(Forecast)))


def concatenate(forecasts: Sequence[Forecast]) -> Forecast:
    """One forecast of the configurations of all, in order."""
    if len(forecasts) == 1:
        return forecasts[0]

    def columns(parts: Sequence[Any]) -> Any:
        if isinstance(parts[0], dict):
            return {name: columns([part[name] for part in parts]) for name in parts[0]}
        if isinstance(parts[0], Distribution):
            return Distribution(
                *(columns(sides) for sides in zip(*((d.p10, d.p50, d.p90) for d in parts), strict=True))
            )
        return np.concatenate(parts)

    return Forecast(*(columns([getattr(one, field.name) for one in forecasts]) for field in fields(Forecast)))


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A calibration made ready to predict."""

    calibration_version: str
    fingerprint: str
    design: Design
    unknowns: FloatArray
    covariance: Covariance  # of the fit, rows and columns of leaves are diagonal only
    spreads: FloatArray
    sigma: float
    widening: dict[str, float]  # conformal factor by family class and grade
    memory_unknowns: FloatArray
    memory_sigma: float
    evidence: Evidence
    report: dict[str, Any]
    own: OwnRows | None = None
    own_memory: OwnMemory | None = None
    everyones: Judge | None = None  # of a forecaster that learned a site's rows: that of sites that nobody knows

    @cached_property
    def posterior(self) -> Posterior:
        """What the fit says of its unknowns."""
        return Posterior(self.design, self.unknowns, self.covariance, self.spreads)

    @classmethod
    def of(
        cls,
        fitted: Fit,
        evidence: Evidence,
        *,
        fingerprint: str = "",
        widening: dict[str, float] | None = None,
        memory_unknowns: FloatArray | None = None,
        memory_sigma: float = MEMORY_SIGMA,
        report: dict[str, Any] | None = None,
    ) -> Forecaster:
        """A forecaster made of a fit and the evidence behind it, under the version that its content gives it.

        Left out: intervals as the fit has them, memory by its coefficients' priors, no report.
        """
        priors = np.array([coefficient.prior_mean for coefficient in MEMORY_COEFFICIENTS])
        return cls(
            "",
            fingerprint,
            fitted.design,
            fitted.unknowns,
            Covariance(fitted.covariance),
            fitted.spreads,
            fitted.sigma,
            widening or {},
            priors if memory_unknowns is None else memory_unknowns,
            memory_sigma,
            evidence,
            report or {},
        )

    @classmethod
    def load(cls, source: Path | bytes) -> Forecaster:
        """Read a stored calibration (gzipped JSON). Raises ValueError if it isn't one of this engine's."""
        raw = source.read_bytes() if isinstance(source, Path) else source
        document = json.loads(gzip.decompress(raw))
        names = [[term.coefficient, term.grouping] for term in TERMS]
        if document.get("terms") != names or document.get("coefficients") != [c.name for c in COEFFICIENTS]:
            raise ValueError("the calibration was fitted by another version of the engine; run `traincast calibrate`")
        if len(document["memory_unknowns"]) != len(MEMORY_COEFFICIENTS):
            raise ValueError("the calibration's memory was fitted by another engine; run `traincast calibrate`")
        levels = tuple(dict(pairs) for pairs in document["levels"])
        size = len(document["unknowns"])
        core = np.array(document["core"], dtype=np.int64)
        deviation = np.array(document["deviations"])
        covariance = np.diag(deviation**2)
        # In place: a few copies of it would be most of the memory that a worker ever takes.
        block = np.zeros((len(core), len(core)))
        block[~np.tri(len(core), dtype=bool)] = _decode(document["correlation"], np.float16)
        block += block.T
        np.fill_diagonal(block, 1.0)
        block *= deviation[core]
        block *= deviation[core][:, None]
        covariance[np.ix_(core, core)] = block
        stored = document["evidence"]
        count = len(stored["ids"])

        def texts(column: dict[str, Any]) -> Names:
            return Names(tuple(column["vocabulary"]), _decode(column["codes"], np.int32).astype(np.int64))

        evidence = Evidence(
            np.array(stored["ids"], dtype=object),
            _decode(stored["coordinates"], np.float32).astype(np.float64).reshape(count, -1),
            {name: texts(column) for name, column in stored["names"].items()},
            texts(stored["families"]),
            texts(stored["lineages"]),
            _decode(stored["log_measured"], np.float32).astype(np.float64),
            _decode(stored["log_predicted"], np.float32).astype(np.float64),
            _decode(stored["log_beyond"], np.float32).astype(np.float64),
        )
        return cls(
            document["version"],
            document["fingerprint"],
            Design(levels, size),
            np.array(document["unknowns"]),
            Covariance(covariance),
            np.array(document["spreads"]),
            document["sigma"],
            document["widening"],
            np.array(document["memory_unknowns"]),
            document["memory_sigma"],
            evidence,
            document["report"],
        )

    def identified(self) -> Forecaster:
        """The same calibration under the version that its content gives it: the digest of all it holds."""
        digest = hashlib.sha256(replace(self, calibration_version="")._document()).hexdigest()
        return replace(self, calibration_version=digest[:12])

    def dump(self) -> bytes:
        """The calibration as gzipped JSON; the same forecaster always gives the same bytes."""
        return gzip.compress(self._document(), COMPRESSION, mtime=0)

    def _document(self) -> bytes:
        leaves = [
            position
            for term, levels in zip(TERMS, self.design.levels, strict=True)
            if term.grouping in LEAF_GROUPINGS
            for position in levels.values()
        ]
        core = np.setdiff1d(np.arange(self.design.size), leaves)
        deviation = np.sqrt(np.diag(self.covariance.fitted))
        correlation = self.covariance.fitted[np.ix_(core, core)] / np.outer(deviation[core], deviation[core])

        def texts(column: Names) -> dict[str, Any]:
            vocabulary, codes = np.unique(column.text.astype(str), return_inverse=True)
            return {"vocabulary": vocabulary.tolist(), "codes": _encode(codes, np.int32)}

        document = {
            "version": self.calibration_version,
            "fingerprint": self.fingerprint,
            "coefficients": [c.name for c in COEFFICIENTS],
            "terms": [[term.coefficient, term.grouping] for term in TERMS],
            "levels": [list(levels.items()) for levels in self.design.levels],
            "unknowns": np.round(self.unknowns, 6).tolist(),
            "deviations": np.round(deviation, 6).tolist(),
            "core": core.tolist(),
            "correlation": _encode(correlation[np.triu_indices(len(core), 1)], np.float16),
            "spreads": np.round(self.spreads, 6).tolist(),
            "sigma": round(self.sigma, 6),
            "widening": self.widening,
            "memory_unknowns": np.round(self.memory_unknowns, 6).tolist(),
            "memory_sigma": round(self.memory_sigma, 6),
            "evidence": {
                "ids": self.evidence.ids.tolist(),
                "coordinates": _encode(self.evidence.coordinates.ravel(), np.float32),
                "names": {name: texts(self.evidence.names[name]) for name, _ in NAME_PENALTIES},
                "families": texts(self.evidence.families),
                "lineages": texts(self.evidence.lineages),
                "log_measured": _encode(self.evidence.log_measured, np.float32),
                "log_predicted": _encode(self.evidence.log_predicted, np.float32),
                "log_beyond": _encode(self.evidence.log_beyond, np.float32),
            },
            "report": self.report,
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def predict(self, table: Table, *, grades: TextArray | None = None) -> Forecast:
        """Predict every configuration of a table. Rows without a known site are predicted as a new site would be."""
        if grades is None:
            grades = graded(table, work(table).known, [self.evidence])
        if len(table) <= PREDICTED_AT_ONCE:
            return self._predict(table, grades)
        blocks = [slice(begin, begin + PREDICTED_AT_ONCE) for begin in range(0, len(table), PREDICTED_AT_ONCE)]
        return concatenate([self._predict(table.take(rows), grades[rows]) for rows in blocks])

    def _predict(self, table: Table, grades: TextArray) -> Forecast:
        inputs = prepare(table)
        mechanics = self.mechanics(table, inputs)
        median, variance = self.informed(table, mechanics)
        spread = np.sqrt(variance) * self.widened(table, grades)
        usual, floor = self.fastest(inputs)
        median = np.maximum(median, np.log(usual))
        step = np.exp(median) * inputs.columns["global_batch"]
        # What a site's own rows add beyond the mechanics scales every part alike, so that the parts still sum up.
        scale = step / sum(mechanics.parts.values())
        parts = {name: seconds * scale for name, seconds in mechanics.parts.items()}
        up = np.exp(Z90 * spread)
        quickest = np.minimum(floor * inputs.columns["global_batch"], step * (1.0 - 1e-9))
        step_seconds = Distribution(np.maximum(step / up, quickest), step, step * up)
        rate = Distribution(1.0 / step_seconds.p90, 1.0 / step_seconds.p50, 1.0 / step_seconds.p10).scaled(
            inputs.columns["global_batch"]
        )
        flops = model_flops_per_sample(table) * inputs.columns["trained_flops_share"]
        utilisation = rate.scaled(flops / (table["peak_tflops"] * 1e12 * table["count"]))
        # The convention counts attention that a causal mask spares; no chip is used more than wholly.
        limit = allowance(table)
        mfu = Distribution(*(np.minimum(part, limit) for part in (utilisation.p10, utilisation.p50, utilisation.p90)))
        memory = memory_parts(inputs, self.memory_unknowns)
        memory_spread = self.memory_sigma * log_spread(memory)
        if self.own_memory is not None:
            memory = {name: gb * np.exp(self.own_memory.log_shift) for name, gb in memory.items()}
            memory_spread = memory_spread * self.own_memory.narrowing
        peak = np.asarray(sum(memory.values()), dtype=np.float64)
        room = np.where(table["memory_gb"] > 0, table["memory_gb"], np.inf) * USABLE_SHARE
        probability = ndtr((np.log(room) - np.log(peak)) / memory_spread)
        memory_up = np.exp(Z90 * memory_spread)
        return Forecast(
            rate,
            step_seconds,
            Distribution(peak / memory_up, peak, peak * memory_up),
            parts,
            memory,
            np.asarray(peak <= room),
            np.asarray(probability, dtype=np.float64),
            mfu,
            flops,
            grades,
        )

    def log_seconds(self, table: Table) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Median natural log of seconds per sample, its variance, and the rows' coefficients."""
        mechanics = self.mechanics(table)
        return *self.informed(table, mechanics), mechanics.coefficients

    def mechanics(self, table: Table, inputs: Inputs | None = None) -> Mechanics:
        """What the mechanics alone say, without what evidence and own rows add; `inputs`: of the same table."""
        inputs = inputs or prepare(table)
        return predict_with(replace(inputs, table=self.as_own(table)), self.posterior)

    def informed(self, table: Table, mechanics: Mechanics) -> tuple[FloatArray, FloatArray]:
        """Median natural log of seconds per sample and its variance, with what evidence and own rows add."""
        median = mechanics.median + self.evidence.correction(table)
        if self.own is None:
            return median, mechanics.variance + self.sigma**2
        shift, variance = self.own.shift_and_variance(table, *mechanics.gradient(), mechanics.variance)
        return median + shift, variance

    def fastest(self, inputs: Inputs) -> tuple[FloatArray, FloatArray]:
        """Seconds per sample that no median, and that no interval, goes below, shape (n,) each."""
        if self.own is None:
            return usually_fastest_seconds_per_sample(inputs)
        # A site that has measured better than anybody is taken at its word.
        fastest = fastest_seconds_per_sample(inputs)
        return fastest, fastest

    @cached_property
    def judge(self) -> Judge:
        """By what this forecaster compares layouts: its medians, at the site whose rows it learned."""
        site = "" if self.own is None else OWN_SITE
        return Judge(self.posterior, self.memory_unknowns, site)

    @property
    def layout_judge(self) -> Judge:
        """By what the layouts are chosen that words leave open: whatever a site measures, they mean the same run."""
        return self.everyones or self.judge

    def nearest(self, table: Table, k: int = NEIGHBOURS) -> list[list[Neighbour]]:
        """The measurements nearest to each configuration, nearest first."""
        return self.evidence.nearest(table, k)

    def learn(self, table: Table, log_seconds: FloatArray, peak_memory_gb: FloatArray | None = None) -> Forecaster:
        """A forecaster for the site that measured these rows: effects updated, what they leave carried to similar runs.

        Args:
            table: the site's own measured configurations.
            log_seconds: natural log of measured seconds per sample, shape (n,).
            peak_memory_gb: measured peaks per accelerator, shape (n,), NaN where not measured.
        """
        if not len(table):
            return self
        memory = None
        if peak_memory_gb is not None:
            memory = learn_peaks(table, peak_memory_gb, self.memory_unknowns, self.memory_sigma)
        mine = np.full(len(table), OWN_SITE, dtype=object)
        whole = table.replace(lineage=mine, site=mine)
        kept = sampled_rows(whole, MOST_OWN_ROWS)
        own, target = whole.take(kept), log_seconds[kept]
        extended = self._with_levels(own)
        inputs = prepare(own)
        positions, multipliers, targets = extended.design.columns(own)
        near = extended.evidence.correction(own)
        unknowns = extended.unknowns
        for _ in range(LINEARISATIONS):
            coefficients = row_coefficients(positions, multipliers, targets, unknowns)
            predicted, derivative = sensitivities(inputs, coefficients)
            matrix = jacobian(positions, multipliers, targets, derivative, extended.design.size)
            influence = extended.covariance.of_sums(matrix).T
            # Residuals of the mechanics as they were before, linearised where they are now.
            residual = target - near - predicted + matrix @ (unknowns - extended.unknowns)
            rows, move = weigh(own, residual, influence, matrix @ influence)
            most = MOST_MOVED * extended.covariance.deviations()
            unknowns = extended.unknowns + np.clip(move, -most, most)
        return replace(extended, unknowns=unknowns, own=rows, own_memory=memory, everyones=self.layout_judge)

    def _with_levels(self, table: Table) -> Forecaster:
        """Room for levels that the fit hasn't seen (the site itself, new models), at their prior."""
        names = {name: sorted({*column.text.tolist()} - {""}) for name, column in groupings(table).items()}
        wanted = [names[term.grouping] if term.least_rows == 1 or term.grouping in SITE_TERMS else [] for term in TERMS]
        design, extra = self.design.with_room(wanted, self.spreads)
        return replace(
            self,
            design=design,
            unknowns=np.concatenate([self.unknowns, np.zeros(len(extra))]),
            covariance=self.covariance.with_further(extra),
        )

    def as_own(self, table: Table) -> Table:
        """The configurations at the site whose own rows were learned; as they are if none were."""
        if self.own is None:
            return table
        mine = np.full(len(table), OWN_SITE, dtype=object)
        return table.replace(lineage=mine, site=mine)

    def widened(self, table: Table, grades: TextArray) -> FloatArray:
        """What held-out predictions have shown the interval of such rows to need, as a factor; shape (n,)."""
        language = table.among("family", TRANSFORMER_FAMILIES)
        ours, others = ("own", "own") if self.own is not None else ("transformer", "other")
        factors = np.ones(len(table))
        for name in GRADES:
            of_name = np.where(
                language, self.widening.get(f"{ours}/{name}", 1.0), self.widening.get(f"{others}/{name}", 1.0)
            )
            factors = np.where(grades == name, of_name, factors)
        return factors


def _encode(values: Any, kind: type) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _decode(text: str, kind: type) -> Any:
    return np.frombuffer(base64.b64decode(text), dtype=kind)

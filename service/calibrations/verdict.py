"""Is a new calibration better than the one in use? By the errors of both on sources that neither had seen.

Each calibration carries its held-out scores: every source predicted by a fit without the source's lineage. Sources that
both have scores of, with enough rows, are compared; what a team submitted since is in the new one's fit, but no source
that only one of them knows has a say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from service.engine.accuracy import LEAST_ROWS

ERROR_TOLERANCE = 0.02
"""How much larger, relatively, the new error may be: a refit on as good data moves it by about as much. Judgement."""
COVERAGE_TOLERANCE = 0.05
"""How much farther from 80 % the coverage of the intervals may be. Judgement."""
NOMINAL_COVERAGE = 0.8

RULE = (
    "A new calibration is put in use unless its error on held-out sources (mean over sources of the median absolute "
    f"percentage error) is more than {ERROR_TOLERANCE:.0%} larger than that of the one in use, or the coverage of its "
    f"80 % intervals is more than {COVERAGE_TOLERANCE:.0%} farther from 80 %."
)


@dataclass(frozen=True)
class HeldOutScore:
    """Means over the compared sources; fractions."""

    sources: int
    median_ape: float
    coverage_80: float


@dataclass(frozen=True)
class Verdict:
    """Whether a calibration may be put in use, why, and the two scores behind that (None: nothing to compare)."""

    better: bool
    reason: str
    before: HeldOutScore | None
    after: HeldOutScore | None

    def comparison(self) -> dict[str, Any]:
        """The two scores, ready for JSON."""
        return {
            "rule": RULE,
            "before": asdict(self.before) if self.before else None,
            "after": asdict(self.after) if self.after else None,
        }


def judge(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Verdict:
    """Compares the accuracy reports of the calibration in use (None: there is none) and of a new one."""
    held_before, held_after = _scored(before or {}), _scored(after)
    common = sorted(held_before.keys() & held_after.keys())
    if not common:
        return Verdict(True, "There is no calibration in use that was scored on the same sources.", None, None)
    old, new = _score([held_before[name] for name in common]), _score([held_after[name] for name in common])
    told = f"held-out error {old.median_ape:.1%} before, {new.median_ape:.1%} after, over {len(common)} sources"
    if new.median_ape > old.median_ape * (1.0 + ERROR_TOLERANCE):
        return Verdict(False, f"Not put in use: {told}.", old, new)
    missed = [abs(score.coverage_80 - NOMINAL_COVERAGE) for score in (old, new)]
    if missed[1] > missed[0] + COVERAGE_TOLERANCE:
        coverage = f"coverage of its intervals {old.coverage_80:.0%} before, {new.coverage_80:.0%} after"
        return Verdict(False, f"Not put in use: {coverage}.", old, new)
    return Verdict(True, f"Put in use: {told}.", old, new)


def _scored(report: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    found: Mapping[str, Mapping[str, Any]] = report.get("by_source", {})
    return {
        name: score
        for name, score in found.items()
        if (score.get("n") or 0) >= LEAST_ROWS
        and score.get("median_ape") is not None
        and score.get("coverage_80") is not None
    }


def _score(scores: list[Mapping[str, float]]) -> HeldOutScore:
    return HeldOutScore(
        len(scores),
        round(float(np.mean([score["median_ape"] for score in scores])), 4),
        round(float(np.mean([score["coverage_80"] for score in scores])), 4),
    )

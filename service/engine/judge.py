"""By what layouts are compared before any of them is forecast: medians of seconds and of memory, nothing else.

A forecast carries variances, evidence and conformal widening, none of which tells one layout of a run from another;
the coefficients do, and are the same for all layouts of a run that shard their states alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.engine.beliefs import FIXED, Posterior
from service.engine.covariance import Covariance
from service.engine.effects import TERMS, Design
from service.engine.memory import MEMORY_COEFFICIENTS
from service.engine.table import FloatArray, Table


@dataclass(frozen=True, eq=False)
class Judge:
    """Medians of what a calibration says, at one site."""

    posterior: Posterior
    memory_unknowns: FloatArray  # (len(MEMORY_COEFFICIENTS),)
    site: str = ""  # whose effects apply

    def coefficients(self, table: Table) -> FloatArray:
        """Coefficients of every row for `step_time.timed`, shape (n, len(COEFFICIENTS))."""
        site = np.full(len(table), self.site, dtype=object)
        return self.posterior.coefficients(table.replace(lineage=site, site=site))


def prior_judge() -> Judge:
    """What is believed before any measurement: for whoever has no calibration."""
    design, spreads = Design(tuple({} for _ in TERMS), FIXED), np.array([term.spread for term in TERMS])
    covariance = Covariance(np.diag(design.prior_variance(spreads)))
    memory = np.array([coefficient.prior_mean for coefficient in MEMORY_COEFFICIENTS])
    return Judge(Posterior(design, design.prior_mean(), covariance, spreads), memory)

"""How much of its data sheet's peak a chip's best measured matrix product reaches."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import median

from service.catalog.catalog import Catalog
from service.catalog.records import Accelerator, MatmulFigure
from service.engine.machine import chip_group

# What stands for a precision that nobody measured: units of the same kind.
_MEASURED_AS = {"bf16": ("bf16",), "fp16": ("bf16",), "fp8": ("fp8", "bf16"), "fp4": ("fp8", "bf16")}
_ONE_DIE = 0.75  # figures whose stated peak is less of the catalog's are of one die of two


@lru_cache(maxsize=4096)
def matmul_share(catalog: Catalog, slug: str, precision: str) -> float:
    """Best measured matrix product over the data sheet's peak, 0 to 1; NaN where nothing like it was measured.

    Of the chip itself, else the median of the chips of its microarchitecture; by current figures of
    `achievable_matmul.csv`, else by those that their source has since replaced.
    """
    group = chip_group(slug)
    for dtype in _MEASURED_AS.get(precision, ()):
        figures = [figure for figure in catalog.matmul_figures if figure.dtype == dtype]
        own = [figure for figure in figures if figure.accelerator == slug]
        kin = [figure for figure in figures if chip_group(figure.accelerator) == group]
        for candidates in (own, kin):
            for superseded in (False, True):
                shares = [
                    _share(figure, catalog.accelerators[figure.accelerator])
                    for figure in candidates
                    if figure.superseded == superseded
                ]
                if shares:
                    return median(shares)
    return math.nan


def _share(figure: MatmulFigure, chip: Accelerator) -> float:
    peak = chip.peak_tflops(figure.dtype)
    return figure.measured_tflops / (peak if figure.theoretical > _ONE_DIE * peak else figure.theoretical)

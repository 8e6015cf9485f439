"""Measurements to submit: one that is as forecast, and variations of it."""

import itertools
from typing import Any

_FRESH = itertools.count(1)
USUAL_RATE = 9800.0
"""Samples a second of ResNet-50 on eight V100 in half precision: published results lie around it."""


def sample(rate: float = USUAL_RATE, **more: Any) -> dict[str, Any]:
    """A measurement of ResNet-50 on eight V100, unlike any sample before it in its source."""
    return {
        "model": {"name": "resnet-50"},
        "data": {"image_size": 224},
        "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8},
        "training": {"precision": "fp16", "global_batch": 2048},
        "provenance": {"source": f"run-{next(_FRESH)}"},
        "result": {"value": rate, "unit": "samples_per_second"},
    } | more

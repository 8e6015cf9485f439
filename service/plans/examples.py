"""Requests that run as they stand: shown in the API's documentation, tested against the service."""

from typing import Any

EXAMPLES: dict[str, dict[str, Any]] = {
    "gpt-3-in-a-month": {
        "summary": "GPT-3 175B within 30 days, cheapest first",
        "value": {
            "model": {"name": "gpt-3-175b"},
            "data": {"tokens": 300e9, "sequence_length": 2048},
            "hardware": {"accelerators": ["A100-SXM4-80GB", "H100-SXM5-80GB", "B200-SXM-180GB"], "max_count": 2048},
            "training": {"global_batch": 1536},
            "deadline_hours": 720,
            "objective": "cost",
            "limit": 5,
        },
    },
    "resnet-50-on-a-small-budget": {
        "summary": "ResNet-50 on ImageNet for at most 100 USD",
        "value": {
            "model": {"name": "resnet-50"},
            "data": {"name": "imagenet-1k", "epochs": 90},
            "hardware": {"accelerators": ["T4", "V100-SXM2-16GB", "A100-SXM4-40GB"], "counts": [1, 2, 4, 8]},
            "budget_usd": 100,
        },
    },
    "a-model-too-large": {
        "summary": "A model of 1.8e12 parameters on 8 chips: answered with what it takes",
        "value": {
            "model": {"parameters": 1.8e12, "family": "decoder", "layers": 128, "hidden_size": 32768,
                      "attention_heads": 256},
            "data": {"tokens": 1e12, "sequence_length": 4096},
            "hardware": {"accelerators": ["H100-SXM5-80GB"], "max_count": 8},
        },
    },
}  # fmt: skip
"""Name -> OpenAPI example object (`summary`, `value`)."""

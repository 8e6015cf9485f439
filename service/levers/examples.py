"""Requests that run as they stand: shown in the API's documentation, tested against the service."""

from typing import Any

from service.estimates.examples import EXAMPLES as RUNS

EXAMPLES: dict[str, dict[str, Any]] = {
    "gpt-3-months-to-days": {
        "summary": "GPT-3 175B on 1,024 V100: months to days",
        "value": {**RUNS["gpt-3-on-1024-v100"]["value"], "assume": {"kept_fraction": 0.8}},
    },
    "resnet-50-transfer-learning": {
        "summary": "ResNet-50 on ImageNet on 8 V100: from scratch against transfer learning",
        "value": RUNS["resnet-50-on-8-v100"]["value"],
    },
    "llama-2-70b-lora": {
        "summary": "Llama-2 70B on 16 A100: LoRA against full fine-tuning",
        "value": {
            "model": {"name": "llama-2-70b"},
            "data": {"samples": 52_000, "epochs": 3, "sequence_length": 512},
            "hardware": {"accelerator": "A100-SXM4-80GB", "count": 16, "per_node": 8},
            "training": {"mode": "finetune", "precision": "bf16", "global_batch": 128, "sharding": "fsdp"},
        },
    },
}
"""Name -> OpenAPI example object (`summary`, `value`)."""

"""Requests that run as they stand: shown in the API's documentation, tested against the service."""

from typing import Any

EXAMPLES: dict[str, dict[str, Any]] = {
    "gpt-3-on-1024-v100": {
        "summary": "GPT-3 175B on 1,024 V100",
        "value": {
            "model": {"name": "gpt-3-175b"},
            "data": {"tokens": 300e9, "sequence_length": 2048},
            "hardware": {"accelerator": "V100-SXM2-32GB", "count": 1024, "per_node": 8},
            "training": {"precision": "fp16", "global_batch": 1536},
        },
    },
    "resnet-50-on-8-v100": {
        "summary": "ResNet-50 on ImageNet, 90 epochs, 8 V100",
        "value": {
            "model": {"name": "resnet-50"},
            "data": {"name": "imagenet-1k", "epochs": 90, "image_size": 224},
            "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8, "per_node": 8},
            "training": {"precision": "fp16", "global_batch": 2048, "optimizer": "sgd"},
            "software": {"framework": "pytorch"},
        },
    },
    "gnmt-on-8-a100": {
        "summary": "GNMT, a recurrent translator, on 8 A100, in Sweden",
        "value": {
            "model": {"name": "gnmt"},
            "data": {"samples": 4.5e6, "epochs": 5, "sequence_length": 50},
            "hardware": {"accelerator": "NVIDIA A100-SXM4-40GB", "count": 8, "per_node": 8},
            "training": {"precision": "fp16", "micro_batch": 128},
            "location": {"region": "SWE"},
        },
    },
    "lora-on-one-l40s": {
        "summary": "LoRA of Llama-2 7B on one L40S, own price",
        "value": {
            "model": {"name": "llama-2-7b"},
            "data": {"samples": 52000, "epochs": 3, "sequence_length": 512},
            "hardware": {"accelerator": "L40S", "count": 1},
            "training": {"mode": "lora", "precision": "bf16", "micro_batch": 4},
            "pricing": {"usd_per_accelerator_hour": 1.1},
        },
    },
    "llama-3-on-256-h100": {
        "summary": "Llama-3 8B on 256 H100, priced on AWS",
        "value": {
            "model": {"name": "llama-3-8b"},
            "data": {"tokens": 1e12, "sequence_length": 8192},
            "hardware": {"accelerator": "H100-SXM5-80GB", "count": 256, "per_node": 8},
            "training": {"precision": "bf16", "global_batch": 512},
            "software": {"framework": "nemo", "attention": "flash2"},
            "pricing": {"provider": "aws", "region": "us-east-1"},
        },
    },
}
"""Name -> OpenAPI example object (`summary`, `value`)."""

"""Which layers of a published ``config.json`` attend, and which of those only within a window.

Spellings as in transformers' ``configuration_*.py`` (pypi:transformers-5.24.0), and in the remote code of Jamba,
Nemotron-H, MiniMax and Zamba.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_LAYERS = 10**6
"""Beyond what any model has, and what any arithmetic minds."""
_WINDOWED = ("sliding_attention", "chunked_attention")
_FULL = ("full_attention", "attention", "global_attention", "hybrid", "*")
# One layer of so many sees everything, where the configuration leaves it to its class.
_USUAL_PATTERN = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "gpt_oss": 2, "cohere2": 4}
_USUAL_WINDOW = {"gemma2": 4096.0, "gemma3": 4096.0, "gemma3_text": 4096.0, "gpt_oss": 128.0, "cohere2": 4096.0}


def read_attention_layers(config: Mapping[str, Any], kind: str, layers: float) -> dict[str, float]:
    """`sliding_window`, `windowed_layers` and `attention_layers` of a text tower, each only where it says something.

    Args:
        config: the text tower's configuration.
        kind: its ``model_type``.
        layers: its blocks in all.
    """
    fields: dict[str, float] = {}
    types = _layer_types(config)
    attending = _attending(config, types, layers)
    if attending is not None and attending < layers:
        fields["attention_layers"] = attending
    window = config.get("sliding_window", config.get("attention_chunk_size", _USUAL_WINDOW.get(kind)))
    if isinstance(window, bool) or not isinstance(window, int | float) or not 0 < window < 1e18:
        return fields
    if config.get("use_sliding_window") is False:
        return fields
    windowed = _windowed(config, kind, types, layers)
    if windowed is None:
        fields["sliding_window"] = float(window)
    elif windowed > 0:
        fields["sliding_window"], fields["windowed_layers"] = float(window), windowed
    return fields


def _layer_types(config: Mapping[str, Any]) -> list[str]:
    """The kind of every layer, where it is spelt out; else empty."""
    pattern = config.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return list(pattern)
    for name in ("layer_types", "layers_block_type"):
        types = config.get(name)
        if isinstance(types, list) and types and all(isinstance(item, str) for item in types):
            return types
    return []


def _attending(config: Mapping[str, Any], types: list[str], layers: float) -> float | None:
    """Layers with attention of any reach; None where nothing says that others have none."""
    if types:
        return float(sum(item in _FULL or item in _WINDOWED for item in types))
    if isinstance(indices := config.get("attn_layer_indices"), list):
        return float(len(indices))
    if isinstance(kinds := config.get("attn_type_list"), list):
        return float(sum(item == 1 for item in kinds))
    if period := _whole(config, "attn_layer_period"):
        return float(len(range(_whole(config, "attn_layer_offset"), int(layers), period)))
    if interval := _whole(config, "full_attention_interval"):
        return float(layers // interval)
    return None


def _windowed(config: Mapping[str, Any], kind: str, types: list[str], layers: float) -> float | None:
    """Layers that the window applies to; None: to all."""
    if types:
        return float(sum(item in _WINDOWED for item in types))
    pattern = _whole(config, "sliding_window_pattern") or _USUAL_PATTERN.get(kind, 0)
    if pattern:
        return float(layers - layers // pattern)
    if "max_window_layers" in config:
        # Qwen's layers below this one see everything.
        return max(layers - _whole(config, "max_window_layers"), 0.0)
    return None


def _whole(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MOST_LAYERS else 0

"""What a PyTorch module, an optimizer and a batch say of the run's configuration."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.catalog.huggingface import read_huggingface_config

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_ATTENTION = {
    "eager": "math",
    "sdpa": "sdpa",
    "flash_attention_2": "flash2",
    "flash_attention_3": "flash3",
}
_DTYPES = {"torch.float32": "fp32", "torch.float16": "fp16", "torch.bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class BatchShape:
    """Size of one batch of one process."""

    samples: int
    tokens: int | None = None
    image_size: int | None = None


def model_fields(module: Any, *, sharded: bool) -> dict[str, object]:
    """The `model` fields of a module: its config.json where it has one that can be read, and its size.

    Args:
        module: A `torch.nn.Module`, or one of Transformers, or one that holds such a one.
        sharded: Whether each process holds a part of the weights only, which are then not counted.
    """
    fields: dict[str, object] = {}
    inner = pretrained(module)
    if inner is not None:
        config = json.loads(inner.config.to_json_string(use_diff=False))
        name = str(config.pop("_name_or_path", None) or getattr(inner.config, "name_or_path", ""))
        # A folder's name is nobody's business; one that the hub could have is the model's.
        if _HUB_NAME.fullmatch(name) and not name.startswith(".") and not Path(name).exists():
            fields["name"] = name
        try:
            read_huggingface_config(config)
            fields["huggingface_config"] = config
        except ValueError:
            fields.setdefault("name", str(config.get("model_type") or type(inner).__name__))
    if not sharded:
        fields["parameters"] = _counted(module.parameters())
    if not fields.get("name") and "huggingface_config" not in fields:
        fields["name"] = type(module).__name__
    return fields


def pretrained(module: Any) -> Any:
    """The module, or the outermost one inside it, that carries a Transformers configuration; None if none does."""
    return next((part for part in module.modules() if hasattr(getattr(part, "config", None), "to_json_string")), None)


def mode_fields(module: Any, *, sharded: bool) -> dict[str, object]:
    """The `training` fields of what learns: adapters, or a part of the weights. Nothing where all of them do."""
    learning = _counted(part for part in module.parameters() if part.requires_grad)
    adapters = getattr(module, "peft_config", None)
    if isinstance(adapters, Mapping) and adapters:
        kind = str(getattr(next(iter(adapters.values())), "peft_type", "lora")).rpartition(".")[2].lower()
        quantised = getattr(module, "is_loaded_in_4bit", False) or getattr(module, "is_loaded_in_8bit", False)
        return {
            "mode": "qlora" if quantised else "lora",
            "adapter": kind,
            **({} if sharded else {"trainable_parameters": learning}),
        }
    if sharded or all(part.requires_grad for part in module.parameters()):
        return {}
    return {"mode": "frozen", "trainable_parameters": learning}


def attention(module: Any) -> str | None:
    """The attention kernel that a Transformers model was told to use; None if it does not say or is another."""
    inner = pretrained(module)
    return _ATTENTION.get(str(getattr(inner.config, "_attn_implementation", ""))) if inner is not None else None


def recomputes(module: Any) -> bool | None:
    """Whether a Transformers model computes its activations anew in the backward pass; None if it does not say."""
    inner = pretrained(module)
    return None if inner is None else bool(getattr(inner, "is_gradient_checkpointing", False))


def weight_precision(module: Any) -> str | None:
    """Number format of the weights that learn."""
    dtypes = {str(part.dtype) for part in module.parameters() if part.requires_grad}
    return _DTYPES.get(dtypes.pop()) if len(dtypes) == 1 else None


def optimizer_name(optimizer: Any) -> str:
    """The optimizer's kind by its class: `AdamW` → adamw; wrappers (Accelerate, DeepSpeed) are looked through."""
    while getattr(optimizer, "optimizer", None) is not None:
        optimizer = optimizer.optimizer
    return type(optimizer).__name__.lower()


def batch_shape(batch: Any) -> BatchShape | None:
    """The size of a batch: of token ids, of images, else of its first tensor; None if it holds none."""
    named = batch if isinstance(batch, Mapping) else {}
    ids: Any = named.get("input_ids")
    if _is_tensor(ids):
        return BatchShape(int(ids.shape[0]), tokens=int(ids.numel()))
    images = named.get("pixel_values")
    first = images if _is_tensor(images) else next(_tensors(batch), None)
    if first is None or not len(first.shape):
        return None
    pixels = min(first.shape[-2:]) if len(first.shape) == 4 else None
    return BatchShape(int(first.shape[0]), image_size=int(pixels) if pixels else None)


def _counted(parameters: Iterable[Any]) -> float:
    """Weights; of 4-bit ones, two are packed into one element (bitsandbytes keeps the shape it had)."""
    return float(sum(_elements(part) for part in parameters))


def _elements(part: Any) -> int:
    shape = getattr(getattr(part, "quant_state", None), "shape", None)
    return int(shape.numel()) if shape is not None else int(part.numel())


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "numel")


def _tensors(batch: Any) -> Iterator[Any]:
    if _is_tensor(batch):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from _tensors(value)

"""The training of a configuration: mode, precision, optimizer, and what is stated of the layout."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from functools import lru_cache

from service.catalog.achievable import matmul_share
from service.catalog.catalog import Accelerator, Catalog
from service.catalog.precisions import TYPICAL_FLOP_PER_BYTE, stand_in, stand_in_tflops, usual_precision
from service.catalog.resolution import (
    LAYOUT_FIELDS,
    MOST_PARTS,
    Assumption,
    Items,
    Part,
    Values,
    stated_number,
    to_number,
)
from service.engine.layout import Flaw
from service.engine.memory import CASTS_WEIGHTS
from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.replicas import SHARDS_OPTIMIZER, SHARE_OPTIMIZER
from service.engine.step_inputs import ADAPTER_MODES, OPTIMIZER_BYTES

HALF_PRECISIONS = ("bf16", "fp16")
# Transformers of images and speech are trained with AdamW as those of language are. Rows that were measured without a
# word are read as the calibration read them.
ADAMW_FAMILIES = TRANSFORMER_FAMILIES | {"diffusion"}
ADAMW_FAMILIES_OF_REQUESTS = ADAMW_FAMILIES | {"vit", "speech"}
# Of other families, models whose papers train them so (Liu et al. 2022, arXiv 2201.03545, appendix A; Wu et al. 2016,
# arXiv 1609.08144, section 8).
ADAMW_MODELS = ("convnext", "gnmt")
# Fine-tuning whose samples are pairs, or are generated within the step: its speed is none of plain training.
OTHER_OBJECTIVES = ("dpo", "reward", "ppo")


def is_trained_with_adam(family: str, model: str, *, measured: bool) -> bool:
    """Whether a model is usually trained with Adam or AdamW rather than by plain gradient descent."""
    if measured:
        return family in ADAMW_FAMILIES
    return family in ADAMW_FAMILIES_OF_REQUESTS or model.startswith(ADAMW_MODELS)


@lru_cache(MOST_PARTS)
def resolve_training(catalog: Catalog, stated: Items, slug: str, family: str, adam: bool, measured: bool) -> Part:
    """How it is trained, and how fast the chip is at that precision.

    Args:
        catalog: the reference tables.
        stated: the fields of `training`, and `data.for_tuning` where the data set is for that.
        slug: the chip.
        family: the model's.
        adam: whether models like it are usually trained with AdamW.
        measured: whether it was run as it is.
    """
    flat, chip = dict(stated), catalog.accelerators[slug]
    assumptions: list[Assumption] = []
    mode = str(flat.get("training.mode") or "")
    if not mode:
        mode = "finetune" if flat.get("data.for_tuning") else "pretrain"
        why = "the data set is one for fine-tuning" if mode == "finetune" else "training all weights from the start"
        assumptions.append(Assumption("training.mode", mode, why))
    precision = str(flat.get("training.precision") or "")
    if not precision:
        precision = usual_precision(chip, family)
        assumptions.append(Assumption("training.precision", precision, f"usual on {chip.slug}"))
    optimizer = str(flat.get("training.optimizer") or "")
    if not optimizer:
        optimizer = "adamw" if adam else "sgd"
        if not measured and mode != "fwd_bwd":
            why = f"usual of such models (family {family}); it decides how much memory its states take"
            assumptions.append(Assumption("training.optimizer", optimizer, why))
    values: Values = {
        "mode": mode,
        "precision": precision,
        "optimizer": optimizer,
        "weight_precision": str(flat.get("training.weight_precision") or ""),
        "adapter": str(flat.get("training.adapter") or ("lora" if mode in ("lora", "qlora") else "")),
        "variable_update": str(flat.get("training.variable_update") or ""),
        "offload": "none",
        **_speeds(catalog, chip, precision),
    }
    for name in ("trainable_parameters", "sharding_group"):
        if stated_number(flat, f"training.{name}") > 0:
            values[name] = stated_number(flat, f"training.{name}")
    for name in LAYOUT_FIELDS:
        given = flat.get(f"training.{name}")
        if given is not None:
            values[name] = str(given) if name in ("sharding", "recompute", "offload") else to_number(given)
    if measured:
        return Part(stated, values, assumptions)
    warnings = _optimizer_doubts(optimizer) + _precision_doubts(chip, precision, family)
    warnings += _objective_doubts(flat) + _layout_doubts(flat, family)
    return Part(stated, values, assumptions, warnings, _lacking_units(chip, precision, family))


def assumed_weights(values: Values) -> list[Assumption]:
    """What weights and optimizer states of a laid-out request are held in, where nobody says and it decides memory.

    Told as `engine.memory` counts them: none in full precision, where all is held alike, and of weights that are
    quantised, which the mode says.
    """
    precision, mode, optimizer = (str(values[name]) for name in ("precision", "mode", "optimizer"))
    if values["weight_precision"] or precision not in (*HALF_PRECISIONS, "fp8", "fp4") or mode == "qlora":
        return []
    shared = values["sharding"] == "ddp" and values["framework"] in SHARE_OPTIMIZER
    half = precision if precision in HALF_PRECISIONS else "bf16"
    states = "8 bits" if optimizer.endswith("8bit") else "fp32"
    if mode in ADAPTER_MODES:
        held, why = "fp8" if precision == "fp8" else half, "frozen weights stay in what they are computed with"
    elif values["family"] not in TRANSFORMER_FAMILIES:
        held, why = "fp32", "mixed precision outside language models usually keeps weights in fp32 and casts them"
    elif mode == "fwd_bwd":
        held, why = half, "no optimizer asks for more"
    elif values["framework"] in CASTS_WEIGHTS:
        held, why = "fp32", "weights are cast where they are used, so that the optimizer needs no other copy"
    elif mode == "finetune" and values["sharding"] not in SHARDS_OPTIMIZER and not shared:
        held, why = half, f"fine-tuned as loaded: no fp32 master copy, and states of {optimizer} in {half} too"
    else:
        held = "mixed"
        why = (
            f"{half} with an fp32 master copy, as is usual of mixed precision, and states of {optimizer} in {states}; "
            f"{half} stated is without the copy"
        )
    return [Assumption("training.weight_precision", held, why)]


def _speeds(catalog: Catalog, chip: Accelerator, precision: str) -> Values:
    """Peak and memory bandwidth; where the data sheet is silent, what stands in."""
    peak, bandwidth = chip.peak_tflops(precision), chip.memory_bandwidth_gbs
    if math.isnan(peak):
        peak = stand_in_tflops(chip, precision)
    if not bandwidth > 0:
        bandwidth = peak * 1e3 / TYPICAL_FLOP_PER_BYTE
    share = matmul_share(catalog, chip.slug, precision)
    return {"peak_tflops": peak, "matmul_share": share, "memory_bandwidth_gbs": bandwidth}


def _lacking_units(chip: Accelerator, precision: str, family: str) -> list[Flaw]:
    if precision not in ("fp8", "fp4", "tf32") or chip.kind == "cpu" or not math.isnan(chip.peak_tflops(precision)):
        return []
    usual = usual_precision(chip, family)
    return [Flaw("training.precision", f"{chip.slug} has no {precision} matrix units", f"use {usual} on this chip")]


def _objective_doubts(flat: Mapping[str, object]) -> list[str]:
    objective = flat.get("training.objective")
    if objective not in OTHER_OBJECTIVES:
        return []
    return [
        f"training.objective {objective} is reckoned as plain fine-tuning: what it computes and holds besides (pairs "
        "of samples, a second model, samples generated within the step) is not counted"
    ]


def _layout_doubts(flat: Mapping[str, object], family: str) -> list[str]:
    """What is stated of a layout and changes nothing."""
    doubts = []
    if stated_number(flat, "training.sharding_group") > 0 and flat.get("training.sharding") in ("none", "ddp"):
        doubts.append(f"training.sharding {flat['training.sharding']} shares nothing out to a training.sharding_group")
    if stated_number(flat, "training.expert_parallel") > 1 and family != "moe":
        doubts.append(f"training.expert_parallel splits no experts here: the model is of family {family}")
    stages = stated_number(flat, "training.pipeline_parallel")
    if stated_number(flat, "training.virtual_pipeline") > 1 and stages == 1:
        doubts.append("training.virtual_pipeline cuts the stages of a pipeline, and there is none")
    return doubts


def _optimizer_doubts(optimizer: str) -> list[str]:
    if optimizer in OPTIMIZER_BYTES:
        return []
    known = difflib.get_close_matches(optimizer, OPTIMIZER_BYTES, n=1) or sorted(OPTIMIZER_BYTES)
    return [
        f"training.optimizer {optimizer!r} is not known, and reckoned with the memory and work of adamw; "
        f"known: {', '.join(known)}"
    ]


def _precision_doubts(chip: Accelerator, precision: str, family: str) -> list[str]:
    if precision not in HALF_PRECISIONS or not math.isnan(chip.peak_tflops(precision)):
        return []
    usual, other = usual_precision(chip, family), stand_in(chip, precision)
    return [
        f"{chip.slug} has no {precision} units: it is reckoned with "
        f"{'a typical speed' if other is None else f'the speed of {other}'}; {usual} is usual"
    ]

"""Reads a torchtitan job configuration (TOML), of its releases of 2024 to 2026 (github:pytorch/torchtitan)."""

import re
import tomllib
from typing import Any

from service.launch_configs.reading import (
    NO_EFFECT,
    NO_FIELD,
    LaunchConfig,
    LaunchConfigError,
    leaves,
    number,
    positive,
    shown,
)

_COUNTS = {
    "training.local_batch_size": "training.micro_batch",
    "training.batch_size": "training.micro_batch",
    "training.global_batch_size": "training.global_batch",
    "training.gradient_accumulation_steps": "training.gradient_accumulation",
    "training.seq_len": "data.sequence_length",
}
_DEGREES = {
    "tensor_parallel_degree": "training.tensor_parallel",
    "pipeline_parallel_degree": "training.pipeline_parallel",
    "context_parallel_degree": "training.context_parallel",
    "expert_parallel_degree": "training.expert_parallel",
}
"""In `[parallelism]`; before 2025 some were in `[training]` and `[experimental]`."""
_DEGREE_SECTIONS = ("parallelism", "training", "experimental")
_FLOAT8 = {"rowwise": "rowwise", "rowwise_with_gw_hp": "rowwise", "tensorwise": "tensorwise"}
_DATASETS = {"c4": "c4", "c4_test": "c4"}
_WAYS = frozenset(
    f"{section}.data_parallel_{kind}_degree" for section in _DEGREE_SECTIONS for kind in ("replicate", "shard")
)
_TOGETHER = {
    "model.name", "model.flavor", "model.converters", "training.steps", "activation_checkpoint.mode",
    "activation_checkpoint.selective_ac_option",
    "parallelism.fsdp_reshard_after_forward", *_WAYS,
}  # fmt: skip
EVERY_OTHER = "2"  # which layers selective checkpointing takes where nobody says (torchtitan/config/job_config.py)
_NO_EFFECT = (
    "job.", "profiling.", "metrics.", "lr_scheduler.", "optimizer.", "checkpoint.", "comm.", "validation.", "debug.",
    "training.max_norm", "training.warmup_steps", "training.seed", "training.dataset_path", "training.deterministic",
    "model.tokenizer_path", "model.hf_assets_path", "fault_tolerance.", "memory_estimation.", "training.steps",
)  # fmt: skip


def read_torchtitan(text: str) -> LaunchConfig:
    """Reads a torchtitan job configuration.

    Raises:
        LaunchConfigError: It is no TOML, nothing in it is torchtitan's, or a value is none that it can have.
    """
    try:
        config = tomllib.loads(text)
    except ValueError as error:
        raise LaunchConfigError(f"not TOML: {error}") from None
    except RecursionError:
        raise LaunchConfigError("not TOML that can be read: it is nested too deeply") from None
    read = LaunchConfig()
    given = dict(leaves(config))
    if not any(option.startswith(("model.", "training.", "parallelism.")) for option in given):
        raise LaunchConfigError("nothing in it is torchtitan's: [model], [training], [parallelism] are missing")
    for option, value in given.items():
        if option not in _TOGETHER:
            _one(read, option, value)
    _model(read, given)
    _data_parallel(read, given)
    _amount(read, given)
    read.fields["software.framework"] = "torchtitan"
    # Defaults of torchtitan/config/job_config.py; looped schedules give a rank several stages.
    single = given.get("parallelism.pipeline_parallel_schedule", "1F1B") in ("1F1B", "GPipe")
    read.otherwise(
        precision="bf16", optimizer="adamw", offload="none",
        tensor_parallel=1, pipeline_parallel=1, context_parallel=1, expert_parallel=1,
        **({"virtual_pipeline": 1} if single else {}),
        **({} if "activation_checkpoint.mode" in given else {"recompute": "full", "recompute_share": 0.5}),
    )  # fmt: skip
    return read


def _one(read: LaunchConfig, option: str, value: Any) -> None:
    section, _, name = option.partition(".")
    if option in _COUNTS:
        _count(read, option, _COUNTS[option], value)
    elif section in _DEGREE_SECTIONS and name in _DEGREES:
        read.take(option, _DEGREES[name], positive(option, value))
    elif option == "training.dataset" and isinstance(value, str) and value in _DATASETS:
        read.take(option, "data.name", _DATASETS[value])
    elif option == "optimizer.name" and isinstance(value, str):
        read.take(option, "training.optimizer", value.lower())
    elif option == "training.mixed_precision_param" and isinstance(value, str):
        read.take(option, "training.precision", {"bfloat16": "bf16", "float32": "fp32"}.get(value, value))
    elif option == "training.enable_cpu_offload" and value is True:
        read.take(option, "training.offload", "cpu")
    elif option in ("training.compile", "compile.enable") and isinstance(value, bool):
        read.take(option, "software.compile", value)
    elif option.endswith("float8.recipe_name") and isinstance(value, str) and value in _FLOAT8:
        read.take(option, "training.fp8_recipe", _FLOAT8[value])
    else:
        read.ignore(option, NO_EFFECT if option.startswith(_NO_EFFECT) else NO_FIELD)


def _count(read: LaunchConfig, option: str, name: str, value: Any) -> None:
    """A count; -1 leaves it to torchtitan."""
    if number(option, value) == -1:
        read.ignore(option, "-1 leaves it to torchtitan")
    else:
        read.take(option, name, positive(option, value))


def _model(read: LaunchConfig, given: dict[str, Any]) -> None:
    name, flavor = given.get("model.name"), given.get("model.flavor")
    if isinstance(name, str) and name:
        # llama3 and 8B are llama3-8b; deepseek_v3, 671B; llama4, 17bx16e.
        flavor = re.sub(r"(?<=\db)x(?=\d)", "-", flavor.lower() if isinstance(flavor, str) else "")
        whole = f"{name.lower().replace('_', '-')}-{flavor}".rstrip("-")
        read.take("model.name, model.flavor", "model.name", whole)
    converters = given.get("model.converters", [])
    if any("float8" in item for item in _texts(converters)):
        read.take("model.converters", "training.precision", "fp8")
    elif converters:
        read.ignore("model.converters")
    mode, which = given.get("activation_checkpoint.mode"), "activation_checkpoint.selective_ac_option"
    each = str(given.get(which, EVERY_OTHER))
    if mode == "selective" and each.isdigit() and int(each) > 0:  # whole layers, every so many
        read.take("activation_checkpoint.mode", "training.recompute", "full")
        read.take(which, "training.recompute_share", 1.0 / int(each))
        return
    if which in given:
        read.ignore(
            which, "which operations; selective recomputation is told as one" if mode == "selective" else NO_EFFECT
        )
    if mode in ("none", "selective", "full"):
        read.take("activation_checkpoint.mode", "training.recompute", mode)
    elif mode is not None:
        read.ignore("activation_checkpoint.mode", f"{shown(mode)} is none of none, selective, full")


def _texts(value: Any) -> list[str]:
    """The texts of a list, or of one text."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def _data_parallel(read: LaunchConfig, given: dict[str, Any]) -> None:
    """Replicas times shards; -1 shards are as many as there are accelerators left."""
    found = {option: number(option, given[option]) for option in given if option in _WAYS}
    replicas = next((value for option, value in found.items() if "replicate" in option), 1)
    shards = next((value for option, value in found.items() if "shard" in option), -1)
    names = ", ".join(found) or "parallelism.data_parallel_shard_degree (by default -1)"
    if shards > 0:
        read.take(names, "training.data_parallel", replicas * shards)
    if shards == 1:
        read.take(names, "training.sharding", "ddp" if replicas > 1 else "none")
        return
    if replicas > 1 and shards > 0:
        read.take(names, "training.sharding_group", shards)
    kept = given.get("parallelism.fsdp_reshard_after_forward") == "never"
    read.take(names, "training.sharding", "hsdp" if replicas > 1 else "zero2" if kept else "fsdp")


def _amount(read: LaunchConfig, given: dict[str, Any]) -> None:
    steps = given.get("training.steps")
    if steps is None:
        return
    batch, length = read.fields.get("training.global_batch"), read.fields.get("data.sequence_length")
    if isinstance(batch, int | float) and isinstance(length, int | float):
        read.take("training.steps", "data.tokens", positive("training.steps", steps) * batch * length)
    else:
        read.ignore("training.steps", "how much that is takes training.global_batch_size and training.seq_len")

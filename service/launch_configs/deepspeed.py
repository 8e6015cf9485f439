"""Reads a DeepSpeed configuration (`ds_config.json`), as deepspeed.ai/docs/config-json describes it."""

from typing import Any

from service.launch_configs.reading import (
    NO_EFFECT,
    NO_FIELD,
    LaunchConfig,
    LaunchConfigError,
    json_object,
    leaves,
    positive,
    shown,
)

_COUNTS = {
    "train_batch_size": "training.global_batch",
    "train_micro_batch_size_per_gpu": "training.micro_batch",
    "gradient_accumulation_steps": "training.gradient_accumulation",
    "sequence_parallel_size": "training.context_parallel",
    "tensor_parallel.autotp_size": "training.tensor_parallel",
    "zero_optimization.mics_shard_size": "training.sharding_group",
}
_PRECISIONS = {"bf16.enabled": "bf16", "bfloat16.enabled": "bf16", "fp16.enabled": "fp16"}
_STAGES = {0: "ddp", 1: "zero1", 2: "zero2", 3: "zero3"}
_OPTIMIZERS = {"adam": "adamw", "fusedadam": "adamw"}
"""DeepSpeed's Adam decays weights as AdamW does unless `adam_w_mode` is off."""
_OFFLOAD = ("zero_optimization.offload_optimizer.device", "zero_optimization.offload_param.device")
_NO_EFFECT = (
    "steps_per_print", "wall_clock_breakdown", "gradient_clipping", "scheduler.", "optimizer.params.", "fp16.", "bf16.",
    "tensorboard.", "wandb.", "csv_monitor.", "comms_logger.", "flops_profiler.", "dump_state", "checkpoint.",
    "data_types.", "zero_allow_untrained_optimizer", "seed",
)  # fmt: skip


def read_deepspeed(text: str) -> LaunchConfig:
    """Reads a DeepSpeed configuration. It says nothing of the model: give that beside it.

    Raises:
        LaunchConfigError: It is no JSON object, nothing in it is DeepSpeed's, or a value is none that it can have.
    """
    read = LaunchConfig()
    for option, value in leaves(json_object(text, "a DeepSpeed configuration")):
        _one(read, option, value)
    if not read.understood:
        raise LaunchConfigError("nothing in it is DeepSpeed's: train_batch_size, zero_optimization, ... are missing")
    read.fields["software.framework"] = "deepspeed"
    read.otherwise(
        tensor_parallel=1, pipeline_parallel=1, context_parallel=1, virtual_pipeline=1, sharding="ddp",
        precision="fp32", offload="none",
    )  # fmt: skip
    return read


def _one(read: LaunchConfig, option: str, value: Any) -> None:
    if value == "auto":
        read.ignore(option, '"auto" leaves it to the program that starts DeepSpeed')
    elif option in _COUNTS:
        read.take(option, _COUNTS[option], positive(option, value))
    elif option in _PRECISIONS:
        if value is True:
            read.take(option, "training.precision", _PRECISIONS[option])
    elif option == "zero_optimization.stage":
        if not isinstance(value, int) or value not in _STAGES:
            raise LaunchConfigError(f"{option}: {shown(value)} is none of 0, 1, 2, 3")
        read.take(option, "training.sharding", _STAGES[value])
    elif option in _OFFLOAD and value in ("cpu", "nvme"):
        read.take(option, "training.offload", value)
    elif option == "optimizer.type" and isinstance(value, str):
        name = value.lower()
        read.take(option, "training.optimizer", _OPTIMIZERS.get(name, name))
    elif option == "compile.deepcompile" and isinstance(value, bool):
        read.take(option, "software.compile", value)
    elif option.startswith("activation_checkpointing."):
        read.ignore(option, "says how activations are recomputed; the model's code says whether (training.recompute)")
    else:
        read.ignore(option, NO_EFFECT if option.startswith(_NO_EFFECT) else NO_FIELD)

"""Reads the arguments of a Megatron-LM run: a file of flags, a launch script, or the argument list at a log's start.

Flags as `megatron/training/arguments.py` defines them (github:NVIDIA/Megatron-LM).
"""

import itertools
import re
from collections.abc import Iterator

from service.launch_configs.reading import NO_EFFECT, NO_FIELD, LaunchConfig, LaunchConfigError, number, positive

_COUNTS = {
    "num-layers": "model.layers",
    "encoder-num-layers": "model.encoder_layers",
    "decoder-num-layers": "model.decoder_layers",
    "hidden-size": "model.hidden_size",
    "num-attention-heads": "model.attention_heads",
    "kv-channels": "model.head_dim",
    "ffn-hidden-size": "model.intermediate_size",
    "vocab-size": "model.vocab_size",
    "padded-vocab-size": "model.vocab_size",
    "max-position-embeddings": "model.max_sequence_length",
    "num-experts": "model.experts",
    "moe-router-topk": "model.experts_per_token",
    "seq-length": "data.sequence_length",
    "encoder-seq-length": "data.sequence_length",
    "train-samples": "data.samples",
    "micro-batch-size": "training.micro_batch",
    "global-batch-size": "training.global_batch",
    "tensor-model-parallel-size": "training.tensor_parallel",
    "pipeline-model-parallel-size": "training.pipeline_parallel",
    "context-parallel-size": "training.context_parallel",
    "expert-model-parallel-size": "training.expert_parallel",
    "num-virtual-stages-per-pipeline-rank": "training.virtual_pipeline",
    "nproc-per-node": "hardware.per_node",
    "world-size": "hardware.count",
}
_SWITCHES: dict[str, tuple[str, object]] = {
    "swiglu": ("model.gated_mlp", True),
    "untie-embeddings-and-output-weights": ("model.tied_embeddings", False),
    "bf16": ("training.precision", "bf16"),
    "fp16": ("training.precision", "fp16"),
    "recompute-activations": ("training.recompute", "selective"),
    "optimizer-cpu-offload": ("training.offload", "cpu"),
    "use-flash-attn": ("software.attention", "flash"),
    "mock-data": ("data.input", "synthetic"),
    "enable-cuda-graph": ("software.cuda_graphs", "partial"),
}
_CHOICES: dict[str, tuple[str, dict[str, str]]] = {
    "recompute-granularity": ("training.recompute", {"full": "full", "selective": "selective"}),
    # Its Adam decays weights on their own, as AdamW does, unless told otherwise.
    "optimizer": ("training.optimizer", {"adam": "adamw", "sgd": "sgd", "muon": "muon", "dist_muon": "muon"}),
    "attention-backend": ("software.attention", {"flash": "flash", "fused": "fused", "unfused": "math"}),
    **dict.fromkeys(("fp8-format", "fp8"), ("training.precision", {"hybrid": "fp8", "e4m3": "fp8"})),
    "fp8-recipe": (
        "training.fp8_recipe",
        {"delayed": "delayed", "tensorwise": "tensorwise", "blockwise": "blockwise", "mxfp8": "mxfp8"},
    ),
}
_STRATEGIES = {"no_shard": "ddp", "optim": "zero1", "optim_grads": "zero2", "optim_grads_params": "zero3"}
_SHARDED = ("use-megatron-fsdp", "use-custom-fsdp", "use-torch-fsdp2", "use-distributed-optimizer")
_TOGETHER = {
    "group-query-attention", "num-query-groups", "num-layers-per-virtual-pipeline-stage", "moe-ffn-hidden-size",
    "moe-shared-expert-intermediate-size", "train-iters", "nnodes", "recompute-num-layers", "recompute-method",
    "data-parallel-sharding-strategy", *_SHARDED,
}  # fmt: skip
_NO_EFFECT = re.compile(
    r"(lr|min-lr|weight-decay|adam|sgd|clip-grad|seed|init-method|save|load|exit|log|tensorboard|wandb|eval|data-|split|"
    r"tokenizer|vocab-file|merge-file|distributed-backend|master|node-rank|rdzv|ckpt|override|no-load|no-save|dist-ckpt|"
    r"timing|job-name|train-data|valid-data|test-data|norm-epsilon|loss-scale|initial-loss|start-weight|end-weight)"
)
_SCRIPTS = {"pretrain_bert": "encoder", "pretrain_t5": "encoder_decoder"}
# No pattern looks further than its line, nor far for an end that may be missing, so that no file takes longer to read
# than it is long; and a variable is short, so that none becomes longer than memory by being filled in.
_LISTED = re.compile(r"^[ \t]*(?:\[[^\]\n]*\]:?[ \t]*|\d+:[ \t]*)?([a-z]\w*) \.{2,} (.+)$", re.MULTILINE)
_ASSIGNED = re.compile(
    r"^[ \t]*(?:export[ \t]+|local[ \t]+)?([A-Za-z_]\w*)=([\"']?)([^\s\"'()$`]{1,200})\2[ \t]*$", re.MULTILINE
)
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]{0,200}))?\}|\$([A-Za-z_]\w*)")


def read_megatron(text: str) -> LaunchConfig:
    """Reads the arguments of a Megatron-LM run.

    Args:
        text: Flags (`--num-layers 32`), alone or in a shell script whose plain variables are filled in; or the list
            that Megatron prints (`num_layers ..... 32`).

    Raises:
        LaunchConfigError: There are no such arguments in it, or one has a value that it cannot have.
    """
    read = LaunchConfig()
    given = dict(_listed(text)) or dict(_flags(text))
    if not given:
        raise LaunchConfigError("no flags like --num-layers 32 in it, nor the argument list that Megatron-LM prints")
    if not {"num-layers", "hidden-size", "encoder-num-layers", "micro-batch-size"} & set(given):
        raise LaunchConfigError("none of its flags is Megatron-LM's: --num-layers, --hidden-size, ... are missing")
    read.fields["software.framework"] = "megatron-lm"
    for option, value in given.items():
        if option not in _TOGETHER:
            _one(read, option, value)
    _together(read, given)
    script = next((family for name, family in _SCRIPTS.items() if name in text), None)
    read.fields["model.family"] = "moe" if "model.experts" in read.fields else script or "decoder"
    read.fields.setdefault("model.tied_embeddings", True)
    read.otherwise(
        tensor_parallel=1, pipeline_parallel=1, context_parallel=1, expert_parallel=1, virtual_pipeline=1,
        recompute="none", sharding="ddp", precision="fp32", optimizer="adamw", offload="none",
    )  # fmt: skip
    return read


def _one(read: LaunchConfig, option: str, value: str) -> None:
    """What one option says by itself. An argument list has all of them, so that off and unset ones say nothing."""
    shown = f"--{option}"
    if value in ("None", "False"):
        return
    if "$" in value:
        read.ignore(shown, f"{value} is a shell variable that the file does not set")
    elif option in _COUNTS:
        read.take(shown, _COUNTS[option], positive(shown, value))
    elif option in _SWITCHES:
        read.take(shown, *_SWITCHES[option])
    elif option in _CHOICES:
        name, meanings = _CHOICES[option]
        if value in meanings:
            read.take(shown, name, meanings[value])
        else:
            read.ignore(shown, f"{value!r} is none of {', '.join(meanings)}")
    else:
        read.ignore(shown, NO_EFFECT if _NO_EFFECT.match(option) else NO_FIELD)


def _together(read: LaunchConfig, given: dict[str, str]) -> None:
    """What options say together, or of each other."""
    fields = read.fields

    def count(option: str) -> float | None:
        value = given.get(option, "None")
        if "$" in value:
            read.ignore(f"--{option}", f"{value} is a shell variable that the file does not set")
            return None
        return None if value == "None" else positive(f"--{option}", value)

    groups = count("num-query-groups")
    if given.get("group-query-attention", "False") != "False" and groups is not None:
        read.take("--num-query-groups", "model.kv_heads", groups)
    elif "model.attention_heads" in fields:
        fields["model.kv_heads"] = fields["model.attention_heads"]
    if (width := count("moe-ffn-hidden-size")) is not None and "model.experts" in fields:
        read.take("--moe-ffn-hidden-size", "model.intermediate_size", width)
    if (shared := count("moe-shared-expert-intermediate-size")) is not None:
        width = number("--ffn-hidden-size", fields.get("model.intermediate_size", shared))
        read.take("--moe-shared-expert-intermediate-size", "model.shared_experts", shared / width)
    if (per_stage := count("num-layers-per-virtual-pipeline-stage")) is not None:
        layers = number("--num-layers", fields.get("model.layers", 0))
        stages = number("--pipeline-model-parallel-size", fields.get("training.pipeline_parallel", 1))
        read.take("--num-layers-per-virtual-pipeline-stage", "training.virtual_pipeline", layers / stages / per_stage)
    _recomputation(read, given, count("recompute-num-layers"))
    _sharding(read, given)
    nodes, per_node = count("nnodes"), fields.get("hardware.per_node")
    if nodes is not None and isinstance(per_node, int | float):
        read.take("--nnodes", "hardware.count", nodes * per_node)
    if (steps := count("train-iters")) is not None:
        batch = fields.get("training.global_batch")
        if isinstance(batch, int | float):
            read.take("--train-iters", "data.samples", steps * batch)
        else:
            read.ignore("--train-iters", "how much that is takes --global-batch-size")


def _recomputation(read: LaunchConfig, given: dict[str, str], again: float | None) -> None:
    """Of a stage's layers, how many are recomputed: in blocks so many, by the uniform method all, so many at a time."""
    method, fields = given.get("recompute-method", "None"), read.fields
    layers = number("--num-layers", fields.get("model.layers", 0))
    if again is not None and method == "block" and fields.get("training.recompute") == "full" and layers > 0:
        stages = number("--pipeline-model-parallel-size", fields.get("training.pipeline_parallel", 1))
        options = "--recompute-method, --recompute-num-layers"
        read.take(options, "training.recompute_share", min(again * stages / layers, 1.0))
        return
    for option in ("recompute-method", "recompute-num-layers"):
        if given.get(option, "None") != "None":
            read.ignore(f"--{option}", NO_EFFECT if method == "uniform" else NO_FIELD)


def _sharding(read: LaunchConfig, given: dict[str, str]) -> None:
    """What replicas share: the kind of FSDP that is switched on says it before the distributed optimizer does."""
    on = next((option for option in _SHARDED if given.get(option, "False") != "False"), None)
    if on in ("use-megatron-fsdp", "use-custom-fsdp"):
        strategy = given.get("data-parallel-sharding-strategy", "no_shard")
        read.take(f"--{on}, --data-parallel-sharding-strategy", "training.sharding", _STRATEGIES.get(strategy, "zero3"))
    elif on is not None:
        read.take(f"--{on}", "training.sharding", "fsdp" if on == "use-torch-fsdp2" else "zero1")


def _listed(text: str) -> Iterator[tuple[str, str]]:
    """The options of a printed argument list."""
    for name, value in _LISTED.findall(text):
        yield name.replace("_", "-"), value.strip()


def _flags(text: str) -> Iterator[tuple[str, str]]:
    """The flags of a command line or script, and the word after each; of one that is given twice, the last counts."""
    plain = re.sub(r"(^|\s)#.*", r"\1", text.replace("\\\n", " "))
    variables = {name: value for name, _, value in _ASSIGNED.findall(plain)}

    def filled(found: re.Match[str]) -> str:
        name = found.group(1) or found.group(3)
        return variables.get(name) or str(found.group(2) or found.group(0))

    words = re.sub(r"[\"'()]", " ", _VARIABLE.sub(filled, plain)).split()
    for word, following in itertools.pairwise([*words, "--"]):
        flag, equals, value = word.partition("=")
        if re.fullmatch(r"--[A-Za-z][\w-]*", flag):
            yield flag[2:].replace("_", "-"), value if equals else ("" if following.startswith("--") else following)

"""What is made of the files that other frameworks launch a run with."""

import json

import pytest

from service.catalog.catalog import load_catalog
from service.catalog.resolve import resolve
from service.configuration import Configuration
from service.launch_configs import READERS, LaunchConfig, LaunchConfigError

MEGATRON_SCRIPT = r"""
#!/bin/bash
# Trains a 70B model with grouped queries.
export CUDA_DEVICE_MAX_CONNECTIONS=1
GPUS_PER_NODE=8
TP=8
PP="${PP:-4}"
DISTRIBUTED_ARGS=(
    --nproc_per_node $GPUS_PER_NODE
    --nnodes 16
    --master_addr $MASTER_ADDR
)
MODEL_ARGS=(
    --num-layers 80 --hidden-size 8192 --ffn-hidden-size 28672   # as published
    --num-attention-heads 64 --group-query-attention --num-query-groups 8
    --seq-length 4096 --max-position-embeddings 4096
    --swiglu --normalization RMSNorm --untie-embeddings-and-output-weights
)
TRAINING_ARGS="
    --micro-batch-size 1 \
    --global-batch-size=1024 \
    --train-iters 500000 \
    --lr 1.5e-4 --weight-decay 0.1 --clip-grad 1.0 \
    --bf16 --optimizer adam
"
torchrun ${DISTRIBUTED_ARGS[@]} pretrain_gpt.py ${MODEL_ARGS[@]} $TRAINING_ARGS \
    --tensor-model-parallel-size $TP --pipeline-model-parallel-size ${PP:-4} --sequence-parallel \
    --num-layers-per-virtual-pipeline-stage 5 --context-parallel-size $CP \
    --use-distributed-optimizer --recompute-granularity selective \
    --tokenizer-type Llama2Tokenizer --data-path $DATA --save-interval 1000
"""
MEGATRON_LOG = """
using world size: 64, data-parallel size: 8, tensor-model-parallel size: 8, pipeline-model-parallel size: 1
------------------------ arguments ------------------------
  adam_beta1 ...................................... 0.9
  bf16 ............................................ True
  context_parallel_size ........................... 1
  data_parallel_sharding_strategy ................. no_shard
  ffn_hidden_size ................................. 14336
  fp16 ............................................ False
  fp8 ............................................. hybrid
  global_batch_size ............................... 256
  group_query_attention ........................... True
  hidden_size ..................................... 4096
  micro_batch_size ................................ 2
  moe_router_topk ................................. 2
  num_attention_heads ............................. 32
  num_experts ..................................... 8
  num_layers ...................................... 32
  num_query_groups ................................ 8
  recompute_granularity ........................... None
  seq_length ...................................... 8192
  tensor_model_parallel_size ...................... 8
  use_distributed_optimizer ....................... True
  world_size ...................................... 64
-------------------- end of arguments ---------------------
"""
DEEPSPEED = {
    "train_batch_size": 512,
    "train_micro_batch_size_per_gpu": 4,
    "gradient_accumulation_steps": "auto",
    "bf16": {"enabled": True},
    "fp16": {"enabled": False, "loss_scale": 0},
    "optimizer": {"type": "AdamW", "params": {"lr": 1e-4}},
    "zero_optimization": {
        "stage": 3,
        "offload_optimizer": {"device": "cpu", "pin_memory": True},
        "offload_param": {"device": "none"},
        "overlap_comm": True,
    },
    "activation_checkpointing": {"partition_activations": True},
}
TORCHTITAN = """
[job]
description = "Llama 3 70B training"
[model]
name = "llama3"
flavor = "70B"
converters = ["quantize.linear.float8"]
[optimizer]
name = "AdamW"
lr = 1.5e-4
[training]
local_batch_size = 8
global_batch_size = 2048
seq_len = 8192
steps = 1000
dataset = "c4"
[parallelism]
data_parallel_replicate_degree = 2
data_parallel_shard_degree = 16
tensor_parallel_degree = 8
context_parallel_degree = 1
enable_async_tensor_parallel = true
[activation_checkpoint]
mode = "full"
[compile]
enable = true
[quantize.linear.float8]
recipe_name = "rowwise"
"""
LLAMA = {
    "_name_or_path": "somebody/llama", "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "tie_word_embeddings": False, "rope_theta": 500000.0, "bos_token_id": 1,
}  # fmt: skip
FILES = {
    "megatron": MEGATRON_SCRIPT, "deepspeed": json.dumps(DEEPSPEED), "torchtitan": TORCHTITAN,
    "huggingface": json.dumps(LLAMA),
}  # fmt: skip
COUNTS = {"megatron": 128, "deepspeed": 128, "torchtitan": 256, "huggingface": 1}
"""Accelerators that these runs are split for."""


def reasons(read: LaunchConfig) -> dict[str, str]:
    return {item.option: item.reason for item in read.ignored}


def test_a_megatron_script_with_its_variables() -> None:
    read = READERS["megatron"](MEGATRON_SCRIPT)
    assert read.fields == {
        "software.framework": "megatron-lm",
        "model.family": "decoder", "model.layers": 80, "model.hidden_size": 8192, "model.intermediate_size": 28672,
        "model.attention_heads": 64, "model.kv_heads": 8, "model.max_sequence_length": 4096, "model.gated_mlp": True,
        "model.tied_embeddings": False,
        "data.sequence_length": 4096, "data.samples": 512_000_000,
        "hardware.per_node": 8, "hardware.count": 128,
        "training.micro_batch": 1, "training.global_batch": 1024, "training.precision": "bf16",
        "training.optimizer": "adamw", "training.tensor_parallel": 8, "training.pipeline_parallel": 4,
        "training.virtual_pipeline": 4, "training.sharding": "zero1", "training.recompute": "selective",
    }  # fmt: skip
    ignored = reasons(read)
    assert "does not set" in ignored["--context-parallel-size"]
    assert "step" in ignored["--lr"]
    assert {"--sequence-parallel", "--tokenizer-type", "--data-path", "--normalization"} <= set(ignored)


def test_the_argument_list_of_a_megatron_log() -> None:
    read = READERS["megatron"](MEGATRON_LOG)
    assert read.fields["model.family"] == "moe"
    assert read.fields["model.experts_per_token"] == 2
    assert read.fields["model.kv_heads"] == 8
    assert read.fields["hardware.count"] == 64
    assert read.fields["training.precision"] == "fp8"
    assert read.fields["training.sharding"] == "zero1"
    assert "training.recompute" not in read.fields


def test_a_deepspeed_configuration() -> None:
    read = READERS["deepspeed"](json.dumps(DEEPSPEED))
    assert read.fields == {
        "software.framework": "deepspeed",
        "training.global_batch": 512, "training.micro_batch": 4, "training.precision": "bf16",
        "training.optimizer": "adamw", "training.sharding": "zero3", "training.offload": "cpu",
    }  # fmt: skip
    ignored = reasons(read)
    assert "auto" in ignored["gradient_accumulation_steps"]
    assert "training.recompute" in ignored["activation_checkpointing.partition_activations"]


def test_a_torchtitan_job() -> None:
    read = READERS["torchtitan"](TORCHTITAN)
    assert read.fields == {
        "software.framework": "torchtitan", "software.compile": True,
        "model.name": "llama3-70b",
        "data.name": "c4", "data.sequence_length": 8192, "data.tokens": 1000 * 2048 * 8192,
        "training.micro_batch": 8, "training.global_batch": 2048, "training.precision": "fp8",
        "training.fp8_recipe": "rowwise", "training.optimizer": "adamw", "training.recompute": "full",
        "training.tensor_parallel": 8, "training.context_parallel": 1, "training.data_parallel": 32,
        "training.sharding": "hsdp", "training.sharding_group": 16,
    }  # fmt: skip
    assert "parallelism.enable_async_tensor_parallel" in reasons(read)
    assert read.defaults == {
        "training.pipeline_parallel": 1, "training.expert_parallel": 1, "training.virtual_pipeline": 1,
        "training.offload": "none",
    }  # fmt: skip


def test_how_many_layers_are_recomputed() -> None:
    flags = "--num-layers 32 --pipeline-model-parallel-size 4 --recompute-granularity full --recompute-num-layers 2"
    blocks = READERS["megatron"](f"{flags} --recompute-method block")
    assert (blocks.fields["training.recompute"], blocks.fields["training.recompute_share"]) == ("full", 0.25)
    uniform = READERS["megatron"](f"{flags} --recompute-method uniform")
    assert "training.recompute_share" not in uniform.fields
    assert {"--recompute-method", "--recompute-num-layers"} <= set(reasons(uniform))
    job = '[model]\nname = "llama3"\n[activation_checkpoint]\nmode = "selective"\nselective_ac_option = '
    layers = READERS["torchtitan"](job + '"4"').fields
    assert (layers["training.recompute"], layers["training.recompute_share"]) == ("full", 0.25)
    operations = READERS["torchtitan"](job + '"op"')
    assert operations.fields["training.recompute"] == "selective"
    assert "training.recompute_share" not in operations.fields


def test_what_the_options_leave_out_is_what_the_framework_does() -> None:
    job = '[model]\nname = "llama3"\nflavor = "8B"\n[parallelism]\npipeline_parallel_degree = 4\n'
    left_out = READERS["torchtitan"](job).defaults
    assert (left_out["training.recompute"], left_out["training.recompute_share"]) == ("full", 0.5)
    assert left_out["training.virtual_pipeline"] == 1
    looped = READERS["torchtitan"](job + 'pipeline_parallel_schedule = "Interleaved1F1B"').defaults
    assert "training.virtual_pipeline" not in looped
    flags = "--num-layers 32 --pipeline-model-parallel-size 4"
    assert READERS["megatron"](flags).defaults["training.virtual_pipeline"] == 1
    assert READERS["deepspeed"]('{"train_batch_size": 64}').defaults["training.sharding"] == "ddp"


@pytest.mark.parametrize(
    ("name", "flavor", "known"),
    [
        ("llama3", "8B", "llama-3-8b"),
        ("deepseek_v3", "671B", "deepseek-v3-671b"),
        ("llama4", "17bx16e", "llama-4-scout-17b-16e"),
        ("qwen3", "32B", "qwen3-32b"),
    ],
)
def test_the_models_of_torchtitan_are_in_the_catalog(name: str, flavor: str, known: str) -> None:
    read = READERS["torchtitan"](f'[model]\nname = "{name}"\nflavor = "{flavor}"')
    found = load_catalog().model(str(read.fields["model.name"]))
    assert found is not None
    assert found.name == known


def test_a_published_model() -> None:
    read = READERS["huggingface"](json.dumps(LLAMA))
    assert {"model.kv_heads": 8, "model.layers": 32}.items() <= {
        item.field: item.value for item in read.understood
    }.items()
    assert set(reasons(read)) == {"_name_or_path", "rope_theta", "bos_token_id"}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_read_is_a_configuration_that_can_run(kind: str) -> None:
    read = READERS[kind](FILES[kind])
    chips = {"hardware.accelerator": "H100-SXM5-80GB", "hardware.count": COUNTS[kind], "hardware.per_node": 8}
    model = {} if any(name.startswith("model.") for name in read.fields) else {"model.name": "llama-2-70b"}
    configuration = Configuration.from_flat({**chips, **model, **read.defaults, **read.fields})
    resolve(configuration.flat(), load_catalog(), measured=False)


@pytest.mark.parametrize("kind", FILES)
def test_every_option_is_accounted_for_once(kind: str) -> None:
    read = READERS[kind](FILES[kind])
    understood = {option for item in read.understood for option in item.option.split(", ")}
    assert not understood & set(reasons(read))
    assert len(reasons(read)) == len(read.ignored)


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("megatron", "", "--num-layers"),
        ("megatron", "torchrun train.py --model_name_or_path gpt2 --bf16", "Megatron-LM's"),
        ("megatron", "--num-layers many --hidden-size 8", "--num-layers: 'many' is no number"),
        ("megatron", "--num-layers 8 --hidden-size 0", "not above 0"),
        ("deepspeed", "train_batch_size: 4", "not JSON"),
        ("deepspeed", "[]", "JSON object"),
        ("deepspeed", '{"model": 3}', "train_batch_size"),
        ("deepspeed", '{"zero_optimization": {"stage": 4}}', "zero_optimization.stage: 4"),
        ("torchtitan", "a = ", "not TOML"),
        ("torchtitan", "[tool]\nx = 1", "[model]"),
        ("torchtitan", '[training]\nseq_len = "long"', "training.seq_len"),
        ("huggingface", '{"model_type": "llama"', "not JSON"),
        ("huggingface", '{"model_type": "made-up"}', "hidden_size"),
    ],
)
def test_a_bad_file_is_told_what_is_wrong(kind: str, text: str, says: str) -> None:
    with pytest.raises(LaunchConfigError) as wrong:
        READERS[kind](text)
    assert says in str(wrong.value)

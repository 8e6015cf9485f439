"""The vocabulary: what a training run is, in five objects, and what was observed of it.

One set of names serves JSON bodies, dotted CSV columns, the database and the engine. A measurement is a configuration
and what was observed; an estimate is a configuration and what is predicted. Counts are plain counts (8e9, not 8),
``_gb`` is 10^9 bytes, ``_gbs`` 10^9 bytes a second, ``_tflops`` 10^12 floating-point operations a second. Nothing is
filled in here: a field that nobody stated stays absent.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from service.field_types import (
    AS_MODE,
    AS_PRECISION,
    AS_SHARDING,
    LOWERED,
    PLAIN_JSON,
    Basis,
    Count,
    CountOrZero,
    Family,
    Fp8Recipe,
    Mode,
    Name,
    Plain,
    Precision,
    Sharding,
    Share,
    Text,
    TokenUnit,
    Unit,
    Word,
)
from service.suggestions import closest_field


class Section(BaseModel):
    """One of the objects; unknown fields are refused, for a typo must not silently change a prediction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def stated(self) -> dict[str, Any]:
        """The fields that were stated, by name; a field given as null counts as not stated.

        No field has another default than null, and pydantic keeps fields in the order of their declaration.
        """
        return {name: value for name, value in vars(self).items() if value is not None}


class Model(Section):
    """What is trained: a name that the catalog knows, or a shape, or a cost per sample."""

    name: Name | None = Field(
        None, description="Catalog name, alias or free text.", examples=["llama-3-8b", "resnet-50"]
    )
    family: Family | None = Field(None, description="Kind of model.", examples=["decoder"])
    parameters: Count | None = Field(None, description="All weights, count (not billions).", examples=[8.03e9])
    active_parameters: Count | None = Field(
        None, description="Weights that one token uses, count; mixture-of-experts models.", examples=[12.9e9]
    )
    layers: Count | None = Field(
        None, description="Layers; encoder and decoder together. Also of recurrent nets.", examples=[32]
    )
    encoder_layers: CountOrZero | None = Field(None, description="Layers of the encoder.", examples=[12])
    decoder_layers: CountOrZero | None = Field(None, description="Layers of the decoder.", examples=[12])
    hidden_size: Count | None = Field(None, description="Width of a layer.", examples=[4096])
    attention_heads: Count | None = Field(None, description="Query heads of a layer.", examples=[32])
    kv_heads: Count | None = Field(
        None, description="Key-value heads of a layer (grouped-query attention).", examples=[8]
    )
    head_dim: Count | None = Field(
        None, description="Width of a head where not hidden_size / attention_heads.", examples=[128]
    )
    intermediate_size: Count | None = Field(
        None,
        description="Width of the feed-forward layer; of one expert in mixture-of-experts models.",
        examples=[14336],
    )
    gated_mlp: StrictBool | None = Field(
        None, description="Whether the feed-forward layer is gated (SwiGLU, GEGLU).", examples=[True]
    )
    vocab_size: Count | None = Field(None, description="Entries of the vocabulary.", examples=[128256])
    tied_embeddings: StrictBool | None = Field(
        None, description="Whether input and output embedding share weights.", examples=[False]
    )
    experts: CountOrZero | None = Field(None, description="Routed experts of a layer.", examples=[8])
    experts_per_token: CountOrZero | None = Field(
        None, description="Routed experts that one token visits.", examples=[2]
    )
    shared_experts: CountOrZero | None = Field(None, description="Experts that every token visits.", examples=[1])
    dense_layers: CountOrZero | None = Field(None, description="Layers without experts.", examples=[3])
    sliding_window: Count | None = Field(
        None, description="Tokens that attention looks back, where limited.", examples=[4096]
    )
    windowed_layers: CountOrZero | None = Field(
        None, description="Layers that the sliding window limits, where not all (Gemma 3: 5 of 6).", examples=[40]
    )
    attention_layers: CountOrZero | None = Field(
        None, description="Layers with attention, where others have none (hybrids with state spaces).", examples=[4]
    )
    max_sequence_length: Count | None = Field(
        None, description="Longest sequence that positions allow, tokens.", examples=[8192]
    )
    forward_gmacs: Count | None = Field(
        None, description="10^9 multiply-accumulates of one forward pass of one sample.", examples=[4.11]
    )
    activations: Count | None = Field(
        None, description="Elements written in one forward pass of one sample.", examples=[11.1e6]
    )
    huggingface_config: Annotated[dict[str, Any], PLAIN_JSON] | None = Field(
        None,
        description="A config.json as published, instead of the shape fields.",
        examples=[{"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}],
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(value is None for value in vars(self).values()):
            raise PydanticCustomError(
                "model_missing", "give model.name, a shape, parameters, forward_gmacs or huggingface_config"
            )
        return self


class Data(Section):
    """What it is trained on: the size of one sample, and how much there is."""

    name: Name | None = Field(None, description="A known data set.", examples=["imagenet-1k", "c4", "squad"])
    sequence_length: Count | None = Field(
        None, description="Tokens of one sample; a mean may be fractional.", examples=[4096]
    )
    image_size: Count | None = Field(None, description="Pixels of one side, the shorter one.", examples=[224])
    input: Literal["real", "synthetic"] | None = Field(
        None, description="Whether samples are read and prepared or made up on the accelerator.", examples=["real"]
    )
    maximum_length: Count | None = Field(
        None,
        description="Tokens that longer texts are cut or left out at, where samples vary in length.",
        examples=[2048],
    )
    token_unit: TokenUnit | None = Field(
        None, description="What counts as one token where it is not a piece of the one text.", examples=["mel_frame"]
    )
    packing: Literal["none", "packed", "unpadded"] | None = Field(
        None, description="Whether several texts share one sequence, or padding is left out.", examples=["packed"]
    )
    tokens: Count | None = Field(
        None, description="Tokens to train on, all epochs together if epochs is absent.", examples=[300e9]
    )
    samples: Count | None = Field(
        None, description="Samples to train on (of one epoch where epochs is given).", examples=[1281167]
    )
    epochs: Count | None = Field(None, description="Passes over samples or tokens.", examples=[90])


class Hardware(Section):
    """What it runs on."""

    accelerator: Name = Field(
        description="Catalog slug, or what a driver, framework or cloud calls the chip.",
        examples=["H100-SXM5-80GB", "NVIDIA A100-SXM4-80GB", "p4d.24xlarge"],
    )
    count: Count | None = Field(None, description="Accelerators in all; 0.5 is one tile of two.", examples=[256])
    per_node: Count | None = Field(None, description="Accelerators in one machine.", examples=[8])
    nodes: Count | None = Field(
        None, description="Machines, where they are not alike (12 accelerators over 4).", examples=[4]
    )
    interconnect: Name | None = Field(
        None,
        description="How they are wired: names of the links' catalog, or free text, which is read as far as it is "
        "understood (a warning says of what is not).",
        examples=["NVLink; 8x ConnectX-7 IB NDR 400Gb/s"],
    )
    inter_node_gbs: Count | None = Field(
        None, description="Network between machines, GB/s per accelerator in one direction.", examples=[50]
    )


class Training(Section):
    """How it is trained: what learns, in which numbers, in which batches, split in which way."""

    mode: Annotated[Mode, AS_MODE] | None = Field(
        None, description="What is trained; fwd_bwd is a step without optimizer.", examples=["pretrain"]
    )
    trainable_parameters: CountOrZero | None = Field(
        None, description="Weights that learn, count; for lora, qlora and frozen.", examples=[4194304]
    )
    adapter: Word | None = Field(None, description="Kind of adapter.", examples=["lora", "dora", "adalora"])
    optimizer: Word | None = Field(
        None, description="Optimizer.", examples=["adamw", "sgd", "adafactor", "lion", "muon"]
    )
    precision: Annotated[Precision, AS_PRECISION] | None = Field(
        None,
        description="Number format of the matrix products; bfloat16, mxfp8 and the like are understood.",
        examples=["bf16"],
    )
    weight_precision: Annotated[Literal["fp32", "fp16", "bf16", "fp8", "mixed"], AS_PRECISION] | None = Field(
        None,
        description="Number format the weights are kept in: fp32 under automatic mixed precision; mixed is half "
        "precision with an fp32 master copy.",
        examples=["fp32"],
    )
    fp8_recipe: Annotated[Fp8Recipe, LOWERED] | None = Field(
        None, description="How 8- and 4-bit numbers are scaled.", examples=["mxfp8"]
    )
    objective: Annotated[Literal["sft", "dpo", "reward", "ppo"], LOWERED] | None = Field(
        None,
        description="What fine-tuning optimises; dpo, reward and ppo compute pairs or a second model.",
        examples=["dpo"],
    )
    global_batch: Count | None = Field(
        None, description="Samples of one optimizer step, over all accelerators.", examples=[1024]
    )
    micro_batch: Count | None = Field(None, description="Samples that one replica computes at once.", examples=[1])
    gradient_accumulation: Count | None = Field(None, description="Micro-batches of one optimizer step.", examples=[16])
    tensor_parallel: Count | None = Field(None, description="Ways that a layer's matrices are split.", examples=[8])
    pipeline_parallel: Count | None = Field(None, description="Stages that the layers are split into.", examples=[4])
    data_parallel: Count | None = Field(None, description="Replicas.", examples=[16])
    context_parallel: Count | None = Field(None, description="Ways that a sequence is split.", examples=[2])
    expert_parallel: Count | None = Field(None, description="Ways that the experts are split.", examples=[8])
    virtual_pipeline: Count | None = Field(
        None, description="Model chunks of one pipeline stage (interleaving).", examples=[6]
    )
    sharding: Annotated[Sharding, AS_SHARDING] | None = Field(
        None, description="What replicas share out among them.", examples=["zero1"]
    )
    sharding_group: Count | None = Field(
        None,
        description="Accelerators that one copy of the sharded states is spread over, where not all.",
        examples=[8],
    )
    variable_update: Literal["replicated", "parameter_server", "single_process"] | None = Field(
        None,
        description="Where weights are updated: on each accelerator, on parameter servers, or on the first of the "
        "accelerators that a single process drives (torch.nn.DataParallel).",
        examples=["replicated"],
    )
    recompute: Literal["none", "selective", "full"] | None = Field(
        None, description="Activations computed again in the backward pass.", examples=["selective"]
    )
    recompute_share: Share | None = Field(
        None,
        description="Share of the layers that full recomputation computes again; all if left out. Without `recompute`, "
        "it says that whole layers are.",
        examples=[0.5],
    )
    offload: Literal["none", "cpu", "nvme"] | None = Field(
        None, description="Where optimizer states live.", examples=["none"]
    )


class Software(Section):
    """What runs it."""

    framework: Name | None = Field(None, description="Framework.", examples=["megatron-lm", "nemo", "pytorch"])
    framework_version: Name | None = Field(None, description="Its version or release.", examples=["2.4.0"])
    attention: Annotated[Literal["flash", "flash2", "flash3", "sdpa", "fused", "math"], LOWERED] | None = Field(
        None, description="Attention kernel.", examples=["flash2"]
    )
    compile: StrictBool | None = Field(
        None, description="Whether the graph is compiled (XLA, torch.compile).", examples=[False]
    )
    cuda_graphs: Literal["none", "partial", "full"] | None = Field(
        None, description="How much of a step is replayed as a recorded graph.", examples=["full"]
    )
    kernel_library: Word | None = Field(
        None,
        description="Library of the convolutions or matrix products, where there is a choice.",
        examples=["cudnn", "onednn"],
    )
    memory_format: Literal["contiguous", "channels_last"] | None = Field(
        None, description="Order of image tensors in memory.", examples=["channels_last"]
    )


class Provenance(Section):
    """Where a measurement comes from."""

    source: Name | None = Field(
        None, description="Name of the source, as in /v1/sources.", examples=["mlperf-training-v4.0"]
    )
    locator: Text | None = Field(None, description="Where in the source.", examples=["docs/perf.md#L40"])
    measured_on: Annotated[str, StringConstraints(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")] | None = Field(
        None, description="Year, month or day; not one to come.", examples=["2024-05"]
    )
    evidence: Literal["vendor", "paper", "independent", "log"] | None = Field(
        None, description="Kind of evidence.", examples=["log"]
    )
    notes: Text | None = Field(None, description="Anything else worth knowing.", examples=["median of five runs"])


class Result(Section):
    """What was observed."""

    value: Count | None = Field(None, description="The speed, in the stated unit.", examples=[2.86])
    unit: Unit | None = Field(
        None,
        description="Unit of the value: of the whole job, unless its name says per accelerator; hours, minutes and "
        "accelerator_hours are of the whole run over data.tokens or data.samples.",
        examples=["samples_per_second"],
    )
    basis: Basis | None = Field(
        None,
        description="What was timed: steady steps, logged throughput, training epochs, or a whole run with or without "
        "its evaluation; with_warm_up includes the first slow steps.",
        examples=["steps"],
    )
    model_tflops: Count | None = Field(
        None, description="Model TFLOP/s per accelerator, where reported too.", examples=[398]
    )
    mfu: Annotated[float, Field(ge=0, le=5, allow_inf_nan=False, strict=True)] | None = Field(
        None, description="Model FLOP utilisation as a fraction, where reported too.", examples=[0.4]
    )
    peak_memory_gb: Count | None = Field(
        None, description="Peak memory of one accelerator, GB (10^9 bytes).", examples=[71.2]
    )
    out_of_memory: StrictBool | None = Field(None, description="True where the run did not fit.", examples=[False])


class Configuration(BaseModel):
    """A training run as it is asked about: model and accelerator are needed, all else is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Model
    data: Data = Data()
    hardware: Hardware
    training: Training = Training()
    software: Software = Software()

    def flat(self) -> dict[str, object]:
        """The stated fields under their dotted names (``model.layers``), in the order of the vocabulary."""
        return flatten(self, SECTIONS) | {
            name: value for name in TOP_LEVEL if (value := getattr(self, name, None)) is not None
        }

    @classmethod
    def from_flat(cls, fields: Mapping[str, object]) -> Self:
        """Build from dotted names. Raises ``pydantic.ValidationError``; see ``unknown_field`` for names it lacks."""
        return cls.model_validate(nest(fields))


class Measurement(Configuration):
    """A configuration as it was run, and what was observed."""

    provenance: Provenance = Provenance()
    result: Result
    visibility: Literal["shared", "team"] | None = Field(None, description="Who may see it.", examples=["team"])
    estimate_id: Name | None = Field(
        None, description="The estimate that this run was predicted by.", examples=["e_9f86d081884c7d659a2feaa0"]
    )
    site: Annotated[Plain, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = Field(
        None, description="Where it ran, a name within the team; the team's own name if absent.", examples=["lab-2"]
    )

    @model_validator(mode="after")
    def _observed_something(self) -> Self:
        if self.result.value is None and not self.result.out_of_memory:
            raise PydanticCustomError("result_missing", "give result.value with result.unit, or result.out_of_memory")
        if (self.result.value is None) != (self.result.unit is None) and not self.result.out_of_memory:
            raise PydanticCustomError("unit_missing", "result.value and result.unit belong together")
        return self


SECTIONS: dict[str, type[Section]] = {
    "provenance": Provenance,
    "model": Model,
    "data": Data,
    "hardware": Hardware,
    "training": Training,
    "software": Software,
    "result": Result,
}
TOP_LEVEL = ("visibility", "estimate_id", "site")
FIELDS: tuple[str, ...] = (
    *(f"{section}.{name}" for section, kind in SECTIONS.items() for name in kind.model_fields),
    *TOP_LEVEL,
)
"""Every dotted name of a measurement, in the order of columns."""

_DOTTED = {section: {name: f"{section}.{name}" for name in kind.model_fields} for section, kind in SECTIONS.items()}

CONFIGURATION_FIELDS: tuple[str, ...] = tuple(
    name for name in FIELDS if name.partition(".")[0] in Configuration.model_fields
)
"""The dotted names of a configuration."""


def suggest_field(name: str) -> str | None:
    """The field that an unknown dotted or bare name most likely means, e.g. ``seq_len`` → ``data.sequence_length``."""
    return closest_field(name, FIELDS)


def unknown_field(name: str) -> str:
    """The message for a name that the vocabulary lacks, with the way out."""
    meant = suggest_field(name)
    way_out = f"did you mean {meant!r}?" if meant else "see the schema of a configuration for the fields there are"
    return f"unknown field {name!r}: {way_out}"


def nest(fields: Mapping[str, object]) -> dict[str, Any]:
    """Dotted names → nested objects. A name without a dot stays at the top."""
    nested: dict[str, Any] = {}
    for name, value in fields.items():
        section, dot, field = name.partition(".")
        if dot:
            nested.setdefault(section, {})[field] = value
        else:
            nested[name] = value
    return nested


def flatten(whole: Configuration, sections: Iterable[str]) -> dict[str, object]:
    """What is stated in some sections under its dotted names, in the order of the vocabulary."""
    flat: dict[str, object] = {}
    for section in sections:
        part = getattr(whole, section, None)
        if part is not None:
            names = _DOTTED[section]
            flat.update({names[name]: value for name, value in vars(part).items() if value is not None})
    return flat

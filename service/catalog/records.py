"""The rows of the reference tables in ``service/data``, typed.

One frozen class a table. A number that nobody states is NaN, a text that nobody states is empty, so that a
record never has to be asked twice. Units are in the names: ``_gb`` = 10^9 bytes, ``_gbs`` = 10^9 bytes a second,
``_tflops`` = 10^12 dense floating-point operations a second (fp32 accumulate, no sparsity).
"""

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

DATA = Path(__file__).resolve().parent.parent / "data"

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A chip, or what its software calls one device (a TPU chip, an MI250 module, a two-socket CPU machine)."""

    slug: str
    vendor: str
    kind: str
    year: float
    fp32_tflops: float
    tf32_tflops: float
    fp16_tflops: float
    bf16_tflops: float
    fp8_tflops: float
    fp4_tflops: float
    memory_gb: float
    memory_bandwidth_gbs: float
    link_gbs_bidirectional: float
    tdp_w: float
    aliases: tuple[str, ...]
    note: str
    source: str

    def peak_tflops(self, precision: str) -> float:
        """Dense peak in TFLOP/s at a precision (fp32, tf32, fp16, bf16, fp8, fp4); NaN if unsupported or unknown."""
        peaks = {
            "fp32": self.fp32_tflops,
            "tf32": self.tf32_tflops,
            "fp16": self.fp16_tflops,
            "bf16": self.bf16_tflops,
            "fp8": self.fp8_tflops,
            "fp4": self.fp4_tflops,
        }
        return peaks.get(precision, math.nan)


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A published model: its shape where it is a Transformer or recurrent, its cost per sample where it is not.

    Counts are plain counts. ``forward_gmacs`` is 10^9 multiply-accumulates of one forward pass of one sample at
    ``image_size`` (pixels a side) or ``sequence_length`` (tokens); ``activations`` is elements written forward.
    """

    name: str
    aliases: tuple[str, ...]
    family: str
    parameters: float
    active_parameters: float
    forward_gmacs: float
    activations: float
    layers: float
    hidden_size: float
    attention_heads: float
    kv_heads: float
    head_dim: float
    intermediate_size: float
    gated_mlp: bool | None
    vocab_size: float
    tied_embeddings: bool | None
    experts: float
    experts_per_token: float
    shared_experts: float
    dense_layers: float
    sliding_window: float
    windowed_layers: float
    attention_layers: float
    max_sequence_length: float
    sequence_length: float
    image_size: float
    encoder_layers: float
    decoder_layers: float
    year: float
    source: str
    note: str

    def stated(self) -> dict[str, object]:
        """The model's known fields by name (without aliases, year, source, note), unknown ones left out."""
        return {
            name: value
            for name in MODEL_FIELDS
            if (value := getattr(self, name)) is not None and value != "" and value == value  # NaN differs from itself
        }


@dataclass(frozen=True, slots=True)
class Launches:
    """Operations of one forward pass of a model (by its catalog name) that write anything, whatever the batch."""

    model: str
    kernels: float
    source: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set: how many samples or tokens, of what size. ``bytes`` is bytes on disk."""

    name: str
    aliases: tuple[str, ...]
    samples: float
    tokens: float
    unit: str
    typical_sample: str
    bytes: float
    used_for: str
    source: str
    note: str


@dataclass(frozen=True, slots=True)
class Interconnect:
    """A link: GB/s per accelerator in one direction and latency in microseconds; ``kind`` is intra or inter (node)."""

    name: str
    kind: str
    per_gpu_unidirectional_gbs: float
    latency_us: float
    used_in: str
    source: str
    note: str


@dataclass(frozen=True, slots=True)
class Price:
    """What one hour of an instance costs in USD, and of one of its accelerators."""

    provider: str
    instance: str
    accelerator: str
    accelerators: float
    usd_per_hour_instance: float
    usd_per_accelerator_hour: float
    kind: str
    region: str
    date: str
    source: str


@dataclass(frozen=True, slots=True)
class Grid:
    """Grams of CO2-equivalent per kWh of a region's electricity, and the year they are of (NaN: not stated)."""

    region: str
    region_name: str
    kind: str
    gco2e_per_kwh: float
    year: float
    source: str


@dataclass(frozen=True, slots=True)
class Region:
    """A cloud region and the grid (``Grid.region``) its data centres draw from."""

    provider: str
    region: str
    grid: str
    place: str


@dataclass(frozen=True, slots=True)
class Pue:
    """Power usage effectiveness of a provider in a year: facility power over machine power."""

    provider: str
    pue: float
    year: float
    source: str


@dataclass(frozen=True, slots=True)
class MatmulFigure:
    """The best matrix-multiplication rate measured on a chip, in TFLOP/s."""

    accelerator: str
    dtype: str
    measured_tflops: float
    theoretical: float
    shape: str
    notes: str
    locator: str
    measured_on: str
    source_id: str

    @property
    def superseded(self) -> bool:
        """True where the source itself has since published another figure for the same chip and type."""
        return self.notes.startswith("SUPERSEDED")


@dataclass(frozen=True, slots=True)
class Fact:
    """One published constant: its topic and key, its value with a unit, in which context, and where it stands."""

    topic: str
    key: str
    value: str
    unit: str
    context: str
    source: str
    quote_locator: str
    note: str

    @property
    def number(self) -> float:
        """The value as a number; NaN where it is text."""
        return _number(self.value, strict=False)


@dataclass(frozen=True, slots=True)
class Source:
    """Where measurements come from. Editions of one benchmark share a lineage."""

    source: str
    title: str
    publisher: str
    reference: str
    commit: str
    date: str
    licence: str
    lineage: str


MODEL_FIELDS: tuple[str, ...] = tuple(
    field.name for field in fields(CatalogModel) if field.name not in {"aliases", "year", "source", "note"}
)


def _number(text: str, *, strict: bool = True) -> float:
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        if strict:
            raise
        return math.nan


def _truth(text: str) -> bool | None:
    return None if not text else text == "true"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split("|") if name)


def _converter(annotation: object) -> Callable[[str], Any]:
    if annotation is float:
        return _number
    if annotation is str:
        return str
    if annotation == tuple[str, ...]:
        return _names
    return _truth


def read_records(record: type[Record], path: Path) -> Iterator[Record]:
    """Read a CSV whose header names the fields of ``record``; columns that the record lacks are an error.

    Raises ``ValueError`` with file and line where a cell is not what its field says.
    """
    declared = {field.name: _converter(field.type) for field in fields(record)}  # type: ignore[arg-type]
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.reader(stream)
        header = next(rows)
        if set(header) != set(declared):
            raise ValueError(f"{path.name}: columns {sorted(set(header) ^ set(declared))} are unknown or missing")
        converters = [declared[name] for name in header]
        order = [header.index(name) for name in declared]
        for row in rows:
            try:
                values = [convert(cell) for convert, cell in zip(converters, row, strict=True)]
            except ValueError as error:
                raise ValueError(f"{path.name}, line {rows.line_num}: {error}") from None
            yield record(*[values[index] for index in order])

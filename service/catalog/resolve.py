"""From a configuration to a row the engine can compute: what is given wins, then the catalog, then derivation,
then assumption, and every assumption that could matter is listed.

A *measured* configuration is taken as it was. For estimates and plans the layout must be able to run, and what the
caller leaves open is chosen so that it fits in memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from service.catalog.catalog import Accelerator, Catalog, CatalogModel
from service.catalog.huggingface import read_huggingface_config
from service.catalog.links import links
from service.engine import layout as layouts
from service.engine.machine import chip_group
from service.engine.operations import TRANSFORMER_FAMILIES
from service.engine.table import NUMBERS, Table

Flat = Mapping[str, object]
Values = dict[str, float | str]

SHAPE_FIELDS = (
    "parameters",
    "active_parameters",
    "layers",
    "hidden_size",
    "attention_heads",
    "kv_heads",
    "head_dim",
    "intermediate_size",
    "gated_mlp",
    "vocab_size",
    "tied_embeddings",
    "experts",
    "experts_per_token",
    "shared_experts",
    "dense_layers",
    "sliding_window",
    "encoder_layers",
    "decoder_layers",
    "forward_gmacs",
    "activations",
)
_SINGLE_LAYER = re.compile(r"\blayer\b", re.IGNORECASE)  # kernel benchmarks measure one layer, not a model
_SIZE_IN_NAME = re.compile(
    r"(?<![\w.])(?:(?P<experts>\d+)x)?(?P<size>\d+(?:\.\d+)?)\s*(?P<unit>[bm])(?![\w])", re.IGNORECASE
)
LAYOUT_FIELDS = (
    "tensor_parallel",
    "pipeline_parallel",
    "context_parallel",
    "expert_parallel",
    "data_parallel",
    "virtual_pipeline",
    "micro_batch",
    "gradient_accumulation",
    "global_batch",
    "sharding",
    "recompute",
    "offload",
)
HALF_PRECISIONS = ("bf16", "fp16")
FUSED_ATTENTION_SINCE = 2023.0  # FlashAttention reached PyTorch, Megatron and NeMo defaults during 2022 and 2023


@dataclass(frozen=True)
class Assumption:
    """A value that nobody stated, and why it was taken."""

    field: str
    value: object
    reason: str


@dataclass(frozen=True)
class FieldFlaw:
    """What is wrong with a field, and the way out."""

    field: str
    message: str
    hint: str


class Unresolvable(ValueError):  # noqa: N818 - an answer that callers keep beside `Resolved`, not only a failure
    """The configuration can't be turned into work for the engine; `errors` names each field at fault."""

    def __init__(self, errors: Sequence[FieldFlaw]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = list(errors)


@dataclass
class Resolved:
    """A configuration made computable."""

    values: Values
    assumptions: list[Assumption] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    layout: dict[str, object] = field(default_factory=dict)
    samples_to_train: float = math.nan
    tokens_to_train: float = math.nan
    fits: bool = True
    model: CatalogModel | None = None
    accelerator: Accelerator | None = None
    tokens_per_sample_assumed: bool = False


def resolve(flat: Flat, catalog: Catalog, *, measured: bool = False) -> Resolved:
    """Resolve one configuration given as dotted names, e.g. `{"model.name": "bert-large", ...}`.

    Raises Unresolvable naming every field at fault (unknown accelerator, nothing known about the model, a layout that
    can't run, a precision the chip doesn't have).
    """
    assumptions: list[Assumption] = []
    errors: list[FieldFlaw] = []
    chip = _accelerator(flat, catalog, errors)
    if not measured:
        _counts(flat, errors)
    if chip is None:
        raise Unresolvable(errors)
    values, entry = _model(flat, catalog, assumptions, errors)
    _data(flat, catalog, values, entry, assumptions)
    _training(flat, values, chip, assumptions, errors, measured=measured)
    _hardware(flat, catalog, values, chip, assumptions)
    _software(flat, values, assumptions, measured=measured)
    _provenance(flat, values, chip)
    resolved = Resolved(values, assumptions, model=entry, accelerator=chip)
    if not measured:
        resolved.warnings.extend(_doubts(flat, values, entry, chip))
    resolved.tokens_per_sample_assumed = "data.sequence_length" not in flat
    if errors:
        raise Unresolvable(errors)
    if measured:
        _measured_layout(values)
    else:
        _chosen_layout(flat, values, resolved)
    _amount(flat, catalog, resolved)
    resolved.layout = {
        **{name: values[name] for name in LAYOUT_FIELDS if name in values and not _is_nan(values[name])},
        "precision": values["precision"],
        "optimizer": values["optimizer"],
        "per_node": values["per_node"],
    }
    return resolved


def resolve_table(
    flats: Sequence[Flat], catalog: Catalog, *, measured: bool = False
) -> tuple[Table, list[Resolved | Unresolvable]]:
    """Resolve many; the table holds the rows that resolved, in order, the list an answer for each row given."""
    answers: list[Resolved | Unresolvable] = []
    for flat in flats:
        try:
            answers.append(resolve(flat, catalog, measured=measured))
        except Unresolvable as error:
            answers.append(error)
    table = Table.from_rows([answer.values for answer in answers if isinstance(answer, Resolved)])
    if measured and len(table):
        table = layouts.assumed(table)
    return table, answers


MOST_ACCELERATORS = 1e7  # more than have been built; far beyond it, failures alone keep a run from ever ending
LEAST_ACCELERATORS = 0.1


def _counts(flat: Flat, errors: list[FieldFlaw]) -> None:
    """How many accelerators, and whether what is said of them agrees."""
    count, nodes, per_node = (_given(flat, f"hardware.{name}") for name in ("count", "nodes", "per_node"))
    if not math.isnan(count) and not LEAST_ACCELERATORS <= count <= MOST_ACCELERATORS:
        errors.append(
            FieldFlaw(
                "hardware.count",
                f"{count:g} accelerators is outside {LEAST_ACCELERATORS:g} to {MOST_ACCELERATORS:g}",
                "give the number of accelerators of the job",
            )
        )
    if count > 0 and nodes > 0 and per_node > 0 and not math.isclose(count, nodes * per_node):
        errors.append(
            FieldFlaw(
                "hardware.nodes",
                f"{nodes:g} nodes of {per_node:g} are {nodes * per_node:g} in all, but hardware.count is {count:g}",
                "leave one of the three out",
            )
        )


def _accelerator(flat: Flat, catalog: Catalog, errors: list[FieldFlaw]) -> Accelerator | None:
    name = flat.get("hardware.accelerator")
    if not name:
        errors.append(FieldFlaw("hardware.accelerator", "is required", "see GET /v1/accelerators for the catalog"))
        return None
    chip = catalog.accelerator(str(name))
    if chip is None:
        near = catalog.suggest("accelerators", str(name))
        hint = f"did you mean {', '.join(near)}?" if near else "see GET /v1/accelerators for the catalog"
        errors.append(FieldFlaw("hardware.accelerator", f"unknown accelerator {str(name)!r}", hint))
    return chip


def _model(
    flat: Flat, catalog: Catalog, assumptions: list[Assumption], errors: list[FieldFlaw]
) -> tuple[Values, CatalogModel | None]:
    given: Values = {}
    for name in SHAPE_FIELDS:
        value = flat.get(f"model.{name}")
        if value is not None:
            given[name] = _to_number(value)
    config = flat.get("model.huggingface_config")
    family = str(flat.get("model.family") or "")
    if isinstance(config, Mapping):
        try:
            read = read_huggingface_config(dict(config))
        except ValueError as error:
            errors.append(FieldFlaw("model.huggingface_config", str(error), "paste the config.json as published"))
            read = {}
        family = family or str(read.get("family") or "")
        for name in SHAPE_FIELDS:
            if read.get(name) is not None:
                given.setdefault(name, _to_number(read[name]))
    name = str(flat.get("model.name") or "")
    entry = catalog.model(name) if name else None
    values: Values = dict(given)
    if entry is not None:
        _fill_from_catalog(values, given, entry, flat)
        family = family or entry.family
    spoken = _given(flat, "data.tokens") > 0 or _given(flat, "data.sequence_length") > 0
    if not family and _number(values, "parameters") > 0 and "forward_gmacs" not in values and spoken:
        family = "decoder"
        assumptions.append(Assumption("model.family", family, "parameters and tokens were given, but no family"))
    values["family"] = family or (
        "moe" if _number(values, "experts") > 1 else "decoder" if "hidden_size" in values else "other"
    )
    values["model"] = entry.name if entry else _fold(name)
    if _number(values, "experts") > 1 and values["family"] in ("decoder", "other"):
        values["family"] = "moe"
    if "layers" not in values and _SINGLE_LAYER.search(name):
        values["layers"] = 1.0
    if not any(_number(values, key) > 0 for key in ("parameters", "forward_gmacs", "hidden_size", "layers")):
        _size_by_name(name, values, assumptions)
    known = any(_number(values, key) > 0 for key in ("parameters", "forward_gmacs", "hidden_size"))
    if values["family"] in TRANSFORMER_FAMILIES:
        _derive_shape(values, assumptions)
    if not name and not known:
        errors.append(
            FieldFlaw(
                "model",
                "nothing says how much work the model is",
                "give model.name, model.parameters, a shape, model.forward_gmacs, or model.huggingface_config",
            )
        )
    elif entry is None and name and not known:
        near = catalog.suggest("models", name)
        values["unknown_model"] = 1.0
        assumptions.append(
            Assumption(
                "model",
                name,
                "not in the catalog, no size given: measured siblings, or a typical model of its family, stand in"
                + (f"; did you mean {', '.join(near[:3])}?" if near else ""),
            )
        )
    return values, entry


def _size_by_name(name: str, values: Values, assumptions: list[Assumption]) -> None:
    """Parameters of a model that carries its size in its name: `13b`, `350m`, or `8x7b` for eight experts."""
    found = _SIZE_IN_NAME.search(name)
    if found is None or values["family"] not in TRANSFORMER_FAMILIES:
        return
    size = float(found["size"]) * (1e9 if found["unit"].lower() == "b" else 1e6)
    if found["experts"]:
        values["experts"], values["family"] = float(found["experts"]), "moe"
        values.setdefault("experts_per_token", 2.0)
        size *= float(found["experts"])
    values["parameters"] = size
    assumptions.append(Assumption("model.parameters", size, "the size in the model's name"))


def _fill_from_catalog(values: Values, given: Values, entry: CatalogModel, flat: Flat) -> None:
    """What the name implies, except where given fields show that this is another size of the model."""
    stated = {key: _to_number(value) for key, value in entry.stated().items() if key in SHAPE_FIELDS}
    differs = any(
        key in given and key in stated and not math.isclose(float(given[key]), float(stated[key]), rel_tol=0.02)
        for key in ("layers", "hidden_size", "experts")
    )
    resized = (
        "parameters" in given
        and "parameters" in stated
        and not 0.85 < float(given["parameters"]) / float(stated["parameters"]) < 1.18
    )
    for key, value in stated.items():
        if key in values:
            continue
        if (differs or resized) and key in (
            "parameters",
            "active_parameters",
            "forward_gmacs",
            "activations",
            "layers",
            "dense_layers",
        ):
            continue
        if resized and "hidden_size" not in given and key not in ("gated_mlp", "tied_embeddings", "vocab_size"):
            continue
        values[key] = value
    # Cost per sample grows with its area (images) or length (sequences).
    if "forward_gmacs" not in given and "forward_gmacs" in values:
        scale = 1.0
        image, length = _given(flat, "data.image_size"), _given(flat, "data.sequence_length")
        if image > 0 and entry.image_size > 0:
            scale = (image / entry.image_size) ** 2
        elif length > 0 and entry.sequence_length > 0 and entry.family not in TRANSFORMER_FAMILIES:
            scale = length / entry.sequence_length
        values["forward_gmacs"] = float(values["forward_gmacs"]) * scale
        if "activations" in values:
            values["activations"] = float(values["activations"]) * scale


def _derive_shape(values: Values, assumptions: list[Assumption]) -> None:
    """Layers and hidden size of a Transformer known by its parameter count only.

    Dense models have about 12 L h^2 parameters (Kaplan et al. 2020, arXiv 2001.08361, section 2.1) and about 128
    hidden units a layer (GPT-3 to Llama: 85 to 128).
    """
    if "hidden_size" not in values and _number(values, "parameters") > 0:
        parameters = _number(values, "parameters")
        experts = _number(values, "experts")
        active = _number(values, "active_parameters")
        dense = active if active > 0 else parameters / max(experts / 4.0, 1.0) if experts > 1 else parameters
        if "layers" in values:
            layers = float(values["layers"])
            hidden = math.sqrt(dense / (12.0 * layers))
        else:
            hidden = (dense * 100.0 / 12.0) ** (1.0 / 3.0)
            layers = max(round(dense / (12.0 * hidden**2)), 1.0)
        hidden = max(64.0, 64.0 * round(hidden / 64.0))
        values["hidden_size"], values["layers"] = hidden, layers
        assumptions.append(
            Assumption("model.hidden_size", hidden, f"derived from {parameters:g} parameters with {layers:g} layers")
        )
    if "layers" not in values:
        towers = _number(values, "encoder_layers", 0.0) + _number(values, "decoder_layers", 0.0)
        if towers > 0:
            values["layers"] = towers
        elif _number(values, "parameters") > 0 and _number(values, "hidden_size") > 0:
            values["layers"] = max(
                round(_number(values, "parameters") / (12.0 * _number(values, "hidden_size") ** 2)), 1.0
            )
    if values["family"] == "encoder_decoder" and "decoder_layers" not in values and "layers" in values:
        values["encoder_layers"] = values["decoder_layers"] = float(values["layers"]) / 2.0
    if "vocab_size" not in values:
        values["vocab_size"] = 30522.0 if values["family"] == "encoder" else 50257.0


TYPICAL_LENGTH = {"decoder": 2048.0, "moe": 4096.0, "encoder": 512.0, "encoder_decoder": 512.0}
# Unpacked samples cut at a maximum length: mean of the kept ones over that maximum, and what it saturates at.
FILLED_SHARE, LONGEST_MEAN = 0.6, 3000.0
# Instruction data are short unless packed: Alpaca-like sets average 100 to 700 tokens a sample with their prompt.
INSTRUCTION_LENGTH = 256.0
# Mean sentence of WMT16 English-German in sub-words, source and target together: GNMT and its kin count both.
TRANSLATION_LENGTH = 50.0


def _data(
    flat: Flat, catalog: Catalog, values: Values, entry: CatalogModel | None, assumptions: list[Assumption]
) -> None:
    length, image = _given(flat, "data.sequence_length"), _given(flat, "data.image_size")
    family = str(values["family"])
    if not length > 0:
        if family in TYPICAL_LENGTH:
            length = TYPICAL_LENGTH[family]
            if family == "encoder_decoder" and str(values["model"]).startswith("transformer"):
                length = TRANSLATION_LENGTH / 2.0
            if family in ("decoder", "moe") and str(flat.get("training.mode") or "") in (
                "finetune",
                "lora",
                "qlora",
                "frozen",
            ):
                longest = _given(flat, "data.maximum_length")
                length = min(FILLED_SHARE * longest, LONGEST_MEAN) if longest > 0 else INSTRUCTION_LENGTH
            if entry is not None and entry.max_sequence_length > 0:
                length = min(entry.max_sequence_length, 2.0 * length if length == 2048.0 else length)
            assumptions.append(
                Assumption("data.sequence_length", length, "usual training length of the model or its family")
            )
        elif entry is not None and entry.sequence_length > 0:
            length = entry.sequence_length
        elif family == "rnn":
            length = TRANSLATION_LENGTH
    if length > 0:
        values["sequence_length"] = length
    if not image > 0 and entry is not None and entry.image_size > 0:
        image = entry.image_size
    if image > 0:
        values["image_size"] = image
    values["data_input"] = str(flat.get("data.input") or "")
    values["packing"] = str(flat.get("data.packing") or "")


PRECISION_FALLBACK = {
    "fp4": ("fp8", "bf16", "fp16", "tf32", "fp32"),
    "fp8": ("bf16", "fp16", "tf32", "fp32"),
    "bf16": ("fp16", "tf32", "fp32"),
    "fp16": ("bf16", "tf32", "fp32"),
    "tf32": ("fp32", "bf16", "fp16"),
    "fp32": ("tf32", "bf16", "fp16"),
}
# FLOP per byte of cards whose data sheet gives no peak at any precision: P100 to T4 span 13 to 200.
TYPICAL_FLOP_PER_BYTE = 20.0


def usual_precision(chip: Accelerator, family: str) -> str:
    """What most train with on a chip: bf16 where it exists, else fp16 where that is faster than fp32, else fp32."""
    if chip.bf16_tflops > 1.5 * _or_zero(chip.fp32_tflops):
        return "bf16" if family in TRANSFORMER_FAMILIES or chip.vendor != "nvidia" else "fp16"
    if chip.fp16_tflops > 1.5 * _or_zero(chip.fp32_tflops):
        return "fp16"
    return "fp32"


def _training(
    flat: Flat,
    values: Values,
    chip: Accelerator,
    assumptions: list[Assumption],
    errors: list[FieldFlaw],
    *,
    measured: bool,
) -> None:
    family = str(values["family"])
    mode = str(flat.get("training.mode") or "")
    if not mode:
        mode = "pretrain"
        assumptions.append(Assumption("training.mode", mode, "training all weights from the start"))
    precision = str(flat.get("training.precision") or "")
    if not precision:
        precision = usual_precision(chip, family)
        assumptions.append(Assumption("training.precision", precision, f"usual on {chip.slug}"))
    peak = chip.peak_tflops(precision)
    if math.isnan(peak):
        if not measured and precision in ("fp8", "fp4", "tf32") and chip.kind != "cpu":
            usual = usual_precision(chip, family)
            errors.append(
                FieldFlaw(
                    "training.precision", f"{chip.slug} has no {precision} matrix units", f"use {usual} on this chip"
                )
            )
        peak = next(
            (value for other in PRECISION_FALLBACK.get(precision, ("fp32",)) if (value := chip.peak_tflops(other)) > 0),
            _or_zero(chip.memory_bandwidth_gbs) * TYPICAL_FLOP_PER_BYTE / 1e3 or 10.0,
        )
    values["precision"], values["mode"], values["peak_tflops"] = precision, mode, peak
    half = [value for name in HALF_PRECISIONS if (value := chip.peak_tflops(name)) > 0]
    values["half_peak_tflops"] = max(half) if half else peak
    optimizer = str(flat.get("training.optimizer") or "")
    if not optimizer:
        optimizer = "sgd" if family not in TRANSFORMER_FAMILIES and family != "diffusion" else "adamw"
    values["optimizer"] = optimizer
    values["adapter"] = str(flat.get("training.adapter") or ("lora" if mode in ("lora", "qlora") else ""))
    trainable = _given(flat, "training.trainable_parameters")
    if trainable > 0:
        values["trainable_parameters"] = trainable
    for name in LAYOUT_FIELDS:
        given = flat.get(f"training.{name}")
        if given is None:
            continue
        values[name] = str(given) if name in ("sharding", "recompute", "offload") else _to_number(given)
    values.setdefault("offload", "none")
    values["batch_stated"] = float("global_batch" in values or "micro_batch" in values)


def _hardware(flat: Flat, catalog: Catalog, values: Values, chip: Accelerator, assumptions: list[Assumption]) -> None:
    count, nodes = _given(flat, "hardware.count"), _given(flat, "hardware.nodes")
    stated_per_node = _given(flat, "hardware.per_node")
    if not count > 0 and (nodes > 0 or stated_per_node > 0):
        whole = (nodes if nodes > 0 else 1.0) * (stated_per_node if stated_per_node > 0 else 1.0)
        count = whole
        assumptions.append(Assumption("hardware.count", count, "nodes x accelerators per node"))
    if not count > 0:
        count = 1.0
        assumptions.append(Assumption("hardware.count", 1, "one accelerator"))
    per_node = _given(flat, "hardware.per_node")
    if not per_node >= 1:
        per_node = min(8.0, max(count, 1.0))
    values["count"], values["per_node"] = count, per_node
    text = flat.get("hardware.interconnect")
    given_rate = _given(flat, "hardware.inter_node_gbs")
    wired = links(str(text) if text else None, given_rate if given_rate > 0 else None, chip, per_node, count, catalog)
    values["intra_gbs"], values["inter_gbs"] = wired.intra_gbs, wired.inter_gbs
    values["domain"], values["interconnect"] = wired.domain, wired.intra_name
    if wired.assumed:
        assumptions.append(
            Assumption(
                "hardware.interconnect",
                f"{wired.intra_name}; {wired.inter_name}",
                f"usual links of {chip.slug}: {wired.intra_gbs:g} GB/s within, {wired.inter_gbs:g} GB/s between nodes",
            )
        )
    bandwidth = chip.memory_bandwidth_gbs
    if not bandwidth > 0:
        bandwidth = float(values["peak_tflops"]) * 1e3 / TYPICAL_FLOP_PER_BYTE
    values.update(
        accelerator=chip.slug,
        chip_group=chip_group(chip.slug),
        chip_vendor=chip.vendor,
        chip_kind=chip.kind,
        chip_year=chip.year,
        memory_gb=chip.memory_gb,
        memory_bandwidth_gbs=bandwidth,
        tdp_w=chip.tdp_w,
    )


def _software(flat: Flat, values: Values, assumptions: list[Assumption], *, measured: bool) -> None:
    values["framework"] = str(flat.get("software.framework") or "")
    values["memory_format"] = str(flat.get("software.memory_format") or "")
    compiled = flat.get("software.compile")
    if compiled is not None:
        values["compile"] = _to_number(compiled)
    attention = str(flat.get("software.attention") or "")
    if not attention and values["family"] in TRANSFORMER_FAMILIES:
        year = _measured_year(flat)
        modern = (not measured and math.isnan(year)) or year >= FUSED_ATTENTION_SINCE
        # FlashAttention 2 needs Ampere or later (its README); what a measured run used, its source's date tells.
        modern = modern and (measured or values["chip_vendor"] != "nvidia" or float(values["chip_year"]) >= 2020)
        attention = "flash" if modern and values["chip_vendor"] in ("nvidia", "amd") else "math"
        if not measured:
            assumptions.append(Assumption("software.attention", attention, "usual of current frameworks on this chip"))
    values["attention"] = attention


def _doubts(flat: Flat, values: Values, entry: CatalogModel | None, chip: Accelerator) -> list[str]:
    """What makes an answer hollow, though it can be given."""
    found: list[str] = []
    language = values["family"] in TRANSFORMER_FAMILIES
    sizes = ("parameters", "forward_gmacs", "hidden_size") if language else ("forward_gmacs",)
    if not any(_number(values, key) > 0 for key in sizes):
        what = "has no known size" if entry is not None else "is not in the catalog and no size is given"
        found.append(
            f"model {str(flat.get('model.name'))!r} {what}: the work of a typical model of its family stands in; give "
            "model.parameters, a shape, model.forward_gmacs or model.huggingface_config"
        )
    precision = str(values["precision"])
    if precision in HALF_PRECISIONS and math.isnan(chip.peak_tflops(precision)):
        usual = usual_precision(chip, str(values["family"]))
        found.append(
            f"{chip.slug} has no {precision} units; the speed of another precision stands in: {usual} is usual"
        )
    return found


def _provenance(flat: Flat, values: Values, chip: Accelerator) -> None:
    values["year"] = _measured_year(flat)
    values["evidence"] = str(flat.get("provenance.evidence") or "")
    values["site"] = str(flat.get("provenance.source") or "")


def _measured_year(flat: Flat) -> float:
    text = str(flat.get("provenance.measured_on") or "")
    try:
        year = float(text[:4])
    except ValueError:
        return math.nan
    month = text[5:7]
    return year + ((float(month) - 0.5) / 12.0 if month.isdigit() and 1 <= int(month) <= 12 else 0.5)


def current_year(now: datetime | None = None) -> float:
    """Decimal year of a moment (UTC), by default the present."""
    moment = now or datetime.now(UTC)
    return moment.year + (moment.timetuple().tm_yday - 0.5) / 365.25


# Samples per accelerator where a measured row states no batch at all.
TYPICAL_BATCH = {
    "cnn": 128.0,
    "vit": 64.0,
    "rnn": 128.0,
    "diffusion": 8.0,
    "detection": 8.0,
    "segmentation": 4.0,
    "speech": 32.0,
    "recommender": 65536.0,
    "gnn": 64.0,
    "encoder": 16.0,
    "decoder": 4.0,
    "moe": 2.0,
    "encoder_decoder": 16.0,
}
TOKENS_PER_MICRO_BATCH = 8192.0


def _measured_layout(values: Values) -> None:
    """Degrees and batches of a run that happened, from what its source states."""
    count = float(values["count"])
    family = str(values["family"])
    language = family in TRANSFORMER_FAMILIES
    if (
        language
        and values.get("data_parallel") is not None
        and "tensor_parallel" not in values
        and "pipeline_parallel" not in values
    ):
        # Replicas stated, degrees not: one copy of the model spans the rest, within a node first.
        span = max(count / max(float(values["data_parallel"]), 1.0), 1.0)
        values["tensor_parallel"] = min(span, max(float(values["per_node"]), 1.0))
        values["pipeline_parallel"] = max(span / float(values["tensor_parallel"]), 1.0)
    tensor, pipeline, context = (_number(values, f"{name}_parallel", 1.0) for name in ("tensor", "pipeline", "context"))
    values.update(tensor_parallel=tensor, pipeline_parallel=pipeline, context_parallel=context)
    data = _number(values, "data_parallel")
    if not data > 0:
        data = max(count / (tensor * pipeline * context), 1.0)
    if family == "moe" and "expert_parallel" not in values and _number(values, "experts") > 1:
        values["expert_parallel"] = max(1.0, min(_number(values, "experts"), data))
    stated_batch = _number(values, "global_batch")
    if language and 0 < stated_batch < data and context == 1 and count > 1:
        # Fewer samples than replicas: the rest of the accelerators can only share sequences.
        values["context_parallel"] = context = data / stated_batch
        data = stated_batch
    values["data_parallel"] = data
    micro, batch = _number(values, "micro_batch"), _number(values, "global_batch")
    accumulation = _number(values, "gradient_accumulation")
    if not batch > 0:
        micro = micro if micro > 0 else TYPICAL_BATCH.get(family, 32.0)
        batch = micro * data * (accumulation if accumulation > 0 else 1.0)
    elif not micro > 0:
        share = batch / data
        if accumulation > 0:
            micro = share / accumulation
        elif language and _number(values, "sequence_length") > 0:
            micro = min(share, max(1.0, TOKENS_PER_MICRO_BATCH / float(values["sequence_length"])))
        else:
            micro = share
    values["micro_batch"], values["global_batch"] = micro, batch
    values.setdefault("sharding", "")
    values.setdefault("recompute", "")


TOKENS_PER_STEP = ((1e9, 5e5), (2e10, 2e6), (math.inf, 4e6))


def _chosen_layout(flat: Flat, values: Values, resolved: Resolved) -> None:
    """Degrees, batch, sharding and recomputation for a run that is to happen; raises Unresolvable where none can."""
    stated = {name for name in LAYOUT_FIELDS if name in values and flat.get(f"training.{name}") is not None}
    count = float(values["count"])
    family, mode = str(values["family"]), str(values["mode"])
    language = family in TRANSFORMER_FAMILIES
    if "global_batch" not in stated:
        values["global_batch"] = _assumed_batch(values, stated, count, language, mode)
        resolved.assumptions.append(
            Assumption("training.global_batch", values["global_batch"], _batch_reason(values, stated, language))
        )
    complete = {*stated, "global_batch"}
    try:
        chosen, fits = layouts.choose(values, complete)
    except ValueError as error:
        found = [
            FieldFlaw(f"training.{flaw.field}", flaw.message, flaw.hint)
            for flaw in layouts.flaws(_with_defaults(values))
        ]
        raise Unresolvable(
            found
            or [
                FieldFlaw(
                    "training",
                    f"no layout divides {count:g} accelerators and a global batch of {values['global_batch']:g} evenly",
                    "leave the degrees out, or give a global_batch that is a multiple of the accelerator count",
                )
            ]
        ) from error
    flaws = layouts.flaws(chosen)
    if flaws:
        raise Unresolvable([FieldFlaw(f"training.{flaw.field}", flaw.message, flaw.hint) for flaw in flaws])
    values.update(chosen)
    resolved.fits = fits
    values.setdefault("virtual_pipeline", 1.0)
    values["gradient_accumulation"] = float(values["global_batch"]) / (
        float(values["data_parallel"]) * float(values["micro_batch"])
    )
    reason = (
        "quickest layout that divides evenly and fits in memory"
        if fits
        else "least memory of the layouts that divide evenly"
    )
    for name in (
        "tensor_parallel",
        "pipeline_parallel",
        "data_parallel",
        "expert_parallel",
        "micro_batch",
        "sharding",
        "recompute",
    ):
        trivial = name in ("expert_parallel",) and family != "moe"
        if name not in stated and not trivial and (count > 1 or name in ("micro_batch", "recompute")):
            resolved.assumptions.append(Assumption(f"training.{name}", values[name], reason))


def _with_defaults(values: Values) -> Values:
    filled = dict(values)
    for name in ("tensor_parallel", "pipeline_parallel", "context_parallel"):
        filled.setdefault(name, 1.0)
    model = float(filled["tensor_parallel"]) * float(filled["pipeline_parallel"]) * float(filled["context_parallel"])
    filled.setdefault("data_parallel", float(filled["count"]) / model)
    filled.setdefault("micro_batch", 1.0)
    return filled


def _assumed_batch(values: Values, stated: set[str], count: float, language: bool, mode: str) -> float:
    model = math.prod(
        _number(values, name, 1.0) for name in ("tensor_parallel", "pipeline_parallel", "context_parallel")
    )
    data = _number(values, "data_parallel", 1.0) if "data_parallel" in stated else max(count / model, 1.0)
    if "micro_batch" in stated:
        return float(values["micro_batch"]) * data * _number(values, "gradient_accumulation", 1.0)
    if not language:
        return TYPICAL_BATCH.get(str(values["family"]), 32.0) * max(count, 1.0)
    length = _number(values, "sequence_length", 2048.0)
    if mode in ("finetune", "lora", "qlora", "frozen", "fwd_bwd") or values["family"] == "encoder":
        per_rank = max(1.0, 2.0 ** round(math.log2(max(TOKENS_PER_MICRO_BATCH / length, 1.0))))
        return per_rank * data
    parameters = _number(values, "parameters", 1e9)
    tokens = next(tokens for limit, tokens in TOKENS_PER_STEP if parameters <= limit)
    per_rank = max(1.0, 2.0 ** round(math.log2(max(tokens / length / data, 1.0))))
    return per_rank * data


def _batch_reason(values: Values, stated: set[str], language: bool) -> str:
    if "micro_batch" in stated:
        return "micro-batch x data-parallel ranks x accumulation"
    return "usual tokens per step for the model's size" if language else "usual samples per accelerator for the family"


def _amount(flat: Flat, catalog: Catalog, resolved: Resolved) -> None:
    """How much is to be trained on: samples (all epochs), tokens, or NaN where nobody says."""
    values = resolved.values
    epochs = _given(flat, "data.epochs")
    epochs = epochs if epochs > 0 else 1.0
    tokens, samples = _given(flat, "data.tokens"), _given(flat, "data.samples")
    length = _number(values, "sequence_length")
    name = flat.get("data.name")
    dataset = catalog.dataset(str(name)) if name else None
    if dataset is not None and not tokens > 0 and not samples > 0:
        counts_tokens = values["family"] in ("decoder", "moe") and dataset.tokens > 0
        tokens = dataset.tokens if counts_tokens or not dataset.samples > 0 else math.nan
        samples = math.nan if tokens > 0 else dataset.samples
        amount, unit = (tokens, "tokens") if tokens > 0 else (samples, dataset.unit or "samples")
        if amount > 0:
            resolved.assumptions.append(
                Assumption(
                    "data.tokens" if tokens > 0 else "data.samples", amount, f"{dataset.name}: {amount:g} {unit}"
                )
            )
    if name and dataset is None:
        near = catalog.suggest("datasets", str(name))
        resolved.warnings.append(
            f"data.name {str(name)!r} is not in the catalog"
            + (f"; did you mean {', '.join(near[:3])}?" if near else "")
        )
    if tokens > 0 and length > 0:
        resolved.tokens_to_train = tokens * epochs
        resolved.samples_to_train = tokens * epochs / length
    elif samples > 0:
        resolved.samples_to_train = samples * epochs
        resolved.tokens_to_train = samples * epochs * length if length > 0 else math.nan


def _to_number(value: object) -> float:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)):
        return float(value)
    text = str(value).strip().lower()
    if text in ("true", "false"):
        return float(text == "true")
    return float(text)


def _given(flat: Flat, name: str) -> float:
    value = flat.get(name)
    return math.nan if value is None or value == "" else _to_number(value)


def _number(values: Values, name: str, default: float = math.nan) -> float:
    value = values.get(name)
    return default if value is None or isinstance(value, str) or math.isnan(value) else float(value)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _fold(name: str) -> str:
    return " ".join(name.lower().replace("_", "-").split())


assert set(SHAPE_FIELDS) <= set(NUMBERS)

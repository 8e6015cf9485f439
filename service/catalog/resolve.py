"""From a configuration to a row the engine can compute: what is given wins, then the catalog, then derivation,
then assumption, and every assumption that could matter is listed.

A *measured* configuration is taken as it was. For estimates and plans the layout must be able to run, and what the
caller leaves open is chosen so that it fits in memory.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from service.catalog.achievable import matmul_share
from service.catalog.catalog import Accelerator, Catalog, CatalogModel
from service.catalog.contradictions import contradictions
from service.catalog.links import links
from service.catalog.precisions import TYPICAL_FLOP_PER_BYTE, stand_in, stand_in_tflops, usual_precision
from service.catalog.resolution import (
    Assumption,
    Flat,
    Resolved,
    Unresolvable,
    Values,
    is_nan,
    number,
    stated_number,
    to_number,
)
from service.catalog.resolve_layout import LAYOUT_FIELDS, PRIORS, chosen_layouts, measured_layout
from service.catalog.resolve_model import resolve_data, resolve_model
from service.engine import layout as layouts
from service.engine.judge import Judge
from service.engine.layout import Flaw
from service.engine.machine import chip_group
from service.engine.operations import COUNTED_BY_PARAMETERS, TRANSFORMER_FAMILIES
from service.engine.step_inputs import OPTIMIZER_BYTES
from service.engine.table import Table

HALF_PRECISIONS = ("bf16", "fp16")


# Years from a chip's release to a measurement on it: the median over lineages of their medians. Who states no date is
# taken to run software of that time.
USUAL_CHIP_AGE = 3.0
FUSED_ATTENTION_SINCE = 2023.0  # FlashAttention reached PyTorch, Megatron and NeMo defaults during 2022 and 2023
# Others have such kernels, but leave them to the user's choice (optimum-habana, NeuronX); MindSpeed's launchers
# switch theirs on.
FUSED_ATTENTION_VENDORS = ("nvidia", "amd", "huawei")


def resolve(flat: Flat, catalog: Catalog, *, measured: bool = False, judge: Judge = PRIORS) -> Resolved:
    """Resolve one configuration given as dotted names, e.g. `{"model.name": "bert-large", ...}`.

    Args:
        flat: what was stated.
        catalog: the reference tables.
        measured: whether it was run as it is.
        judge: by what a layout that is left open is chosen.

    Raises Unresolvable naming every field at fault (unknown accelerator, nothing known about the model, a layout that
    can't run, a precision the chip doesn't have).
    """
    (answer,) = _resolved([flat], catalog, measured=measured, judge=judge)
    if isinstance(answer, Unresolvable):
        raise answer
    return answer


def resolve_table(
    flats: Sequence[Flat], catalog: Catalog, *, measured: bool = False, judge: Judge = PRIORS
) -> tuple[Table, list[Resolved | Unresolvable]]:
    """Resolve many; the table holds the rows that resolved, in order, the list an answer for each row given."""
    answers = _resolved(flats, catalog, measured=measured, judge=judge)
    table = Table.from_rows([answer.values for answer in answers if isinstance(answer, Resolved)])
    if measured and len(table):
        table = layouts.assumed(table)
    return table, answers


def resolve_open(flat: Flat, catalog: Catalog, *, measured: bool = False) -> Resolved:
    """Resolve all but the layout, of which the values have only what was stated; raises as `resolve` does."""
    assumptions: list[Assumption] = []
    errors: list[Flaw] = []
    chip = _accelerator(flat, catalog, errors)
    if not measured:
        _counts(flat, errors)
    if chip is None:
        raise Unresolvable(errors)
    values, entry = resolve_model(flat, catalog, assumptions, errors, measured=measured)
    resolve_data(flat, catalog, values, entry, assumptions)
    _training(flat, catalog, values, chip, assumptions, errors, measured=measured)
    _hardware(flat, catalog, values, chip, assumptions)
    _software(flat, values, assumptions, measured=measured)
    _provenance(flat, values)
    resolved = Resolved(values, assumptions)
    if not measured:
        resolved.warnings.extend(_doubts(flat, catalog, values, entry, chip))
        errors.extend(contradictions(flat, values, chip))
    if errors:
        raise Unresolvable(errors)
    _amount(flat, catalog, resolved)
    return resolved


def _resolved(
    flats: Sequence[Flat], catalog: Catalog, *, measured: bool, judge: Judge
) -> list[Resolved | Unresolvable]:
    answers: list[Resolved | Unresolvable] = []
    for flat in flats:
        try:
            answers.append(resolve_open(flat, catalog, measured=measured))
        except Unresolvable as error:
            answers.append(error)
    if measured:
        for answer in answers:
            if isinstance(answer, Resolved):
                measured_layout(answer.values)
    else:
        answers = chosen_layouts(flats, answers, judge)
    for answer in answers:
        if isinstance(answer, Resolved):
            answer.layout = _layout(answer.values)
    return answers


def _layout(values: Values) -> dict[str, object]:
    return {
        **{name: values[name] for name in LAYOUT_FIELDS if name in values and not is_nan(values[name])},
        "precision": values["precision"],
        "optimizer": values["optimizer"],
        "per_node": values["per_node"],
    }


FEWEST_PARAMETERS = 1e4  # judgement: smaller counts are billions or millions that lost their unit
SAME_AMOUNT = 0.05  # judgement: tokens and samples that differ by less say the same, for lengths are means
MOST_ACCELERATORS = 1e7  # more than have been built; far beyond it, failures alone keep a run from ever ending


LEAST_ACCELERATORS = 0.1


def _counts(flat: Flat, errors: list[Flaw]) -> None:
    """How many accelerators, and whether what is said of them agrees."""
    count, nodes, per_node = (stated_number(flat, f"hardware.{name}") for name in ("count", "nodes", "per_node"))
    if not math.isnan(count) and not LEAST_ACCELERATORS <= count <= MOST_ACCELERATORS:
        errors.append(
            Flaw(
                "hardware.count",
                f"{count:g} accelerators is outside {LEAST_ACCELERATORS:g} to {MOST_ACCELERATORS:g}",
                "give the number of accelerators of the job",
            )
        )
    elif count > 1 and not count.is_integer():
        errors.append(
            Flaw(
                "hardware.count",
                f"{count:g} is no whole number of accelerators",
                f"give {math.floor(count)} or {math.ceil(count)}; less than 1 is a part of a chip (0.5: one die)",
            )
        )
    if count > 0 and nodes > 0 and per_node > 0 and not math.isclose(count, nodes * per_node):
        errors.append(
            Flaw(
                "hardware.nodes",
                f"{nodes:g} nodes of {per_node:g} are {nodes * per_node:g} in all, but hardware.count is {count:g}",
                "leave one of the three out",
            )
        )


def _accelerator(flat: Flat, catalog: Catalog, errors: list[Flaw]) -> Accelerator | None:
    name = flat.get("hardware.accelerator")
    if not name:
        errors.append(Flaw("hardware.accelerator", "is required", "see GET /v1/accelerators for the catalog"))
        return None
    chip = catalog.accelerator(str(name))
    if chip is None:
        near = catalog.suggest("accelerators", str(name))
        hint = f"did you mean {', '.join(near)}?" if near else "see GET /v1/accelerators for the catalog"
        errors.append(Flaw("hardware.accelerator", f"unknown accelerator {str(name)!r}", hint))
    return chip


def _training(
    flat: Flat,
    catalog: Catalog,
    values: Values,
    chip: Accelerator,
    assumptions: list[Assumption],
    errors: list[Flaw],
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
                Flaw("training.precision", f"{chip.slug} has no {precision} matrix units", f"use {usual} on this chip")
            )
        peak = stand_in_tflops(chip, precision)
    values["precision"], values["mode"], values["peak_tflops"] = precision, mode, peak
    values["matmul_share"] = matmul_share(catalog, chip.slug, precision)
    optimizer = str(flat.get("training.optimizer") or "")
    if not optimizer:
        optimizer = "sgd" if family not in TRANSFORMER_FAMILIES and family != "diffusion" else "adamw"
    values["optimizer"] = optimizer
    values["weight_precision"] = str(flat.get("training.weight_precision") or "")
    values["adapter"] = str(flat.get("training.adapter") or ("lora" if mode in ("lora", "qlora") else ""))
    trainable = stated_number(flat, "training.trainable_parameters")
    if trainable > 0:
        values["trainable_parameters"] = trainable
    for name in LAYOUT_FIELDS:
        given = flat.get(f"training.{name}")
        if given is None:
            continue
        values[name] = str(given) if name in ("sharding", "recompute", "offload") else to_number(given)
    values["variable_update"] = str(flat.get("training.variable_update") or "")
    values.setdefault("offload", "none")


def _hardware(flat: Flat, catalog: Catalog, values: Values, chip: Accelerator, assumptions: list[Assumption]) -> None:
    count, nodes = stated_number(flat, "hardware.count"), stated_number(flat, "hardware.nodes")
    per_node = stated_number(flat, "hardware.per_node")
    if not count > 0 and (nodes > 0 or per_node > 0):
        count = (nodes if nodes > 0 else 1.0) * (per_node if per_node > 0 else 1.0)
        assumptions.append(Assumption("hardware.count", count, "nodes x accelerators per node"))
    if not count > 0:
        count = 1.0
        assumptions.append(Assumption("hardware.count", 1, "one accelerator"))
    if not per_node >= 1:
        per_node = min(8.0, max(count, 1.0))
    values["count"], values["per_node"] = count, per_node
    text = flat.get("hardware.interconnect")
    given_rate = stated_number(flat, "hardware.inter_node_gbs")
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
        chip_year=chip.year,
        memory_gb=chip.memory_gb,
        memory_bandwidth_gbs=bandwidth,
        tdp_w=chip.tdp_w,
    )


def _software(flat: Flat, values: Values, assumptions: list[Assumption], *, measured: bool) -> None:
    values["framework"] = str(flat.get("software.framework") or "")
    values["kernel_library"] = str(flat.get("software.kernel_library") or "")
    values["memory_format"] = str(flat.get("software.memory_format") or "")
    values["cuda_graphs"] = str(flat.get("software.cuda_graphs") or "")
    compiled = flat.get("software.compile")
    if compiled is not None:
        values["compile"] = to_number(compiled)
    attention = str(flat.get("software.attention") or "")
    if not attention and values["family"] in TRANSFORMER_FAMILIES:
        # What a measured run used, its date tells; else FlashAttention 2 needs Ampere or later (its README).
        dated = _measured_year(flat)
        usable = values["chip_vendor"] != "nvidia" or float(values["chip_year"]) >= 2020
        modern = usable if math.isnan(dated) else dated >= FUSED_ATTENTION_SINCE
        attention = "flash" if modern and values["chip_vendor"] in FUSED_ATTENTION_VENDORS else "math"
        if not measured:
            assumptions.append(Assumption("software.attention", attention, "usual of current frameworks on this chip"))
    values["attention"] = attention


def _doubts(flat: Flat, catalog: Catalog, values: Values, entry: CatalogModel | None, chip: Accelerator) -> list[str]:
    """What makes an answer hollow, though it can be given."""
    found: list[str] = []
    parameters = stated_number(flat, "model.parameters")
    if 0 < parameters < FEWEST_PARAMETERS:
        found.append(
            f"model.parameters is {parameters:g}: plain counts are expected, not billions or millions; "
            f"{parameters:g} billion is {parameters * 1e9:g}"
        )
    sizes = ["forward_gmacs"]
    if values["family"] in COUNTED_BY_PARAMETERS and number(values, "sequence_length") > 0:
        sizes.append("parameters")
    if values["family"] in TRANSFORMER_FAMILIES:
        sizes.append("hidden_size")
    if not any(number(values, key) > 0 for key in sizes):
        name = flat.get("model.name")
        what = "has no known size" if entry is not None else "is not in the catalog and no size is given"
        which = f"model {str(name)!r} {what}" if name else "what is given of the model does not say how much work it is"
        near = catalog.suggest("models", str(name)) if name and entry is None else []
        meant = f"did you mean {', '.join(near[:3])}? Else give" if near else "give"
        found.append(
            f"{which}: the work of a typical model of its family stands in; {meant} "
            "model.forward_gmacs, or of sequences model.parameters, of Transformers a shape or model.huggingface_config"
        )
    optimizer = str(values["optimizer"])
    if optimizer not in OPTIMIZER_BYTES:
        known = difflib.get_close_matches(optimizer, OPTIMIZER_BYTES, n=1) or sorted(OPTIMIZER_BYTES)
        found.append(
            f"training.optimizer {optimizer!r} is not known, and reckoned with the memory and work of adamw; "
            f"known: {', '.join(known)}"
        )
    precision = str(values["precision"])
    if precision in HALF_PRECISIONS and math.isnan(chip.peak_tflops(precision)):
        usual, other = usual_precision(chip, str(values["family"])), stand_in(chip, precision)
        found.append(
            f"{chip.slug} has no {precision} units: it is reckoned with "
            f"{'a typical speed' if other is None else f'the speed of {other}'}; {usual} is usual"
        )
    return found


def _provenance(flat: Flat, values: Values) -> None:
    year = _measured_year(flat)
    values["year"] = float(values["chip_year"]) + USUAL_CHIP_AGE if math.isnan(year) else year
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


def _amount(flat: Flat, catalog: Catalog, resolved: Resolved) -> None:
    """How much is to be trained on: samples (all epochs), tokens, or NaN where nobody says."""
    values = resolved.values
    epochs = stated_number(flat, "data.epochs")
    epochs = epochs if epochs > 0 else 1.0
    tokens, samples = stated_number(flat, "data.tokens"), stated_number(flat, "data.samples")
    length = number(values, "sequence_length")
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
        if samples > 0 and not math.isclose(samples * length, tokens, rel_tol=SAME_AMOUNT):
            resolved.warnings.append(
                f"data.tokens and data.samples disagree, and data.samples is left out of account: {tokens:g} tokens "
                f"are {tokens / length:.6g} samples of {length:g}, not {samples:g}; leave one of them out"
            )
        resolved.tokens_to_train = tokens * epochs
        resolved.samples_to_train = tokens * epochs / length
    elif samples > 0:
        resolved.samples_to_train = samples * epochs
        resolved.tokens_to_train = samples * epochs * length if length > 0 else math.nan
